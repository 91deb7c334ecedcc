"""Starting and stopping the demonstration's own emulator and platform, through the command line that users have."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sonata.errors import PermanentError

_LIMIT_S = 600.0


def sonata(*arguments: str) -> str:
    """Run a verb and return what it printed on stdout.

    Raises:
        PermanentError: it failed; carries the end of what it said.
    """
    command = [sys.executable, "-m", "sonata", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=_LIMIT_S, check=False, env=_environment())
    if done.returncode:
        raise PermanentError(
            f"`sonata {' '.join(arguments[:2])}` failed with exit code {done.returncode}: {done.stderr.strip()[-2000:]}"
        )
    return done.stdout


def sonata_json(*arguments: str) -> Any:
    """Run a verb with `-o json` and return the document."""
    return json.loads(sonata(*arguments, "-o", "json"))


@contextmanager
def running_emulator(topology: Path, name: str) -> Iterator[None]:
    """Run an emulation on a free port for the time of the block."""
    sonata("emu", "up", str(topology), "--name", name, "--listen", "127.0.0.1:0", "--detach")
    try:
        yield
    finally:
        sonata("emu", "down", "--name", name)


@contextmanager
def running_platform(data: Path) -> Iterator[None]:
    """Run a platform on a free port for the time of the block."""
    sonata("up", "--data", str(data), "--listen", "127.0.0.1:0", "--detach")
    try:
        yield
    finally:
        sonata("down", "--data", str(data))


def _environment() -> dict[str, str]:
    return {**os.environ, "PYTHONUNBUFFERED": "1", "NO_COLOR": "1"}
