"""The folder of volumes.

A volume is a sparse file `<id>.img` with an ext4 file system, mounted on the folder `<id>` while it is open: the kernel
keeps its size, a hole costs no disk, and the loop device goes with the last mount, also when we are killed. Where loop
devices are not to be had (without root, or in a container) a volume is the folder `<id>` itself, and its size is not
enforced.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import os
import shutil
import tempfile
import threading
import uuid
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path

import sonata.adapters.volumes_local.programs as programs
from sonata.errors import AdapterError, Conflict, NotFound, QuotaExceeded, SonataError

GIB = 1024**3
_TRIAL_BYTES = 8 * 1024**2
_FREEZE, _THAW = 0xC0045877, 0xC0045878  # FIFREEZE, FITHAW of linux/fs.h
_CHECKED = (0, 1)  # e2fsck(8): 1 is "errors corrected"
_MAKE = ("-q", "-F", "-m", "0", "-E", "lazy_itable_init=1,lazy_journal_init=1,nodiscard")

_libc = ctypes.CDLL(None, use_errno=True)


class LocalVolumes:
    """`sonata.ports.volumes.VolumeStore` in a folder, which is made with the first volume."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder.absolute()
        self._turn = threading.Lock()  # of opening and shutting: two servers, or two threads, may want the same volume

    @cached_property
    def unenforced(self) -> str:
        """Why sizes are not enforced, found out by trying; see the port."""
        if missing := [name for name in ("mkfs.ext4", "mount") if not programs.found(name)]:
            return f"`{missing[0]}` is not installed"
        if not os.access("/dev/loop-control", os.W_OK):
            return "there are no loop devices for us"
        try:
            _try_out(self._made())
        except SonataError as error:
            return f"loop devices do not work here: {error.message}"
        return ""

    @property
    def free_bytes(self) -> int:
        """What the disk has left."""
        return shutil.disk_usage(self._made()).free

    def create(self, volume_id: str, size_gib: int) -> None:
        """Make an empty volume; see the port."""
        self._require_new(volume_id)
        if self.unenforced:
            self._path(volume_id).mkdir(mode=0o755)
            return
        with self._undone(volume_id):
            _format(self._image(volume_id), size_gib * GIB)

    def clone(self, source_id: str, volume_id: str, size_gib: int) -> None:
        """Make a volume with the content of another one; see the port."""
        self._require(source_id)
        self._require_new(volume_id)
        with self._undone(volume_id):
            if not self._image(source_id).exists():
                programs.run("cp", "-a", "--reflink=auto", str(self._path(source_id)), str(self._path(volume_id)))
                return
            image = self._image(volume_id)
            with _still(self._path(source_id)):
                programs.run("cp", "--sparse=always", "--reflink=auto", str(self._image(source_id)), str(image))
            _mend(image)
            if size_gib * GIB > image.stat().st_size:
                _grow(image, size_gib * GIB)

    def fill(self, volume_id: str, layers: Sequence[Path]) -> None:
        """Copy a root file system into a volume; see the port."""
        with self._opened(volume_id) as target, _merged(layers, self._made()) as source:
            programs.run("cp", "-a", "--sparse=auto", f"{source}/.", f"{target}/")

    def unpack(self, volume_id: str, archive: Path) -> None:
        """Write the files of a tar file into a volume; see the port."""
        with self._opened(volume_id) as folder:
            # tar itself refuses members that lead out of the folder.
            programs.run(
                "tar", "--extract", "--sparse", "--numeric-owner", "--same-owner", "--same-permissions",
                "--file", str(archive), "--directory", str(folder),
            )  # fmt: skip

    def extend(self, volume_id: str, size_gib: int) -> None:
        """Give a volume more room; see the port."""
        self._require(volume_id)
        image = self._image(volume_id)
        if not image.exists():
            return
        if not os.path.ismount(self._path(volume_id)):
            _mend(image)
            _grow(image, size_gib * GIB)
            return
        before = image.stat().st_size
        device = programs.run("findmnt", "-nro", "SOURCE", "--mountpoint", str(self._path(volume_id))).strip()
        os.truncate(image, size_gib * GIB)
        try:
            programs.run("losetup", "--set-capacity", device)
            programs.run("resize2fs", device)
        except AdapterError as error:
            os.truncate(image, before)
            programs.run("losetup", "--set-capacity", device)
            raise Conflict(
                f"the host does not let us extend a volume that is in use: {error.answer}", hint="detach it first"
            ) from error

    def open(self, volume_id: str) -> Path:
        """Mount a volume; see the port."""
        self._require(volume_id)
        folder, image = self._path(volume_id), self._image(volume_id)
        with self._turn:
            if image.exists() and not os.path.ismount(folder):
                folder.mkdir(mode=0o755, exist_ok=True)
                _mount(image, folder)
        return folder

    def shut(self, volume_id: str) -> None:
        """Unmount a volume; see the port."""
        folder = self._path(volume_id)
        with self._turn:
            if os.path.ismount(folder):
                _unmount(folder)

    def pack(self, volume_id: str, target: Path) -> None:
        """Write the content of a volume to a tar file; see the port."""
        with self._opened(volume_id) as folder:
            programs.run(
                "tar", "--create", "--sparse", "--numeric-owner", "--exclude=./lost+found", "--file", str(target),
                "--directory", str(folder), ".",
            )  # fmt: skip

    def remove(self, volume_id: str) -> None:
        """Remove a volume; see the port."""
        self.shut(volume_id)
        self._image(volume_id).unlink(missing_ok=True)
        shutil.rmtree(self._path(volume_id), ignore_errors=True)

    def _made(self) -> Path:
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        return self._folder

    def _path(self, volume_id: str) -> Path:
        return self._folder / str(uuid.UUID(volume_id))  # an id that is none cannot lead elsewhere

    def _image(self, volume_id: str) -> Path:
        return self._path(volume_id).with_suffix(".img")

    def _exists(self, volume_id: str) -> bool:
        return self._image(volume_id).exists() or self._path(volume_id).is_dir()

    def _require(self, volume_id: str) -> None:
        if not self._exists(volume_id):
            raise NotFound(f"there is no volume `{volume_id}` on the disk")

    def _require_new(self, volume_id: str) -> None:
        self._made()
        if self._exists(volume_id):
            raise Conflict(f"volume `{volume_id}` exists already")

    @contextlib.contextmanager
    def _undone(self, volume_id: str) -> Iterator[None]:
        """Remove a volume whose making fails."""
        with contextlib.ExitStack() as undo:
            undo.callback(self.remove, volume_id)
            yield
            undo.pop_all()

    @contextlib.contextmanager
    def _opened(self, volume_id: str) -> Iterator[Path]:
        """A volume that is open for a while; one that is open anyway stays so."""
        was_open = os.path.ismount(self._path(volume_id))
        folder = self.open(volume_id)
        try:
            yield folder
        finally:
            if not was_open:
                self.shut(volume_id)


