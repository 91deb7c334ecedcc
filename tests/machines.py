"""What tests of machines share: a mount namespace of their own, and network namespaces that go away."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from sonata.ports.runtime import Runtime
from tests.sessions import NAMESPACE, labelled

CLONE_NEWNS = 0x20000
CGROUPS = Path("/sys/fs/cgroup")
UNIFIED = (CGROUPS / "cgroup.controllers").exists()
"""Whether this host has version 2 of the cgroup interface alone."""

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root for mounts and network namespaces")
DIRECT = ("crun", "runc", "launcher")
"""Engines that confine processes, called directly."""

MANAGED = ("podman", "docker")
"""Managers around one of them."""

PROCESSES = (*DIRECT, *MANAGED)
"""All engines that confine processes."""

VIRTUAL_MACHINES = ("vm",)
"""Engines whose machines have a kernel of their own."""

needs_engine = pytest.mark.skipif(
    not (shutil.which("crun") or shutil.which("runc")), reason="needs crun or runc (apt-get install crun)"
)


def is_virtual(runtime: Runtime) -> bool:
    """Whether the machines of a runtime have a kernel of their own."""
    return runtime.name.startswith("qemu")


def enter_private_mounts() -> None:
    """Do what a keeper does: leave the host's mount namespace, and hide what crun does not bear."""
    from sonata.adapters.runtime_oci import hide_hybrid_cgroup

    is_keeper = os.getpid() == 1
    shares = not is_keeper and os.readlink("/proc/self/ns/mnt") == os.readlink(f"/proc/{os.getppid()}/ns/mnt")
    if shares and ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWNS):
        raise OSError(ctypes.get_errno(), "unshare")
    hide_hybrid_cgroup()


def cgroup_of(place: str) -> Path:
    """The folder of a cgroup, of version 1 that where processes are counted."""
    return (CGROUPS if UNIFIED else CGROUPS / "pids") / place


def cgroup_folders(prefix: str) -> list[str]:
    """Folders of a prefix in all cgroup hierarchies, those that are hidden here and what is under the mounts included.

    A host with both versions of the interface mounts version 2 on a folder of the file system that holds the mount
    points of version 1. Whoever takes that mount away, if only for himself, works in the host's own folder below it.
    """
    below, unified = ["--bind", str(CGROUPS)], ["-t", "cgroup2", "none"]
    with _mounted(*below) as plain, _mounted(*unified) as second:
        tops = [CGROUPS, plain, second]
        folders = [folder for top in tops for folder in (top, *top.iterdir())]
        return [str(folder / prefix) for folder in folders if (folder / prefix).exists()]


@contextmanager
def _mounted(*what: str) -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(["mount", *what, folder], check=True)
        try:
            yield Path(folder)
        finally:
            subprocess.run(["umount", folder], check=True)


def loop_files(folder: Path) -> list[str]:
    """Files below a folder that are loop devices; one that is deleted is none of its folder's, so its name is cut."""
    files = (device / "loop/backing_file" for device in Path("/sys/block").glob("loop*"))
    names = (file.read_text().strip() for file in files if file.exists())
    return [name for name in names if name.startswith(str(folder))]


def ip(*arguments: str) -> None:
    """Run ip(8)."""
    subprocess.run(["ip", *arguments], check=True, capture_output=True)


@contextmanager
def network_namespaces(*names: str) -> Iterator[dict[str, str]]:
    """Fresh named network namespaces, loopback up; yields the full name by short name."""
    mark = labelled(NAMESPACE)
    full = {name: f"{mark}-{name}" for name in names}
    if not os.access("/run", os.W_OK):  # root of a user namespace: /run is another's
        subprocess.run(["mount", "-t", "tmpfs", "tmpfs", "/run"], check=True)
    try:
        for name in full.values():
            ip("netns", "add", name)
            ip("-n", name, "link", "set", "lo", "up")
        yield full
    finally:
        for name in full.values():
            subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)


def cable(a: str, a_name: str, a_address: str, b: str, b_name: str, b_address: str) -> None:
    """Join two namespaces by a veth pair with addresses."""
    ip("link", "add", a_name, "netns", a, "type", "veth", "peer", "name", b_name, "netns", b)
    for namespace, name, address in ((a, a_name, a_address), (b, b_name, b_address)):
        ip("-n", namespace, "addr", "add", address, "dev", name)
        ip("-n", namespace, "link", "set", name, "up")
