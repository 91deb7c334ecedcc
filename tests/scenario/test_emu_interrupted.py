"""Ctrl-C at any moment of `up` and of `down`: what is told is true, and nothing is left after a `down`.

While Python itself starts, before `main` begins, a traceback is its own affair; nothing is left then, too.
"""

from __future__ import annotations

import os
import random
import re
import signal
import subprocess
import time

import pytest

from tests.scenario.emu_command import Emu, left

pytestmark = [pytest.mark.root, pytest.mark.serial]

LONGEST_S = {"up": 2.0, "down": 1.2}
"""A little more than each takes, so that the last moments of it are among those drawn."""
SEED, MOMENTS = 20, 50
USUAL = {"up": (30,), "down": (25,)}
"""Of the moments in their order those that the short suite tries."""

OURS = re.compile(r'File ".*/sonata/.*", line \d+, in (\S+)')
"""Functions of ours in a traceback; modules that are loaded by `main` have it there, too."""


def moments(verb: str) -> list[object]:
    """Times after which a verb is interrupted; most of them for the long run."""
    draw = random.Random(f"{SEED} {verb}")
    drawn = [draw.uniform(0.0, LONGEST_S[verb]) for _ in range(MOMENTS)]
    order = sorted(drawn)
    marks = [() if number in USUAL[verb] else (pytest.mark.slow,) for number in range(MOMENTS)]
    return [pytest.param(at, marks=mark, id=f"{at:.3f}s") for at, mark in zip(order, marks, strict=True)]


def interrupt(process: subprocess.Popen[str], after_s: float) -> tuple[int, str]:
    """Press Ctrl-C: the whole foreground group of the terminal gets it. Returns the exit status and what was told."""
    time.sleep(after_s)
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGINT)
    _, told = process.communicate(timeout=60)
    return process.returncode, told


def is_told(status: int, told: str) -> bool:
    """Whether an interrupted verb ended well: none of its own code is in a traceback, but what leads to `main`."""
    if "Traceback" in told or "Fatal Python error" in told:
        return set(OURS.findall(told)) <= {"<module>"}  # Python was not ready for us yet
    return status in (0, 130, -signal.SIGINT)


@pytest.mark.parametrize("at", moments("up"))
@pytest.mark.parametrize("how", [["--detach"], pytest.param([], marks=pytest.mark.slow)], ids=["detached", "attended"])
def test_up_that_is_interrupted_leaves_nothing_or_all(emu: Emu, at: float, how: list[str]) -> None:
    status, told = interrupt(emu.aside("up", str(emu.topology), "--listen", "127.0.0.1:0", *how), at)
    assert is_told(status, told), told
    listed = emu.json("ls")
    if status == 0 and how:
        assert [row["state"] for row in listed] == ["ready"]
        emu.ok("exec", "users", "--", "true")
        emu.ok("down")
    else:
        assert listed == []
    assert left(emu) == []


@pytest.mark.parametrize("at", moments("down"))
def test_down_that_is_interrupted_can_be_said_again(emu: Emu, at: float) -> None:
    emu.up()
    status, told = interrupt(emu.aside("down"), at)
    assert is_told(status, told), told
    was_there = emu.json("ls") != []
    again = emu.run("down")
    # What was told to end may do so between the two commands.
    assert again.returncode in ((0, 5) if was_there else (5,)), again.stderr
    assert left(emu) == []
