"""Keepers that start before they know what to keep leave nothing when they are told nothing."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from sonata._lib.processes import ProcessId, identify, is_running
from sonata.errors import AdapterError
from sonata.model.topology import Pop, Topology
from sonata.sdk import emulations, keepers
from sonata.sdk.emulation_records import recorded
from sonata.sdk.keepers import Keeper, Spawn, Ties, by_program
from sonata.sdk.templates import TEMPLATE
from tests.waiting import eventually

pytestmark = [pytest.mark.root, pytest.mark.serial]
STARTER = """
import json, os
from sonata.sdk.keepers import Keeper
process = Keeper().process("nobody")
print(json.dumps([process.pid, process.started]), flush=True)
os._exit(1)
"""


def test_a_keeper_that_is_told_nothing_ends_with_the_block() -> None:
    with Keeper() as keeper:
        process = keeper.process("nobody")
        assert is_running(process)
    assert not is_running(process)
    keeper.hang_up()  # once more does no harm


def test_a_keeper_ends_when_its_starter_dies_before_it_was_told_anything() -> None:
    told = subprocess.run([sys.executable, "-c", STARTER], capture_output=True, text=True, check=False)
    process = ProcessId(*json.loads(told.stdout))
    eventually(lambda: not is_running(process))


@pytest.mark.parametrize("spawn", [by_program, TEMPLATE.spawn], ids=["program", "template"])
def test_a_keeper_that_is_told_to_end_while_it_loads_ends_once_it_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spawn: Spawn
) -> None:
    monkeypatch.setenv("SONATA_HOME", str(tmp_path))
    begun = time.monotonic()
    with Keeper(spawn) as keeper:
        os.kill(keeper.process("early").pid, signal.SIGTERM)
        with pytest.raises(AdapterError, match="emulation `early` died while it started"):
            emulations.start(Topology("early", {"a": Pop("a")}), listen=("127.0.0.1", 0), keeper=keeper)
    assert time.monotonic() - begun < emulations.GRACE_S, "it was killed"
    assert list(recorded()) == []


@pytest.mark.timeout(20)
@pytest.mark.parametrize("spawn", [by_program, TEMPLATE.spawn], ids=["program", "template"])
def test_a_keeper_ends_with_the_block_that_was_interrupted_as_it_said_who_it_is(
    monkeypatch: pytest.MonkeyPatch, spawn: Spawn
) -> None:
    said = []

    def interrupted(pid: int) -> None:
        said.append(identify(pid))
        raise KeyboardInterrupt

    monkeypatch.setattr(keepers, "identify", interrupted)
    with pytest.raises(KeyboardInterrupt), Keeper(spawn) as keeper:
        keeper.process("unknown")
    assert said
    eventually(lambda: not is_running(said[0]))


@pytest.mark.timeout(20)
def test_a_keeper_ends_before_the_start_that_was_interrupted_as_it_was_spawned() -> None:
    seen, held = os.pipe()
    os.set_inheritable(held, True)

    def interrupted(ties: Ties) -> Callable[[], object]:
        command = [sys.executable, "-m", "sonata.daemon.keeper", *map(str, ties[:3])]
        subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=ties.log, pass_fds=(*ties[:3], held))
        os.close(held)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Keeper(interrupted)
    is_over, _, _ = select.select([seen], [], [], 0.05)  # less than it takes to load
    os.close(seen)
    assert is_over, "a process of it still has what it was given"


def test_a_keeper_that_died_is_told_by_the_name_of_its_emulation() -> None:
    with Keeper() as keeper:
        keeper.process("one")
        keeper.tell([])  # no descriptors: it is told that there is nothing to keep
        with pytest.raises(AdapterError, match="emulation `one` died while it started"):
            keeper.next_report("one")
        keeper.hang_up()


def test_a_keeper_that_has_died_may_be_dropped_by_each_of_several_blocks() -> None:
    def spawn_nothing(ties: Ties) -> Callable[[], object]:
        return lambda: None

    with pytest.raises(KeyboardInterrupt), Keeper(spawn_nothing) as keeper, keeper:
        raise KeyboardInterrupt
