"""What a machine sees: its mounts, made by its first process.

All that comes from the host is taken hold of before the root changes, and attached afterwards. So no link in the
machine's root file system can lead out of it.
"""

from __future__ import annotations

import os
import stat
from typing import Any

from sonata._lib.launcher import kernel

_FLAGS = {
    "ro": kernel.MS_RDONLY,
    "nosuid": kernel.MS_NOSUID,
    "nodev": kernel.MS_NODEV,
    "noexec": kernel.MS_NOEXEC,
    "strictatime": kernel.MS_STRICTATIME,
}
_OF_BINDS = {"rbind", "rprivate", "rw"}
_DEVICES = ("null", "zero", "full", "random", "urandom", "tty")
_LINKS = {
    "fd": "/proc/self/fd",
    "stdin": "/proc/self/fd/0",
    "stdout": "/proc/self/fd/1",
    "stderr": "/proc/self/fd/2",
    "ptmx": "pts/ptmx",
}


def enter(config: dict[str, Any]) -> None:
    """Make the mounts of a machine and move in."""
    kernel.mount("none", "/", None, kernel.MS_REC | kernel.MS_PRIVATE)
    root = config["root"]["path"]
    kernel.mount(root, root, None, kernel.MS_BIND | kernel.MS_REC)
    devices = {f"/dev/{name}": kernel.cloned_tree(f"/dev/{name}") for name in _DEVICES}
    devices |= {each["path"]: kernel.cloned_tree(each["path"]) for each in config["linux"].get("devices", ())}
    nothing = kernel.cloned_tree("/dev/null")
    trees = {
        number: kernel.cloned_tree(each["source"], _flags(each["options"])[0])
        for number, each in enumerate(config["mounts"])
        if each["type"] == "bind"
    }
    os.chdir(root)
    kernel.pivot_to_here()
    for number, each in enumerate(config["mounts"]):
        _mount(each, trees.get(number))
    for path, tree in devices.items():
        _make_way(path, is_folder=False)
        kernel.attach_tree(tree, path)
    for name, target in _LINKS.items():
        _link(target, f"/dev/{name}")
    kernel.attach_tree(nothing, _made_file("/dev/.nothing"))
    for path in config["linux"]["readonlyPaths"]:
        _make_read_only(path)
    for path in config["linux"]["maskedPaths"]:
        _mask(path)
    kernel.unmount("/dev/.nothing")
    os.unlink("/dev/.nothing")
    kernel.unmount(".")  # the old root
    os.chdir("/")


def _mount(wanted: dict[str, Any], tree: int | None) -> None:
    target = wanted["destination"]
    if tree is not None:
        _make_way(target, is_folder=stat.S_ISDIR(os.fstat(tree).st_mode))
        kernel.attach_tree(tree, target)
        return
    _make_way(target, is_folder=True)
    flags, options = _flags(wanted["options"])
    kernel.mount(wanted["source"], target, wanted["type"], flags, options)


def _flags(options: list[str]) -> tuple[int, str]:
    flags = 0
    for option in options:
        flags |= _FLAGS.get(option, 0)
    return flags, ",".join(option for option in options if option not in _FLAGS and option not in _OF_BINDS)


def _make_way(path: str, *, is_folder: bool) -> None:
    os.makedirs(path if is_folder else os.path.dirname(path), exist_ok=True)
    if not is_folder:
        _made_file(path)


def _made_file(path: str) -> str:
    if not os.path.exists(path):
        os.close(os.open(path, os.O_CREAT | os.O_WRONLY, 0o644))
    return path


def _link(target: str, path: str) -> None:
    if os.path.lexists(path):
        os.unlink(path)
    os.symlink(target, path)


def _make_read_only(path: str) -> None:
    if os.path.exists(path):
        kernel.attach_tree(kernel.cloned_tree(path, kernel.MS_RDONLY), path)


def _mask(path: str) -> None:
    if os.path.isdir(path):
        kernel.mount("tmpfs", path, "tmpfs", kernel.MS_RDONLY, "size=0k")
    elif os.path.exists(path):
        kernel.attach_tree(kernel.cloned_tree("/dev/.nothing"), path)
