"""ext4 file systems in sparse files: made, brought to a size, mended; by the programs of e2fsprogs.

They have no journal: what keeps them whole is that the kernel unmounts them in order, also when their owner is killed.
One that the host itself has lost its power under is checked before its next use.
"""

from __future__ import annotations

import os
import struct
from pathlib import Path

import sonata._lib.host_programs as host_programs
from sonata.errors import AdapterError, Unsupported

BLOCK = 4096
# Little is written that an empty file system does not need: 64 KiB for one of 1 GiB, 650 KiB for 160 GiB.
_FEATURES = "^has_journal,^resize_inode,meta_bg"
_LAZILY = "lazy_itable_init=1,nodiscard"
_SHAPE = ("-b", str(BLOCK), "-i", "16384", "-I", "256", "-m", "0", "-O", _FEATURES, "-E", _LAZILY)
_STATE_AT, _CLEAN = 1024 + 0x3A, 1  # s_state of the super block, EXT4_VALID_FS and no errors
_MENDED = (0, 1)  # e2fsck(8): 1 is "errors corrected"


def missing_program() -> str:
    """The first program that is needed and not installed; empty for none."""
    return next((name for name in ("mkfs.ext4", "e2fsck", "resize2fs") if not host_programs.find(name)), "")


def make(image: Path, size: int) -> None:
    """Make a sparse file with an empty file system.

    Raises:
        OSError: the file cannot be written.
        AdapterError: no file system can be made in it.
    """
    with image.open("wb") as stream:
        stream.truncate(size)
    _run("mkfs.ext4", "-q", "-F", *_SHAPE, str(image))


def copy(template: Path, image: Path) -> None:
    """Copy the few blocks that an empty file system consists of; the rest of the new file is a hole."""
    with template.open("rb", buffering=0) as source, image.open("wb", buffering=0) as target:
        os.fchmod(target.fileno(), 0o600)
        size = os.fstat(source.fileno()).st_size
        target.truncate(size)
        end = 0
        while (start := _next_data(source.fileno(), end)) is not None:
            end = os.lseek(source.fileno(), start, os.SEEK_HOLE)
            os.pwrite(target.fileno(), os.pread(source.fileno(), end - start, start), start)


def _next_data(descriptor: int, offset: int) -> int | None:
    try:
        return os.lseek(descriptor, offset, os.SEEK_DATA)
    except OSError:  # ENXIO: there are none
        return None


def mend(image: Path, descriptor: int) -> None:
    """Check a file system that was not unmounted in order, or has met errors; costs nothing otherwise."""
    (state,) = struct.unpack("<H", os.pread(descriptor, 2, _STATE_AT))
    if state != _CLEAN:
        _check(image)


def fit(image: Path, size: int) -> bool:
    """Bring a file system that is not mounted to a size; False when more is written in it than fits, and it stays."""
    _check(image)
    if size > image.stat().st_size:
        os.truncate(image, size)
        _run("resize2fs", str(image))
        return True
    try:
        _run("resize2fs", str(image), f"{size // 1024}K")
    except AdapterError:
        return False
    os.truncate(image, size)
    return True


def _check(image: Path) -> None:
    _run("e2fsck", "-f", "-y", str(image), allow=_MENDED)


def _run(name: str, *arguments: str, allow: tuple[int, ...] = (0,)) -> None:
    """Run a program.

    Raises:
        Unsupported: it is not installed.
        AdapterError: it failed; with its own words.
    """
    program = host_programs.find(name)
    if program is None:
        raise Unsupported(f"`{name}` is not installed", hint="as root: apt-get install e2fsprogs")
    done = host_programs.call(program, *arguments)
    if done.returncode not in allow:
        answer = done.stderr.strip().rpartition("\n")[2][:300] or f"exit status {done.returncode}"
        raise AdapterError(f"`{name}` failed: {answer}", call=name, answer=answer)
