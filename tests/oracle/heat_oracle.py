"""OpenStack Heat as an oracle: its package in a virtual environment of its own, asked through a pipe."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

PROGRAM = Path(__file__).with_name("heat_program.py")
ENGINE = Path(__file__).with_name("heat_engine_program.py")
PACKAGES = ("openstack-heat==27.0.1",)
INSTALLATION_S = 900


class Unavailable(Exception):
    """The environment cannot be made here; says why."""


def python() -> Path:
    """The interpreter of the environment with Heat, made where it is missing.

    `$SONATA_HEAT_ORACLE` names an interpreter that has Heat already.

    Raises:
        Unavailable: it cannot be made.
    """
    if given := os.environ.get("SONATA_HEAT_ORACLE"):
        return Path(given)
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "sonata" / "oracles" / "heat"
    interpreter, done = home / "bin" / "python", home / "complete"
    if not done.exists():
        _run(sys.executable, "-m", "venv", "--clear", str(home))
        _run(str(interpreter), "-m", "pip", "install", "--disable-pip-version-check", "-q", *PACKAGES)
        done.touch()
    return interpreter


def _run(*command: str) -> None:
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=INSTALLATION_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Unavailable(f"{command[0]}: {error}") from error
    if done.returncode:
        raise Unavailable(f"{' '.join(command[1:4])}: {(done.stderr.strip().splitlines() or ['failed'])[-1]}")


class Heat:
    """Answers cases as `heat_program.py` says, or another program."""

    def __init__(self, interpreter: Path, program: Path = PROGRAM) -> None:
        self._process = subprocess.Popen(
            [str(interpreter), str(program)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    def answer(self, case: Any) -> dict[str, Any]:
        """What Heat says to a case."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(case) + "\n")
        self._process.stdin.flush()
        found: dict[str, Any] = json.loads(self._process.stdout.readline())
        return found

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.communicate()
