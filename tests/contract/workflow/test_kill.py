"""kill -9 in the middle of a step, between steps, and within branches."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
RESULT = ["first", ["x1", "x2"], ["y1", "y2"], "last"]


def drive(folder: Path, death: str) -> tuple[int, str]:
    environment = {**os.environ, "PYTHONPATH": f"{ROOT / 'src'}:{ROOT}"}
    command = [sys.executable, "-m", "tests.contract.workflow.kill_driver", str(folder), death]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=90, env=environment, cwd=ROOT, check=False)
    assert ended.returncode in (0, -signal.SIGKILL), ended.stderr
    return ended.returncode, ended.stdout


@pytest.mark.parametrize(
    "death",
    [
        "after:first",
        "before:last",
        *(pytest.param(other, marks=pytest.mark.slow) for other in ("before:first", "before:x2", "after:y1")),
    ],
)
def test_after_kill_9_the_workflow_ends_and_finished_steps_are_not_repeated(tmp_path: Path, death: str) -> None:
    assert drive(tmp_path, death)[0] == -signal.SIGKILL
    before = (tmp_path / "marks").read_text().split()
    code, printed = drive(tmp_path, "-")
    assert (code, json.loads(printed)) == (0, RESULT)
    marks = (tmp_path / "marks").read_text().split()
    # The dying step repeats; so may the one that ran beside it, and those whose result was not journalled yet.
    under_way = {mark.partition(":")[2] for mark in before[-4:]}
    for mark in before:
        if mark.startswith("after:") and mark.partition(":")[2] not in under_way:
            assert marks.count(mark) == 1
    assert {mark for mark in marks if mark.startswith("after:")} == {
        f"after:{name}" for name in ("first", "x1", "x2", "y1", "y2", "last")
    }


def test_a_finished_workflow_is_not_run_again(tmp_path: Path) -> None:
    assert drive(tmp_path, "-")[0] == 0
    marks = (tmp_path / "marks").read_text()
    code, printed = drive(tmp_path, "-")
    assert (code, json.loads(printed)) == (0, RESULT)
    assert (tmp_path / "marks").read_text() == marks
