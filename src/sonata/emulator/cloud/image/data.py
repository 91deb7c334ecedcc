"""The data of images: how they are received, what their size and digests are."""

from __future__ import annotations

import hashlib
import os
import shlex
import struct
from pathlib import Path
from types import TracebackType

from sonata._lib.values import dataclass
from sonata.emulator.cloud.causes import StorageFull

LARGEST = 1024**4
"""Bytes that one image may have (Glance's `image_size_cap`)."""
_CHUNK = 1024**2
_QCOW = b"QFI\xfb"


@dataclass(frozen=True, slots=True)
class Received:
    """What is known of data that were written down."""

    size: int
    md5: str
    sha256: str
    sha512: str


class Receiver:
    """Writes data to a new file that its owner alone can read, and takes their digests.

    Raises:
        StorageFull: there is more than one image may have.
        OSError: as the file system says.
    """

    def __init__(self, target: Path) -> None:
        target.unlink(missing_ok=True)
        descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        self._stream = os.fdopen(descriptor, "wb")
        self._digests = _Digests()

    def __enter__(self) -> Receiver:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stream.close()

    def write(self, chunk: bytes) -> None:
        """Write some more."""
        self._digests.add(chunk)
        if self._digests.size > LARGEST:
            raise StorageFull(f"Denying attempt to upload image larger than {LARGEST} bytes.")
        self._stream.write(chunk)

    def received(self) -> Received:
        """What was written; it has reached the file system at return."""
        self._stream.flush()
        return self._digests.result()


class _Digests:
    def __init__(self) -> None:
        self.size = 0
        self._md5 = hashlib.md5(usedforsecurity=False)  # Glance's `checksum`; `os_hash_value` is what to rely on
        self._sha256, self._sha512 = hashlib.sha256(), hashlib.sha512()

    def add(self, chunk: bytes) -> None:
        self.size += len(chunk)
        for each in (self._md5, self._sha256, self._sha512):
            each.update(chunk)

    def result(self) -> Received:
        return Received(self.size, self._md5.hexdigest(), self._sha256.hexdigest(), self._sha512.hexdigest())


def measured(path: Path) -> Received:
    """Size and digests of a file."""
    digests = _Digests()
    with path.open("rb") as stream:
        while chunk := stream.read(_CHUNK):
            digests.add(chunk)
    return digests.result()


def virtual_size(path: Path, disk_format: str | None) -> int | None:
    """Bytes of the disk that an image holds; None where that is not known.

    Source: QCOW2 specification, header: magic, version, backing file offset and size, cluster bits, size (big endian).
    """
    if disk_format in ("raw", "iso"):
        return path.stat().st_size
    if disk_format != "qcow2":
        return None
    with path.open("rb") as stream:
        header = stream.read(32)
    if len(header) < 32 or not header.startswith(_QCOW):
        return None
    return int(struct.unpack(">Q", header[24:32])[0])


def booted_program(command_line: str) -> tuple[str, ...]:
    """The first program that a kernel command line names: `init=/app -- --port 80` (kernel-parameters); else nothing.

    A command line that cannot be split names none.
    """
    try:
        words = shlex.split(command_line)
    except ValueError:
        return ()
    programs = [word.removeprefix("init=") for word in words if word.startswith("init=/")]
    arguments = words[words.index("--") + 1 :] if "--" in words else []
    return (programs[-1], *arguments) if programs else ()
