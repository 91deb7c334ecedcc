"""What an emulation may leave on a machine. Taken while it runs and asked again after its end, it must all be gone."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import psutil

from sonata._lib.processes import ProcessId, identify, is_running
from sonata.sdk.emulation_records import EmulationRecord


@dataclass(frozen=True)
class Host:
    """Names on the host that an emulation must not add to."""

    interfaces: frozenset[str]
    namespaces: frozenset[str]

    @classmethod
    def now(cls) -> Host:
        return cls(frozenset(os.listdir("/sys/class/net")), frozenset(_entries(Path("/run/netns"))))


@dataclass(frozen=True)
class Footprint:
    """What one running emulation consists of, seen from the host."""

    host: Host
    processes: tuple[ProcessId, ...]
    cgroups: str
    home: Path

    @classmethod
    def of(cls, record: EmulationRecord, host: Host, home: Path) -> Footprint:
        family = [record.process.pid, *(child.pid for child in _descendants(record.process.pid))]
        found = tuple(process for pid in family if (process := identify(pid)))
        return cls(host, found, record.cgroups, home)

    def leftovers(self) -> list[str]:
        """Everything of it that is still there, in words; empty when it is gone."""
        left = [f"process {process.pid}" for process in self.processes if is_running(process)]
        left += [f"cgroup {folder}" for folder in _cgroups(self.cgroups)]
        left += [
            f"mount {line}" for line in Path("/proc/self/mountinfo").read_text().splitlines() if str(self.home) in line
        ]
        left += [f"loop device {file}" for file in _loop_files() if str(self.home) in file]
        now = Host.now()
        left += [f"interface {name}" for name in now.interfaces - self.host.interfaces]
        left += [f"namespace {name}" for name in now.namespaces - self.host.namespaces]
        left += [f"file {path}" for folder in ("state", "share/images/data") for path in _files(self.home / folder)]
        return left


def _descendants(pid: int) -> list[psutil.Process]:
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def _cgroups(prefix: str) -> list[Path]:
    return [path for path in Path("/sys/fs/cgroup").glob("*/*") if path.name == prefix] + [
        path for path in Path("/sys/fs/cgroup").glob("*") if path.name == prefix
    ]


def _loop_files() -> list[str]:
    """The files behind the loop devices of the machine."""
    return [path.read_text().strip() for path in Path("/sys/block").glob("loop*/loop/backing_file")]


def _entries(folder: Path) -> list[str]:
    return os.listdir(folder) if folder.is_dir() else []


def _files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path != folder / "emulations"] if folder.is_dir() else []
