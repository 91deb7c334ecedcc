"""System calls that Python does not have."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path

NEWNS, NEWUTS, NEWIPC, NEWPID, NEWNET = 0x20000, 0x4000000, 0x8000000, 0x20000000, 0x40000000
MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_REMOUNT, MS_BIND = 1, 2, 4, 8, 32, 4096
MS_REC, MS_PRIVATE, MS_STRICTATIME = 1 << 14, 1 << 18, 1 << 24
MNT_DETACH = 2
PR_SET_KEEPCAPS, PR_SET_NAME, PR_CAPBSET_DROP, PR_SET_NO_NEW_PRIVS = 8, 15, 24, 38
_PIVOT_ROOT = {"x86_64": 155, "aarch64": 41}
_OPEN_TREE, _MOVE_MOUNT, _MOUNT_SETATTR = 428, 429, 442  # the same numbers on all architectures
_AT_FDCWD, _AT_EMPTY_PATH, _AT_RECURSIVE = -100, 0x1000, 0x8000
_CAPABILITY_VERSION_3 = 0x20080522

libc = ctypes.CDLL(None, use_errno=True)


class _Attributes(ctypes.Structure):
    """struct mount_attr of linux/mount.h."""

    _fields_ = [(name, ctypes.c_uint64) for name in ("attr_set", "attr_clr", "propagation", "userns_fd")]


def checked(result: int, what: str) -> int:
    """The result of a system call.

    Raises:
        OSError: it failed.
    """
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
    return result


def mount(source: str, target: str, kind: str | None, flags: int, options: str = "") -> None:
    """System call of that name."""
    words = (source.encode(), os.fsencode(target), kind.encode() if kind else None)
    checked(libc.mount(*words, ctypes.c_ulong(flags), options.encode() or None), f"mount {kind or source} on {target}")


def unmount(target: str) -> None:
    """System call of that name, lazily."""
    checked(libc.umount2(os.fsencode(target), MNT_DETACH), f"umount {target}")


def unshare(flags: int) -> None:
    """System call of that name."""
    checked(libc.unshare(flags), "unshare")


def setns(descriptor: int, flags: int) -> None:
    """System call of that name."""
    checked(libc.setns(descriptor, flags), "setns")


def prctl(option: int, *arguments: int) -> None:
    """System call of that name."""
    words = [ctypes.c_ulong(argument) for argument in (*arguments, 0, 0, 0, 0)[:4]]
    checked(libc.prctl(option, *words), f"prctl {option}")


def set_name(name: bytes) -> None:
    """The name of this process, as in ps(1)."""
    checked(libc.prctl(PR_SET_NAME, ctypes.c_char_p(name), 0, 0, 0), "prctl PR_SET_NAME")


def sethostname(name: str) -> None:
    """System call of that name."""
    checked(libc.sethostname(name.encode(), len(name.encode())), "sethostname")


def pivot_to_here() -> None:
    """Make the working directory the root; the old one lies over it until it is unmounted (pivot_root(2), NOTES)."""
    checked(libc.syscall(_PIVOT_ROOT[os.uname().machine], b".", b"."), "pivot_root")


def cloned_tree(source: str, flags: int = 0) -> int:
    """A descriptor of a copy of the mounts at a path, with attributes (MS_RDONLY, MS_NOSUID, MS_NODEV) set."""
    what = f"bind of {source}"
    options = 1 | os.O_CLOEXEC | _AT_RECURSIVE  # OPEN_TREE_CLONE
    tree = checked(libc.syscall(_OPEN_TREE, _AT_FDCWD, os.fsencode(source), options), what)
    # The attributes have the numbers of the mount flags.
    attributes = _Attributes(attr_set=flags & (MS_RDONLY | MS_NOSUID | MS_NODEV), propagation=MS_PRIVATE)
    how = _AT_EMPTY_PATH | _AT_RECURSIVE
    size = ctypes.c_size_t(ctypes.sizeof(attributes))
    checked(libc.syscall(_MOUNT_SETATTR, tree, b"", how, ctypes.byref(attributes), size), what)
    return tree


def attach_tree(tree: int, target: str) -> None:
    """Attach such mounts at a path, as this process resolves it."""
    words = (_AT_FDCWD, os.fsencode(target), 4)  # MOVE_MOUNT_F_EMPTY_PATH
    checked(libc.syscall(_MOVE_MOUNT, tree, b"", *words), f"bind on {target}")
    os.close(tree)


def set_capabilities(wanted: int) -> None:
    """Call capset(2): effective and permitted are these, nothing is inheritable."""
    head = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)
    low, high = wanted & 0xFFFFFFFF, wanted >> 32
    sets = (ctypes.c_uint32 * 6)(low, low, 0, high, high, 0)
    checked(libc.capset(ctypes.byref(head), ctypes.byref(sets)), "capset")


def last_capability() -> int:
    """The highest capability that this kernel knows."""
    return int(Path("/proc/sys/kernel/cap_last_cap").read_text())
