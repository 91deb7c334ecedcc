"""Locks, process identities and records: what keeps two emulations of one name apart."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from sonata._lib.locks import try_lock
from sonata._lib.processes import ProcessId, end_process, identify, is_running
from sonata.errors import Conflict, InvalidInput, NotFound
from sonata.model.topology import Endpoint, Impairment, Link, Pop, Topology
from sonata.sdk import emulation_records as records
from sonata.sdk import emulations

SLEEP = [sys.executable, "-c", "import time; print('up', flush=True); time.sleep(60)"]
STUBBORN = [
    sys.executable,
    "-c",
    "import signal, time; signal.signal(15, signal.SIG_IGN); print('up', flush=True); time.sleep(60)",
]


def started(argv: list[str]) -> subprocess.Popen[bytes]:
    process = subprocess.Popen(argv, stdout=subprocess.PIPE)
    assert process.stdout
    process.stdout.readline()
    return process


def test_a_lock_has_one_holder_until_it_is_closed(tmp_path: Path) -> None:
    first = try_lock(tmp_path / "lock")
    assert first is not None
    assert try_lock(tmp_path / "lock") is None
    os.close(first)
    second = try_lock(tmp_path / "lock")
    assert second is not None
    os.close(second)


def test_a_lock_file_that_was_removed_counts_no_more(tmp_path: Path) -> None:
    first = try_lock(tmp_path / "lock")
    (tmp_path / "lock").unlink()
    second = try_lock(tmp_path / "lock")
    assert first is not None
    assert second is not None
    assert try_lock(tmp_path / "lock") is None
    os.close(first)
    os.close(second)


def test_a_process_is_known_by_its_start_time(tmp_path: Path) -> None:
    process = started(SLEEP)
    identity = identify(process.pid)
    assert identity is not None
    assert is_running(identity)
    reused = ProcessId(identity.pid, identity.started - 1)
    assert not is_running(reused)
    assert end_process(reused, grace_s=0.1)
    assert process.poll() is None, "a pid that was given out again was killed"

    assert end_process(identity, grace_s=30)
    assert not is_running(identity), "a zombie counts as running"
    assert process.wait() == -signal.SIGTERM
    assert identify(process.pid) is None


def test_a_process_that_does_not_listen_is_killed() -> None:
    process = started(STUBBORN)
    identity = identify(process.pid)
    assert identity is not None
    assert not end_process(identity, grace_s=0.05)
    assert process.wait() == -signal.SIGKILL


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SONATA_HOME", str(tmp_path))
    return tmp_path


def record(name: str, process: ProcessId) -> records.EmulationRecord:
    topology = Topology(
        "t",
        {"a": Pop("a", (1.0, 2.0), labels={"tier": "edge"}), "b": Pop("b", cells=("c1",))},
        (Link("ab", "a", "b", Impairment(0.01, 0.001, 0.5, 1e6)),),
        {"u": Endpoint("u", "a", command=("x",))},
    )
    return records.EmulationRecord(
        name, process, "http://127.0.0.1:1", "t", "w", "p", "127.0.0.1:2", "s", "sonata-none", 1.0, topology
    )


def me() -> ProcessId:
    identity = identify(os.getpid())
    assert identity is not None
    return identity


def test_a_record_comes_back_whole_and_private(home: Path) -> None:
    records.new_folder("one")
    saved = record("one", me())
    records.save(saved)
    assert records.load("one") == saved
    file = records.folder_of("one") / "state.json"
    assert file.stat().st_mode & 0o777 == 0o600
    assert file.parent.stat().st_mode & 0o777 == 0o700


def test_the_only_running_one_is_found_without_a_name(home: Path) -> None:
    with pytest.raises(NotFound):
        records.find(None)
    for name, process in (("one", me()), ("dead", ProcessId(me().pid, 1))):
        records.new_folder(name)
        records.save(record(name, process))
    assert records.find(None).name == records.find("one").name == "one"
    with pytest.raises(NotFound):
        records.find("dead")
    records.new_folder("two")
    records.save(record("two", me()))
    with pytest.raises(Conflict, match="one, two"):
        records.find(None)


def test_one_that_is_being_started_is_neither_standing_nor_absent(home: Path) -> None:
    assert emulations.standing("one") is None
    for name, process in (("one", me()), ("dead", ProcessId(me().pid, 1))):
        records.new_folder(name)
        records.save(record(name, process))
    assert emulations.standing("dead") is None
    with pytest.raises(Conflict, match="being started"):
        emulations.standing("one")
    ready = replace(record("one", me()), ready=True)
    records.save(ready)
    assert emulations.standing("one") == ready


def test_a_damaged_record_is_passed_over_and_can_be_removed(home: Path) -> None:
    (records.new_folder("torn") / "state.json").write_text('{"name": "to')
    assert list(records.recorded()) == []
    emulations.stop("torn")
    assert not records.folder_of("torn").exists()


@pytest.mark.parametrize("name", ["", "..", "a/b", "-x", "x-", "A", "a" * 41, ".hidden", "a\n"])
def test_names_cannot_leave_the_folder(home: Path, name: str) -> None:
    with pytest.raises(InvalidInput):
        records.folder_of(name)


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.1.1", "example.org", "::"])
def test_only_loopback_is_listened_on(home: Path, host: str) -> None:
    with pytest.raises(InvalidInput, match="loopback"):
        emulations.start(Topology("t", {"a": Pop("a")}), listen=(host, 0))
    assert not records.folder_of("t").exists()
