"""Programs of the host, called without a shell, and answering in English."""

from __future__ import annotations

import shutil
import subprocess

SEARCH = "/usr/sbin:/usr/bin:/sbin:/bin:/usr/local/sbin:/usr/local/bin"


def find(name: str) -> str | None:
    """The path of a program; None where it is not installed."""
    return shutil.which(name, path=SEARCH)


def call(program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a program to its end, whatever that is; undecodable bytes of its output are replaced."""
    return subprocess.run(
        [program, *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
        env={"LC_ALL": "C", "PATH": SEARCH},
    )
