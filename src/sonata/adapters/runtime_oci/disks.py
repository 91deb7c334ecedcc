"""Disks of machines: what is written to a root file system, kept to a size by a file system of its own.

A disk is a sparse file with an ext4 file system, mounted while a machine runs; a hole costs the host nothing. Its loop
device goes with the mount, and the mount with us, also when we are killed. The device keeps the file locked, so that no
two ever work on it: whoever opens a disk waits until an earlier life has let go of it.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import logging
import os
import secrets
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import sonata.adapters.runtime_oci.ext4 as ext4
from sonata._lib import loop_devices
from sonata._lib.descriptors import is_exhaustion
from sonata.adapters.runtime_oci.mounts import (
    MS_NOATIME,
    MS_NODEV,
    MS_NOSUID,
    in_user_namespace,
    mount,
    unmount,
)
from sonata.adapters.runtime_oci.spare_disks import SpareDisks
from sonata.errors import AdapterError, SonataError

logger = logging.getLogger(__name__)

IMAGE = "disk.ext4"
"""The file, in the folder of a disk."""

_UNFINISHED = "disk.new"
_OPTIONS = "noinit_itable,discard,minixdf"  # what is deleted gives its room back; df(1) shows the size as it was given
_PASSING = (errno.ENOSPC, errno.EDQUOT, errno.ENOMEM)
_LEAST_ROOM = 1024**2
_LET_GO_S = 60.0
_POLL_S = 0.002
_TRIAL_BYTES = 8 * 1024**2
_TRIAL = "trial"


class Disks:
    """The disks of one runtime's machines that have a size.

    Args:
        folder: its own, for mounts and for what new disks are copied from.
        spares: folder for disks that are made ahead; best on the file system where disks are kept.
    """

    def __init__(self, folder: Path, spares: Path) -> None:
        self._folder = folder
        self._spares = SpareDisks(folder, spares)
        self._trying = threading.Lock()
        self._refusal: str | None = _excluded() or None
        self._places: dict[Path, Path] = {}

    @property
    def unenforced(self) -> str:
        """Why disks have no size here; empty when they have. Found out by the first disk, or by a trial before it.

        Raises:
            OSError: it cannot be tried at this moment.
        """
        with self._trying:
            if self._refusal is None:
                self._refusal = self._tried()
        return self._refusal

    def _tried(self) -> str:
        try:
            with tempfile.TemporaryDirectory(dir=self._made(), prefix=_TRIAL) as scratch:
                self._open(Path(scratch), _TRIAL_BYTES, _TRIAL)
                self.close(_TRIAL)
        except (OSError, SonataError) as error:
            if isinstance(error, OSError) and (error.errno in _PASSING or is_exhaustion(error)):
                raise
            return f"loop devices, which would give disks a size, do not work here: {error}"
        return ""

    def open(self, disk: Path, size: int | None, name: str) -> Path:
        """Mount the disk that a folder keeps, under a name; it is made where there is none, and brought to its size.

        Returns:
            Where it is mounted; without a size, or where disks have none, the folder itself, which is then written to.

        Raises:
            OSError: the host's disk is full, or has no loop device.
            AdapterError: it cannot be brought to its size, or an earlier life does not let go of it.
        """
        if size is None or self._refusal:
            return disk
        image, is_new = disk / IMAGE, not (disk / IMAGE).exists()
        try:
            place = self._open(disk, size, name)
        except (OSError, SonataError):
            if not self.unenforced:
                raise
            if is_new:
                image.unlink(missing_ok=True)
            return disk
        if place != disk:
            self._refusal = ""
        return place

    def _open(self, disk: Path, size: int, name: str) -> Path:
        _require_room(disk)
        if (disk / "upper").is_dir() and not (disk / IMAGE).exists():
            logger.warning("disk `%s` was made where disks had no size, and keeps none", disk)
            return disk
        place = self._made() / name
        self._show(disk, size, place)
        self._places[disk] = place
        return place

    def _show(self, disk: Path, size: int, place: Path) -> None:
        """Mount a disk somewhere."""
        with contextlib.ExitStack() as undo:
            place.mkdir(exist_ok=True)
            undo.callback(place.rmdir)
            self._mount(self._ready(disk, size), place)
            undo.pop_all()

    def close(self, name: str) -> None:
        """Unmount what was opened under a name, so that all of it is written at return; idempotent."""
        place = self._folder / name
        if not place.is_dir():
            return
        for disk in [disk for disk, at in list(self._places.items()) if at == place]:
            del self._places[disk]
        try:
            unmount(place, 0)
        except OSError:  # somebody looks at it
            with contextlib.suppress(OSError):
                unmount(place)
        with contextlib.suppress(OSError):
            place.rmdir()

    @contextlib.contextmanager
    def shown(self, disk: Path) -> Iterator[Path]:
        """A folder with what a disk holds, in `upper`, for a block; it may be a machine's, and it may have no size."""
        image = disk / IMAGE
        if disk in self._places or not image.exists():
            yield self._places.get(disk, disk)
            return
        place = self._made() / f"shown-{secrets.token_hex(6)}"
        self._show(disk, image.stat().st_size, place)
        try:
            yield place
        finally:
            self.close(place.name)

    def end(self) -> None:
        """Drop what was made ahead."""
        self._spares.close()

    def _made(self) -> Path:
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        return self._folder

    def _ready(self, disk: Path, size: int) -> int:
        """A descriptor of a disk's file that nobody else uses, its file system whole and of its size."""
        image = disk / IMAGE
        if not image.exists():
            self._make(disk, size)
        with contextlib.ExitStack() as undo:
            descriptor = os.open(image, os.O_RDWR | os.O_CLOEXEC)
            undo.callback(os.close, descriptor)
            _wait_alone(descriptor, image)
            ext4.mend(image, descriptor)
            if os.fstat(descriptor).st_size != size and not ext4.fit(image, size):
                logger.warning("disk `%s` stays larger than it should be: more is written to it than would fit", disk)
            undo.pop_all()
        return descriptor

    def _make(self, disk: Path, size: int) -> None:
        """Make an empty disk; one that is there is whole."""
        disk.mkdir(parents=True, exist_ok=True)
        unfinished = disk / _UNFINISHED
        try:
            self._spares.give(size, unfinished)
            unfinished.rename(disk / IMAGE)
        finally:
            unfinished.unlink(missing_ok=True)

    def _mount(self, descriptor: int, place: Path) -> None:
        """Mount a disk's file, whose descriptor is closed."""
        try:
            device, held = loop_devices.attach(descriptor)
        finally:
            os.close(descriptor)
        try:
            mount(str(device), place, "ext4", MS_NOSUID | MS_NODEV | MS_NOATIME, _OPTIONS)
        finally:
            os.close(held)


def _excluded() -> str:
    """Why disks cannot have a size here, as far as that is seen without trying; empty for nothing."""
    if missing := ext4.missing_program():
        return f"`{missing}`, which would give disks a size, is not installed (apt-get install e2fsprogs)"
    if in_user_namespace():
        return "without root no file system can be mounted from a file, so that what is written has no bound"
    return ""


def _require_room(disk: Path) -> None:
    """Refuse to open a disk that could not grow: what is written to it would be lost, and who wrote it not told.

    Raises:
        OSError: the host's disk is full.
    """
    disk.mkdir(parents=True, exist_ok=True)
    room = os.statvfs(disk)
    if room.f_frsize * room.f_bfree < _LEAST_ROOM:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(disk))


def _wait_alone(descriptor: int, image: Path) -> None:
    """Lock a file; the loop device that is made of the descriptor keeps the lock as long as it lives.

    Raises:
        AdapterError: somebody else keeps it.
    """
    deadline = time.monotonic() + _LET_GO_S
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise AdapterError(
                    f"disk `{image}` is in use: an earlier mount of it has not ended",
                    hint="look for processes that hold it: grep -l PATH /proc/*/mountinfo",
                ) from None
            time.sleep(_POLL_S)
