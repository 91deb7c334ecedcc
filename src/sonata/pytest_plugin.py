"""Emulations as fixtures of pytest, which loads this wherever Sonata is installed; it imports nothing until asked.

    @pytest.mark.sonata_topology("line.yaml")
    def test_users_reach_the_origin(sonata_emulation):
        sonata_emulation.exec("users", "ping -c1 -W2 100.64.2.10", check=True)

A marker holds a file, relative to the test's own, or a `Topology`; its emulation is shared by the tests of the module,
or of the `scope` given: `function`, `class`, `module`, `session`.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from sonata.embedding import Emulator, RunningEmulation, Topology
    from sonata.embedding.testing import Pool

_IMPLEMENTATION = "sonata.embedding.testing"


def pytest_configure(config: Any) -> None:
    """Make the marker known."""
    config.addinivalue_line(
        "markers",
        'sonata_topology(topology, scope="module"): the emulation that the fixture `sonata_emulation` is',
    )


@pytest.fixture(scope="session")
def _sonata_pool() -> Iterator[Pool]:
    pool: Pool = importlib.import_module(_IMPLEMENTATION).Pool()
    try:
        yield pool
    finally:
        pool.close()


@pytest.fixture
def sonata_emulation(request: pytest.FixtureRequest, _sonata_pool: Pool) -> RunningEmulation:
    """The running emulation that the marker `sonata_topology` asks for; skips where none can run."""
    return _sonata_pool.of(request)


@pytest.fixture(scope="session")
def sonata_emulator(_sonata_pool: Pool) -> Callable[[Topology | str | Path], Emulator]:
    """A maker of emulators, for fixtures of one's own.

    `with sonata_emulator(topology) as emulation: yield emulation` is the body of one. Each emulator has a unique name
    and a free port; it ends with its block, or at the latest with the session.
    """
    return _sonata_pool.emulator
