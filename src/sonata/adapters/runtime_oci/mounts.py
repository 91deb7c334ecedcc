"""mount(2), umount2(2) and prctl(2) without a process per call."""

from __future__ import annotations

import ctypes
import os
import shutil
from functools import cache
from pathlib import Path

from sonata.errors import AdapterError

MS_NOSUID = 0x2
MS_NODEV = 0x4
MS_NOATIME = 0x400
MS_PRIVATE = 1 << 18
MS_BIND = 0x1000
MS_REC = 0x4000
MNT_DETACH = 0x2
_PR_SET_CHILD_SUBREAPER = 36

_libc = ctypes.CDLL(None, use_errno=True)


def mount(source: str, target: Path, kind: str | None = None, flags: int = 0, options: str | None = None) -> None:
    """Attach a file system; see the manual page of the system call.

    Raises:
        OSError: the kernel's answer.
    """
    result = _libc.mount(
        source.encode(),
        os.fsencode(target),
        kind.encode() if kind else None,
        ctypes.c_ulong(flags),
        options.encode() if options else None,
    )
    _check(result, f"mount {kind or source} on {target}")


def unmount(target: Path, flags: int = MNT_DETACH) -> None:
    """Detach a file system, by default lazily, so that a late user of a file does not keep the mount."""
    _check(_libc.umount2(os.fsencode(target), flags), f"umount {target}")


def mount_alone(folder: Path) -> None:
    """Make a folder a mount of itself, which no other namespace hears of: all mounts below it can go with it at once.

    Raises:
        OSError: the kernel's answer.
    """
    mount(str(folder), folder, flags=MS_BIND)
    mount("none", folder, flags=MS_PRIVATE)


def mount_overlay(layers: tuple[Path, ...], upper: Path, work: Path, target: Path) -> None:
    """Mount an overlay of these layers, topmost first, without device nodes and set-user-id programs.

    Raises:
        AdapterError: the kernel refused, e.g. since `upper` is itself on an overlay.
    """
    lower = ":".join(_escaped(layer) for layer in layers)
    options = f"lowerdir={lower},upperdir={_escaped(upper)},workdir={_escaped(work)}"
    if in_user_namespace():
        options += ",userxattr"  # trusted.* attributes, where overlays keep their marks, are the host root's alone
    try:
        mount("overlay", target, "overlay", MS_NOSUID | MS_NODEV, options)
    except OSError as error:
        raise AdapterError(
            f"the overlay of `{target}` was refused: {error.strerror}",
            hint="keep the data folder on ext4, xfs, btrfs or tmpfs, not on another overlay (SONATA_HOME moves it)",
            call="mount(2)",
            answer=str(error),
        ) from error


def disk_refusal(folder: Path) -> str:
    """Why disks of machines cannot be in a folder, which is made; empty when they can. Found out by trying."""
    trial = folder / ".trial"
    parts = [trial / name for name in ("lower", "upper", "work", "root")]
    try:
        for part in parts:
            part.mkdir(parents=True, exist_ok=True, mode=0o700)
        mount_overlay((parts[0],), *parts[1:])
        unmount(parts[-1])
    except (OSError, AdapterError) as error:
        return str(error)
    finally:
        shutil.rmtree(trial, ignore_errors=True)
    return ""


def in_user_namespace() -> bool:
    """Whether user ids are mapped, so that root here is not the host's root."""
    return Path("/proc/self/uid_map").read_text().split() != ["0", "0", "4294967295"]


@cache
def is_mapped(uid: int) -> bool:
    """Whether this user id exists in our user namespace, whose mapping is written once."""
    for line in Path("/proc/self/uid_map").read_text().splitlines():
        first, _, count = map(int, line.split())
        if first <= uid < first + count:
            return True
    return False


def become_subreaper() -> None:
    """Make orphaned descendants our children, so that their exit status can be read."""
    if os.getpid() != 1:
        _check(_libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0), "prctl PR_SET_CHILD_SUBREAPER")


def _escaped(path: Path) -> str:
    return str(path).replace("\\", "\\\\").replace(":", "\\:").replace(",", "\\,")


def _check(result: int, what: str) -> None:
    if result:
        code = ctypes.get_errno()
        raise OSError(code, f"{what}: {os.strerror(code)}")
