"""The host's programs for file systems: mkfs.ext4, mount, umount, resize2fs, cp, tar; none of them through a shell."""

from __future__ import annotations

import sonata._lib.host_programs as host_programs
from sonata.errors import AdapterError, QuotaExceeded, Unsupported

_FULL = ("No space left on device", "Disk quota exceeded")


def found(name: str) -> bool:
    """Whether a program is installed."""
    return host_programs.find(name) is not None


def run(name: str, *arguments: str, allow: tuple[int, ...] = (0,)) -> str:
    """Run a program and return what it printed.

    Raises:
        Unsupported: it is not installed.
        QuotaExceeded: the disk, or the file system that it worked on, is full.
        AdapterError: it failed; with its own words.
    """
    program = host_programs.find(name)
    if program is None:
        raise Unsupported(f"`{name}` is not installed", hint="as root: apt-get install e2fsprogs mount coreutils tar")
    done = host_programs.call(program, *arguments)
    if done.returncode in allow:
        return done.stdout
    complaint = _complaint(done.stderr) or f"exit status {done.returncode}"
    if any(words in done.stderr for words in _FULL):
        raise QuotaExceeded(f"no space is left: {complaint}")
    raise AdapterError(f"`{name}` failed: {complaint}", call=name, answer=complaint)


def _complaint(told: str) -> str:
    """What went wrong, in a program's own words: banners come before it, mount(8) refers to dmesg(1) after it."""
    lines = [line.strip() for line in told.splitlines() if line.strip() and "dmesg(1)" not in line]
    return lines[-1][:300] if lines else ""
