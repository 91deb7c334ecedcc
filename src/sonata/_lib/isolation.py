"""Namespaces and private mounts, for a process that has no thread yet (unshare(2), mount(2))."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path

CLONE_NEWNS = 0x00020000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000

_MS_NOSUID, _MS_NODEV, _MS_NOEXEC = 0x2, 0x4, 0x8
_MS_REC, _MS_PRIVATE = 0x4000, 1 << 18
_MNT_DETACH = 2
_NO_LOGIN = 2**32 - 1
_FSOPEN, _FSCONFIG, _FSMOUNT = 430, 431, 432
"""Numbers of system calls, the same on all architectures; older C libraries have no functions for them."""
_FSOPEN_CLOEXEC, _FSCONFIG_CMD_CREATE, _FSMOUNT_CLOEXEC = 1, 6, 1
_MOUNT_ATTRIBUTES = 0x2 | 0x4 | 0x8  # nosuid, nodev, noexec

_libc = ctypes.CDLL(None, use_errno=True)


def unshare(flags: int) -> None:
    """Leave namespaces for new ones; a new pid namespace takes effect for children.

    Raises:
        OSError: the kernel refused.
    """
    _checked(_libc.unshare(ctypes.c_int(flags)), "unshare")


def make_mounts_private() -> None:
    """Keep mounts made from now on to this mount namespace."""
    _mount(None, Path("/"), None, _MS_REC | _MS_PRIVATE)


def mount_proc() -> None:
    """Show the processes of this pid namespace alone."""
    _mount("proc", Path("/proc"), "proc", _MS_NOSUID | _MS_NODEV | _MS_NOEXEC)


def detached_proc() -> int:
    """A descriptor of a new proc file system that is mounted nowhere, and gone when it is closed (fsmount(2)).

    Raises:
        OSError: the kernel is older than 5.2, or this process may not mount one.
    """
    context = _checked(_libc.syscall(_FSOPEN, b"proc", _FSOPEN_CLOEXEC), "fsopen proc")
    try:
        _checked(_libc.syscall(_FSCONFIG, context, _FSCONFIG_CMD_CREATE, None, None, 0), "fsconfig proc")
        return _checked(_libc.syscall(_FSMOUNT, context, _FSMOUNT_CLOEXEC, _MOUNT_ATTRIBUTES), "fsmount proc")
    finally:
        os.close(context)


def forget_login() -> str:
    """Be no login of whoever started this process any more, as services are none (audit's login id).

    A program that lets others log in, such as sshd with PAM, can note them only where nobody is noted yet.

    Returns:
        Why that cannot be; empty when it is so, or when this kernel notes no logins.
    """
    file = Path("/proc/self/loginuid")
    try:
        if int(file.read_text()) != _NO_LOGIN:
            file.write_text(str(_NO_LOGIN))
    except FileNotFoundError:
        return ""
    except (OSError, ValueError) as error:
        return str(error)
    return ""


def mount_tmpfs(folder: Path) -> None:
    """Mount an empty file system in memory that its owner alone can enter."""
    _mount("tmpfs", folder, "tmpfs", _MS_NOSUID | _MS_NODEV, "mode=700")


def mount_overlay(lower: Path, upper: Path, work: Path, target: Path) -> None:
    """Mount `upper` over the read-only `lower`; `userxattr` keeps its marks where an ordinary user may."""
    marks = "" if _is_host_root() else ",userxattr"
    _mount("overlay", target, "overlay", 0, f"lowerdir={lower},upperdir={upper},workdir={work}{marks}")


def _is_host_root() -> bool:
    return Path("/proc/self/uid_map").read_text().split() == ["0", "0", "4294967295"]


def unmount(folder: Path) -> None:
    """Take a mount away at once; those who use it keep it until they are done."""
    _checked(_libc.umount2(os.fsencode(folder), _MNT_DETACH), f"umount {folder}")


def _mount(source: str | None, target: Path, kind: str | None, flags: int, options: str | None = None) -> None:
    result = _libc.mount(_text(source), os.fsencode(target), _text(kind), ctypes.c_ulong(flags), _text(options))
    _checked(result, f"mount {target}")


def _text(value: str | None) -> bytes | None:
    return None if value is None else value.encode()


def _checked(result: int, call: str) -> int:
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{call}: {os.strerror(code)}")
    return result
