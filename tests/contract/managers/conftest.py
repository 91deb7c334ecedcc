"""The manager host over plain processes (everybody, fast) and over real sandboxes (needs root and an OCI engine)."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from tests.fakes.processes import PlainProcesses, python_here, source_path

from sonata.adapters.bus_local import LocalBus
from sonata.adapters.manager_host import PythonLaunch, SandboxedManagers


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder near the root of the file system, since the paths of sockets must be short."""
    made = Path(tempfile.mkdtemp(prefix="sonata-m-"))
    yield made
    shutil.rmtree(made, ignore_errors=True)


@pytest.fixture
async def bus(anyio_backend: str) -> AsyncIterator[LocalBus]:
    made = LocalBus()
    yield made
    await made.close()


def confined_host(bus: LocalBus, folder: Path) -> SandboxedManagers:
    """The host as the platform has it, or a skip with the reason."""
    supervisor = pytest.importorskip("sonata.daemon.manager_supervisor", reason="no OCI runtime adapter in this build")
    if os.geteuid() != 0:
        pytest.skip("sandboxes with all limits need root")
    if not any(map(shutil.which, ("crun", "runc"))):
        pytest.skip("neither crun nor runc is installed")
    host: SandboxedManagers = supervisor.sandboxed_managers(bus, folder)
    return host


def plain_host(bus: LocalBus, folder: Path) -> SandboxedManagers:
    python = PythonLaunch(python_here(), env={"PYTHONPATH": source_path()})
    return SandboxedManagers(bus, PlainProcesses(), folder, python)


@pytest.fixture(params=["processes", pytest.param("sandboxes", marks=pytest.mark.root)])
async def host(request: pytest.FixtureRequest, bus: LocalBus, folder: Path) -> AsyncIterator[SandboxedManagers]:
    made = (plain_host if request.param == "processes" else confined_host)(bus, folder)
    yield made
    await made.close()


@pytest.fixture
async def confined(bus: LocalBus, folder: Path) -> AsyncIterator[SandboxedManagers]:
    made = confined_host(bus, folder)
    yield made
    await made.close()
