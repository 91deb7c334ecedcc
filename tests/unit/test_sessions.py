"""What a killed session of tests left is removed by the next one, and what a living one has is left alone."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from tests import sessions

from sonata._lib.processes import ProcessId, identify
from sonata.adapters.runtime_oci.cgroups import leftover_cgroups

SESSION = """
import json, os, subprocess, sys, tempfile
from pathlib import Path
from sonata._lib.processes import ProcessId
from sonata.adapters.runtime_oci.cgroups import detect
from sonata.model.topology import Pop, Topology
from sonata.sdk import emulation_records
from tests import sessions

sessions.begin()
elsewhere = Path(sys.argv[1])
sessions.claim(elsewhere)
os.environ["SONATA_HOME"] = str(elsewhere / "home")
folder = tempfile.mkdtemp(prefix="sonata-fake-")
sleeper = subprocess.Popen(["sleep", "600"], start_new_session=True, stdout=subprocess.DEVNULL)
own = sessions.labelled(sessions.CGROUP)
emulation = f"sonata-dead-{os.getpid()}"
topology = Topology("dead", {"core": Pop("core")})
dead = emulation_records.EmulationRecord(
    "dead", ProcessId(2**22, 1), "http://127.0.0.1:1", "", "", "", "127.0.0.1:1", "", emulation, 0.0, topology)
emulation_records.new_folder("dead")
emulation_records.save(dead)
for cgroup in (own, emulation):
    detect(cgroup)
namespace = sessions.labelled(sessions.NAMESPACE)
if os.access("/run", os.W_OK):
    subprocess.run(["ip", "netns", "add", namespace], check=True)
print(json.dumps({"folder": folder, "sleeper": sleeper.pid, "cgroups": [own, emulation], "namespace": namespace,
                  "record": str(emulation_records.folder_of("dead"))}), flush=True)
sys.stdin.read()
"""


@contextmanager
def session(top: Path) -> Iterator[tuple[subprocess.Popen[str], dict[str, Any]]]:
    """Another session that has made something of each kind, and waits."""
    (top / "elsewhere").mkdir()
    environment = {**os.environ, "TMPDIR": str(top), "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", SESSION, str(top / "elsewhere")]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    ) as started:
        assert started.stdout
        try:
            yield started, json.loads(started.stdout.readline())
        finally:
            started.kill()


def standing(made: dict[str, Any], sleeper: ProcessId | None) -> set[str]:
    """Which of the things that a session has made are there."""
    there = {
        "folder": Path(made["folder"]).exists(),
        "record": Path(made["record"]).exists(),
        "process": identify(made["sleeper"]) == sleeper,
        "cgroup of a test": leftover_cgroups(made["cgroups"][0]),
        "cgroup of an emulation": leftover_cgroups(made["cgroups"][1]),
        "namespace": (sessions.NAMESPACES / made["namespace"]).exists(),
    }
    return {what for what, is_there in there.items() if is_there}


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root for cgroups and network namespaces")
def test_what_a_killed_session_left_is_removed_and_only_that(tmp_path: Path) -> None:
    everything = {"folder", "record", "process", "cgroup of a test", "cgroup of an emulation", "namespace"}
    with session(tmp_path) as (running, made):
        sleeper = identify(made["sleeper"])
        assert standing(made, sleeper) >= everything - {"cgroup of a test", "cgroup of an emulation"}
        before = standing(made, sleeper)
        assert list(sessions.dead_sessions(tmp_path)) == []
        running.send_signal(signal.SIGKILL)
        running.wait()
        assert standing(made, sleeper) == before
        (left,) = sessions.dead_sessions(tmp_path)
        sessions.remove_session(left)
        assert standing(made, sleeper) == set()
        assert list(tmp_path.iterdir()) == [tmp_path / "elsewhere"]
        assert list(sessions.dead_sessions(tmp_path)) == []


def test_folders_of_others_are_not_taken_for_sessions(tmp_path: Path) -> None:
    for name in ("sonata-tests-", "sonata-tests-12", "sonata-tests-12-34-56", "sonata-demo-12-34"):
        (tmp_path / name).mkdir()
    assert list(sessions.dead_sessions(tmp_path)) == []
