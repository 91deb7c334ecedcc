"""The platform is killed with SIGKILL in the middle of operations: they complete after a restart, and nothing leaks."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
MOMENTS = 120
"""At least this many moments are in one life of the service; the first test below checks it."""
SAMPLE = sorted(random.Random(20).sample(range(1, MOMENTS + 1), 2))


def drive(folder: Path, moment: int) -> tuple[int, dict[str, Any]]:
    environment = {**os.environ, "PYTHONPATH": f"{ROOT / 'src'}:{ROOT}"}
    command = [sys.executable, "-m", "tests.scenario.crash_driver", str(folder), str(moment)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=90, env=environment, cwd=ROOT, check=False)
    if ended.returncode not in (0, -signal.SIGKILL):
        raise AssertionError(f"driver failed: {ended.stderr}")
    return ended.returncode, json.loads(ended.stdout) if ended.returncode == 0 else {}


def check(outcome: dict[str, Any]) -> None:
    assert outcome["operations"] == ["INSTANTIATE COMPLETED", "TERMINATE COMPLETED"], outcome["errors"]
    assert outcome["state"] == "TERMINATED"
    assert outcome["left"] == {}
    assert outcome["made_twice"] == []


def test_without_a_crash_the_driver_passes_all_moments(tmp_path: Path) -> None:
    code, outcome = drive(tmp_path, 0)
    assert code == 0
    check(outcome)
    assert outcome["moments"] >= MOMENTS


@pytest.mark.parametrize("moment", SAMPLE)
def test_a_kill_at_any_moment_is_survived(tmp_path: Path, moment: int) -> None:
    assert drive(tmp_path, moment)[0] == -signal.SIGKILL
    code, outcome = drive(tmp_path, 0)
    assert code == 0
    check(outcome)


def test_kill_after_kill_after_kill_is_survived(tmp_path: Path) -> None:
    kills = 0
    for moment in (9, 25, 31, 17, 40):
        kills += drive(tmp_path, moment)[0] == -signal.SIGKILL
    assert kills >= 4
    check(drive(tmp_path, 0)[1])


@pytest.mark.slow
@pytest.mark.parametrize("moment", range(1, MOMENTS + 1))
def test_a_kill_at_every_moment_is_survived(tmp_path: Path, moment: int) -> None:
    assert drive(tmp_path, moment)[0] == -signal.SIGKILL
    check(drive(tmp_path, 0)[1])
