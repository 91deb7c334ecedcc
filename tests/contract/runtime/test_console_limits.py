"""However much a machine prints, its console takes little room and ends with what was printed last."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.contract.runtime.test_machines import Exits, spec, until
from tests.machines import PROCESSES, needs_engine, needs_root

from sonata._lib.tails import tail
from sonata.adapters.runtime_oci.console_limits import KEPT, LIMIT
from sonata.ports.runtime import MachineSpec, Runtime

__all__ = ["spec"]  # fixture
ENGINES = PROCESSES
pytestmark = [pytest.mark.anyio, pytest.mark.root, needs_root, needs_engine]

LAST = 20_000_000
"""Up to which number a machine counts, in 169 MB."""

Specs = Callable[..., MachineSpec]


def room(console: Path) -> int:
    """Bytes of disk that a console takes."""
    return console.stat().st_blocks * 512


def numbers(console: Path) -> list[int]:
    """The whole lines at the end of a console."""
    return [int(line) for line in tail(console, KEPT).split(b"\n")[1:] if line]


async def test_a_console_that_is_flooded_stays_short_and_keeps_what_came_last(
    runtime: Runtime, spec: Specs, tmp_path: Path
) -> None:
    console = tmp_path / "console"
    await runtime.start(spec("sh", "-c", f"seq 1 {LAST}; exec sleep 1000"))
    await until(lambda: tail(console, 99).endswith(f"\n{LAST}\n".encode()))
    await until(lambda: room(console) <= LIMIT)
    found = numbers(console)
    assert found == list(range(found[0], LAST + 1)), "lines are lost or mixed"
    assert len(found) > KEPT // 10
    await runtime.stop("m1")
    assert console.stat().st_size == KEPT
    assert numbers(console) == found

    exits = Exits()
    await runtime.start(spec("echo", "again"), exits)
    await exits.first()
    assert tail(console, 99).endswith(f"\n{LAST}\nagain\n".encode())


async def test_the_flood_of_one_machine_is_no_matter_of_others(runtime: Runtime, spec: Specs, tmp_path: Path) -> None:
    quiet = tmp_path / "quiet"
    await runtime.start(spec("sh", "-c", "echo first; exec sleep 1000", id="m2", console=quiet))
    await runtime.start(spec("sh", "-c", "exec yes"))
    await until(lambda: (tmp_path / "console").stat().st_size > 20 * LIMIT)
    await runtime.stop("m1", grace_s=0)
    assert room(tmp_path / "console") <= LIMIT
    await runtime.stop("m2", grace_s=0)
    assert quiet.read_text() == "first\n"
    await until(lambda: "console limits" not in {thread.name for thread in threading.enumerate()})


async def test_what_a_console_held_before_is_cut_too(runtime: Runtime, spec: Specs, tmp_path: Path) -> None:
    console = tmp_path / "console"
    console.write_bytes(b"old\n" * LIMIT + b"newest\n")
    await runtime.start(spec("sh", "-c", "echo up; exec sleep 1000"))
    await until(lambda: tail(console, 99).endswith(b"old\nnewest\nup\n"))
    assert console.stat().st_size == KEPT + len("up\n")
