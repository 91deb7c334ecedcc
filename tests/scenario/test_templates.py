"""Keepers that are forked from a template: as good as others, and gone with whoever started them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from sonata._lib.processes import ProcessId, is_running
from sonata.embedding import Emulator, Impairment, Link, Pop, ServerSeed, Topology
from sonata.embedding.testing import what_is_missing
from sonata.sdk.emulation_records import find, recorded
from sonata.sdk.keepers import Keeper
from sonata.sdk.templates import Template
from tests.waiting import eventually

pytestmark = [pytest.mark.root, pytest.mark.serial]
STARTER = """
import json, os
from sonata.sdk.emulation_records import find, recorded
from sonata.sdk.keepers import Keeper
from sonata.sdk.templates import TEMPLATE
process = Keeper(TEMPLATE.spawn).process("nobody")
print(json.dumps([process.pid, process.started]), flush=True)
os._exit(1)
"""
TWICE = """
from sonata.embedding import Emulator, Pop, ServerSeed, Topology
for name in ("first", "second"):
    topology = Topology(name, {"a": Pop("a")}, (), servers={"s": ServerSeed("s", "a", "host")})
    with Emulator(topology) as emulation:
        print(emulation.exec("a/s", ["cat", "/etc/hostname"], check=True).stdout.strip())
"""
SLOW = Topology(
    "slow",
    {"a": Pop("a"), "b": Pop("b")},
    (Link("wire", "a", "b", Impairment(delay_s=0.01)),),
    servers={"s": ServerSeed("s", "a", "host")},
)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    if lacking := what_is_missing():
        pytest.skip(lacking)
    monkeypatch.setenv("SONATA_HOME", str(tmp_path))
    return tmp_path


@pytest.fixture
def template() -> Iterator[Template]:
    made = Template()
    yield made
    made.close()


def own_templates() -> list[psutil.Process]:
    """Templates among the children of this process, which takes in keepers, too, where it has run machines itself."""
    keepers = {record.process.pid for record in recorded()}
    return [child for child in psutil.Process().children() if is_template(child) and child.pid not in keepers]


def templates_at(home: Path) -> list[psutil.Process]:
    """Templates that were started at a home, and keepers forked from them, which have the same command line."""
    return [one for one in psutil.process_iter() if is_template(one, home)]


def is_template(process: psutil.Process, home: Path | None = None) -> bool:
    """Whether a process is one, or a keeper forked from one; of this home, if it matters."""
    try:
        return "sonata.daemon.template" in process.cmdline() and (
            home is None or process.environ().get("SONATA_HOME") == str(home)
        )
    except psutil.Error:
        return False


def test_a_script_runs_one_emulation_after_the_other_and_leaves_no_process(home: Path) -> None:
    told = subprocess.run([sys.executable, "-c", TWICE], capture_output=True, text=True, check=True)
    assert told.stdout.split() == ["s", "s"]
    assert told.stderr == ""
    eventually(lambda: templates_at(home) == [])


def test_a_keeper_that_is_told_nothing_ends_with_the_block(template: Template) -> None:
    with Keeper(template.spawn) as keeper:
        process = keeper.process("nobody")
        assert is_running(process)
    assert not is_running(process)


def test_a_keeper_ends_when_its_starter_dies_and_so_does_the_template(home: Path) -> None:
    told = subprocess.run([sys.executable, "-c", STARTER], capture_output=True, text=True, check=False)
    process = ProcessId(*json.loads(told.stdout))
    eventually(lambda: not is_running(process))
    eventually(lambda: templates_at(home) == [])


def test_a_template_that_was_killed_is_replaced_and_its_emulations_live_on(home: Path, template: Template) -> None:
    with Emulator(SLOW) as emulation:
        for child in own_templates():
            child.kill()
            child.wait()
        assert emulation.exec("a/s", ["true"]).status == 0
        with Emulator(Topology("beside", {"a": Pop("a")}, ())) as beside:
            assert beside.name == "beside"


def test_keepers_have_the_environment_of_the_time_of_their_start(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOT_TEXT", "\udc80")
    larger = replace(SLOW, pops={**SLOW.pops, "c": Pop("c")})
    for own in ("first", "second"):
        monkeypatch.setenv("SONATA_HOME", str(home / own))
        with Emulator(SLOW) as emulation:
            emulation.apply(larger)
            # The keeper writes down, in the home that it knows, what is true now.
            assert find(emulation.name).topology == larger


def test_ctrl_c_at_the_terminal_does_not_reach_the_template(template: Template) -> None:
    with Keeper(template.spawn) as keeper:
        keeper.process("nobody")
        found = own_templates()
        assert found
        assert os.getpgid(0) not in {os.getpgid(one.pid) for one in found}