@contextlib.contextmanager
def _still(folder: Path) -> Iterator[None]:
    """Hold back the writers of a volume, so that its file is of one moment (ioctl_fsfreeze(2))."""
    if not os.path.ismount(folder):
        yield
        return
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.ioctl(descriptor, _FREEZE, 0)
        try:
            yield
        finally:
            fcntl.ioctl(descriptor, _THAW, 0)
    finally:
        os.close(descriptor)


def _format(image: Path, size: int) -> None:
    """Make a sparse file with an empty file system."""
    descriptor = os.open(image, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        os.truncate(descriptor, size)
    except OSError as error:
        raise QuotaExceeded(f"the disk cannot hold a file of {size} bytes: {error.strerror}") from error
    finally:
        os.close(descriptor)
    programs.run("mkfs.ext4", *_MAKE, str(image))


def _mend(image: Path) -> None:
    """Replay the journal of a file system that was copied, or left behind, in use."""
    programs.run("e2fsck", "-f", "-p", str(image), allow=_CHECKED)


def _grow(image: Path, size: int) -> None:
    os.truncate(image, size)
    programs.run("resize2fs", str(image))


def _mount(image: Path, folder: Path) -> None:
    programs.run("mount", "-t", "ext4", "-o", "loop,nosuid,nodev", str(image), str(folder))


def _unmount(folder: Path) -> None:
    """Unmount at once, so that everything is on the disk at return.

    Raises:
        Conflict: somebody uses it.
        AdapterError: it is no mount.
    """
    if _libc.umount2(os.fsencode(folder), 0) == 0:
        return
    code = ctypes.get_errno()
    if code == errno.EBUSY:
        raise Conflict(f"the volume `{folder.name}` is in use")
    raise AdapterError(f"cannot unmount `{folder.name}`: {os.strerror(code)}", call="umount2(2)")


def _try_out(scratch_folder: Path) -> None:
    with tempfile.TemporaryDirectory(dir=scratch_folder) as scratch:
        image, folder = Path(scratch) / "trial.img", Path(scratch) / "trial"
        folder.mkdir()
        _format(image, _TRIAL_BYTES)
        _mount(image, folder)
        _unmount(folder)


@contextlib.contextmanager
def _merged(layers: Sequence[Path], scratch_folder: Path) -> Iterator[Path]:
    """One folder that shows layers on top of one another; none is an empty one."""
    if len(layers) == 1:
        yield layers[0]
        return
    with tempfile.TemporaryDirectory(dir=scratch_folder) as scratch:
        folder = Path(scratch)
        if not layers:
            yield folder
            return
        lower = ":".join(map(str, layers))
        programs.run("mount", "-t", "overlay", "-o", f"ro,lowerdir={lower}", "overlay", scratch)
        try:
            yield folder
        finally:
            _unmount(folder)
