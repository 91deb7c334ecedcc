"""What an emulation consists of at one moment, seen from the host; two of these differ by what was left between."""

from __future__ import annotations

import os
import socket
import subprocess
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from sonata._lib import namespaces
from sonata.sdk.emulation_records import EmulationRecord

_NAMELESS = ("anon_inode:", "memfd:", "net:", "pipe:", "socket:")


@dataclass(frozen=True)
class Inside:
    """Counts of everything that an emulation can have too much of.

    Args:
        descriptors: of the keeper, by what they lead to.
        interfaces: of all its network namespaces together, by the kind that their names begin with.
        rules: lines of its nftables rules in all namespaces.
        mounts: in the keeper's mount namespace.
        processes: by their program.
        cgroups: below the emulation's own.
        files: in its folders, but for what it writes down of itself.
    """

    descriptors: Counter[str]
    namespaces: int
    interfaces: Counter[str]
    rules: Counter[str]
    mounts: Counter[str]
    processes: Counter[str]
    cgroups: Counter[str]
    files: Counter[str]

    @classmethod
    def of(cls, record: EmulationRecord, *, with_rules: bool = True) -> Inside:
        """Look at a running emulation."""
        pid = record.process.pid
        held = _namespaces(pid)
        return cls(
            descriptors=Counter(_descriptors(pid)),
            namespaces=len(held),
            interfaces=Counter(name for path in held.values() for name in _interfaces(path)),
            rules=Counter(line for path in held.values() for line in _rules(path)) if with_rules else Counter(),
            mounts=Counter(_mounts(pid)),
            processes=Counter(_processes(pid)),
            cgroups=Counter(_cgroups(record.cgroups)),
            files=Counter(_files(record)),
        )

    def more_than(self, before: Inside) -> list[str]:
        """What is there now that was not there before, in words."""
        grown = [f"{self.namespaces - before.namespaces} namespaces"] if self.namespaces > before.namespaces else []
        for kind in ("descriptors", "interfaces", "rules", "mounts", "processes", "cgroups", "files"):
            more = getattr(self, kind) - getattr(before, kind)
            grown += [f"{kind}: {count} {name}" for name, count in more.items()]
        return grown


def descriptors_of(pid: int) -> list[int]:
    """Numbers of the open descriptors of a process."""
    return [int(name) for name in os.listdir(f"/proc/{pid}/fd")]


def _descriptors(pid: int) -> Iterator[str]:
    for _, target in _links(pid):
        yield next((kind for kind in _NAMELESS if kind in target), target)


def _links(pid: int) -> Iterator[tuple[str, str]]:
    for path in Path(f"/proc/{pid}/fd").iterdir():
        try:
            yield str(path), os.readlink(path)
        except FileNotFoundError:  # closed meanwhile
            continue


def _namespaces(pid: int) -> dict[str, str]:
    """Paths to the network namespaces that the keeper holds, and its own, by their names."""
    own = f"/proc/{pid}/ns/net"
    found = {os.readlink(own): own}
    found.update({target: path for path, target in _links(pid) if target.startswith("net:")})
    return found


def _interfaces(path: str) -> list[str]:
    """Kinds of the interfaces in a namespace: their names without numbers."""
    with _entered(path):
        return [name.rstrip("0123456789") for _, name in socket.if_nameindex()]


def _rules(path: str) -> list[str]:
    with _entered(path):
        told = subprocess.run(["nft", "-s", "list", "ruleset"], capture_output=True, text=True, check=True).stdout
    return told.splitlines()


@contextmanager
def _entered(path: str) -> Iterator[None]:
    """Be in a network namespace."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        with namespaces.inside(descriptor):
            yield
    finally:
        os.close(descriptor)


def _mounts(pid: int) -> Iterator[str]:
    for line in Path(f"/proc/{pid}/mountinfo").read_text().splitlines():
        yield line.split()[4]


def _processes(pid: int) -> Iterator[str]:
    for child in psutil.Process(pid).children(recursive=True):
        try:
            yield " ".join(child.cmdline()[:1] + [Path(word).name for word in child.cmdline()[1:5]])
        except psutil.NoSuchProcess:
            continue


def _cgroups(prefix: str) -> Iterator[str]:
    for top in [*Path("/sys/fs/cgroup").glob(f"*/{prefix}"), *Path("/sys/fs/cgroup").glob(prefix)]:
        yield from (str(path) for path in top.rglob("*") if path.is_dir())


def _files(record: EmulationRecord) -> Iterator[str]:
    """Folders of machines, disks, volumes and consoles; what is in them counts as one.

    Empty disks that wait for a machine are none of anybody's: two of a size, now and then less.
    """
    run = _run_folder(record)
    saved = run.parent / "clouds"
    root = Path(f"/proc/{record.process.pid}/root")
    for folder in (run, saved):
        for pattern in ("*/*", "machines/machines/*", "disks/*/*", "consoles/*/*", "volumes/*/*"):
            found = (root / folder.relative_to("/")).glob(pattern)
            yield from (str(path) for path in found if path.parent.name != "spare-disks")


def _run_folder(record: EmulationRecord) -> Path:
    (run,) = (
        line.split()[4]
        for line in Path(f"/proc/{record.process.pid}/mountinfo").read_text().splitlines()
        if line.split()[4].endswith(f"/emulations/{record.name}/run")
    )
    return Path(run)
