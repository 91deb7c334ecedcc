"""Folders that come and go in machines that run.

A mount made here is handed over as a descriptor (open_tree(2)) and attached by a thread of its own that has entered the
machine's mount namespace (setns(2), move_mount(2)). The thread's root is then the machine's, so that no link in it
leads out of the machine; it ends there and never comes back.
"""

from __future__ import annotations

import ctypes
import errno
import os
import threading
from collections.abc import Callable
from pathlib import Path

from sonata.errors import AdapterError, Conflict, InvalidInput

_OPEN_TREE, _MOVE_MOUNT, _MOUNT_SETATTR = 428, 429, 442  # the same numbers on all architectures
_AT_FDCWD, _AT_EMPTY_PATH, _AT_RECURSIVE = -100, 0x1000, 0x8000
_OPEN_TREE_CLONE, _OPEN_TREE_CLOEXEC = 1, os.O_CLOEXEC
_MOVE_MOUNT_F_EMPTY_PATH = 4
_ATTR_RDONLY, _ATTR_NOSUID, _ATTR_NODEV = 1, 2, 4
_CLONE_FS, _CLONE_NEWNS = 0x200, 0x20000

_libc = ctypes.CDLL(None, use_errno=True)


class _Attributes(ctypes.Structure):
    """struct mount_attr of linux/mount.h."""

    _fields_ = [(name, ctypes.c_uint64) for name in ("attr_set", "attr_clr", "propagation", "userns_fd")]


def attach(pid: int, source: Path, target: str, *, read_only: bool) -> None:
    """Show a folder of the host in a running machine; missing folders on the way to it are made. Idempotent.

    Raises:
        InvalidInput: the target is no absolute path, or something else is in its place.
        AdapterError: the kernel refused.
    """
    if not target.startswith("/") or ".." in target.split("/"):
        raise InvalidInput(f"`{target}` is no place for a folder: an absolute path is needed")
    tree, wanted = _tree(source, read_only=read_only), os.stat(source)

    def move() -> None:
        os.makedirs(target, exist_ok=True)
        if os.path.samestat(os.stat(target), wanted):
            return  # the machine was started with it
        _call("move_mount", _MOVE_MOUNT, tree, b"", _AT_FDCWD, os.fsencode(target), _MOVE_MOUNT_F_EMPTY_PATH)

    try:
        _in_machine(pid, move)
    except FileExistsError as error:
        raise InvalidInput(f"`{target}` is taken in the machine") from error
    except OSError as error:
        raise AdapterError(f"cannot mount at `{target}`: {error.strerror}", call="move_mount(2)") from error
    finally:
        os.close(tree)


def protect(file: Path) -> None:
    """Mount a file over itself, read-only, so that who runs it cannot change it through `/proc/self/exe`."""
    tree = _tree(file, read_only=True)
    try:
        _call("move_mount", _MOVE_MOUNT, tree, b"", _AT_FDCWD, os.fsencode(file), _MOVE_MOUNT_F_EMPTY_PATH)
    finally:
        os.close(tree)


def detach(pid: int, target: str) -> None:
    """Take a folder out of a running machine; idempotent.

    Raises:
        Conflict: a process of the machine uses it.
        AdapterError: the kernel refused.
    """

    def unmount() -> None:
        if _libc.umount2(os.fsencode(target), 0) != 0:
            code = ctypes.get_errno()
            if code not in (errno.EINVAL, errno.ENOENT):  # no mount, no folder: gone already
                raise OSError(code, os.strerror(code))

    try:
        _in_machine(pid, unmount)
    except OSError as error:
        if error.errno == errno.EBUSY:
            raise Conflict(f"`{target}` is in use in the machine", hint="end what works in it") from error
        raise AdapterError(f"cannot unmount `{target}`: {error.strerror}", call="umount2(2)") from error


def _tree(source: Path, *, read_only: bool) -> int:
    """A descriptor of a copy of the mount that a folder is, attached nowhere."""
    try:
        flags = _OPEN_TREE_CLONE | _OPEN_TREE_CLOEXEC | _AT_RECURSIVE
        tree = _call("open_tree", _OPEN_TREE, _AT_FDCWD, os.fsencode(source), flags)
        wanted = _Attributes(_ATTR_NOSUID | _ATTR_NODEV | (_ATTR_RDONLY if read_only else 0), 0, 0, 0)
        _call(
            "mount_setattr", _MOUNT_SETATTR, tree, b"", _AT_EMPTY_PATH | _AT_RECURSIVE, ctypes.byref(wanted),
            ctypes.sizeof(wanted),
        )  # fmt: skip
    except OSError as error:
        raise AdapterError(f"cannot take a mount of `{source}`: {error.strerror}", call=error.strerror or "") from error
    return tree


def _in_machine(pid: int, work: Callable[[], None]) -> None:
    """Do something in a machine's mount namespace.

    Raises:
        OSError: as the work, or as setns(2).
    """
    failures: list[OSError] = []
    namespace = os.open(f"/proc/{pid}/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)

    def run() -> None:
        try:
            _checked("unshare", _libc.unshare(_CLONE_FS))  # a shared root or working folder cannot be moved
            _checked("setns", _libc.setns(namespace, _CLONE_NEWNS))
            work()
        except OSError as error:
            failures.append(error)

    try:
        thread = threading.Thread(target=run, name="mount in machine")
        thread.start()
        thread.join()
    finally:
        os.close(namespace)
    if failures:
        raise failures[0]


def _call(name: str, number: int, *arguments: object) -> int:
    converted = [ctypes.c_long(each) if isinstance(each, int) else each for each in arguments]
    return _checked(name, int(_libc.syscall(ctypes.c_long(number), *converted)))


def _checked(name: str, result: int) -> int:
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{name}: {os.strerror(code)}")
    return result
