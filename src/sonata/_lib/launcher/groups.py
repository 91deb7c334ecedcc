"""The cgroups of a machine, versions 1 and 2 of the interface."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_USED = ("cpu", "memory", "pids", "cpuset", "freezer", "cpuacct", "devices")
_DEVICES = ("c 1:3", "c 1:5", "c 1:7", "c 1:8", "c 1:9", "c 5:0", "c 5:2", "c 136:*", "c 10:200")
_FROZEN_WITHIN_S = 10.0


def folders(path: str) -> dict[str, Path]:
    """The folder of a cgroup path by controller; `` for version 2, which has one for all."""
    found: dict[str, Path] = {}
    for line in Path("/proc/self/mounts").read_text().splitlines():
        _, folder, kind, options, *_ = line.split()
        if kind == "cgroup2" and folder == "/sys/fs/cgroup":
            found[""] = Path(folder + path)
        elif kind == "cgroup":
            found.update({name: Path(folder + path) for name in options.split(",") if name in _USED})
    return found


def make(path: str, resources: dict[str, Any]) -> None:
    """Make the cgroups and set their limits; those that the host does not let us make are left out."""
    for name, folder in folders(path).items():
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError:
            continue
        if name == "cpuset":
            for file in ("cpuset.mems", "cpuset.cpus"):
                _inherit(folder, file)
        if name == "devices" and "devices" in resources:
            _write(folder / "devices.deny", "a")
            for device in _DEVICES:
                _write(folder / "devices.allow", f"{device} rwm")
    limit(path, resources)


def limit(path: str, resources: dict[str, Any]) -> None:
    """Set limits; the kernel's refusal is raised."""
    by_controller = folders(path)
    for name, file, value in _version_2(resources) if "" in by_controller else _version_1(resources):
        folder = by_controller.get("" if "" in by_controller else name)
        if folder and folder.is_dir():
            _write(folder / file, value)


def enter(path: str) -> None:
    """Move this process there, and thereby its children to come."""
    for folder in folders(path).values():
        if folder.is_dir():
            _write(folder / "cgroup.procs", "0")


def freeze(path: str, *, frozen: bool) -> None:
    """Stop all processes, or let them go on; done at return."""
    found = folders(path)
    if unified := found.get(""):
        _write(unified / "cgroup.freeze", "1" if frozen else "0")
        state, wanted = unified / "cgroup.events", f"frozen {int(frozen)}"
    else:
        state, wanted = found["freezer"] / "freezer.state", "FROZEN" if frozen else "THAWED"
        _write(state, wanted)
    deadline = time.monotonic() + _FROZEN_WITHIN_S
    while wanted not in state.read_text():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{state} does not become {wanted}")
        time.sleep(0.001)


def _version_1(resources: dict[str, Any]) -> Iterator[tuple[str, str, str]]:
    cpu = resources.get("cpu", {})
    if "quota" in cpu:
        yield "cpu", "cpu.cfs_period_us", str(cpu["period"])
        yield "cpu", "cpu.cfs_quota_us", str(cpu["quota"])
    if "shares" in cpu:
        yield "cpu", "cpu.shares", str(cpu["shares"])
    if "cpus" in cpu:
        yield "cpuset", "cpuset.cpus", cpu["cpus"]
    if "memory" in resources:
        yield "memory", "memory.limit_in_bytes", str(resources["memory"]["limit"])
    if "pids" in resources:
        yield "pids", "pids.max", str(resources["pids"]["limit"])


def _version_2(resources: dict[str, Any]) -> Iterator[tuple[str, str, str]]:
    cpu = resources.get("cpu", {})
    if "quota" in cpu:
        yield "", "cpu.max", f"{cpu['quota']} {cpu['period']}"
    if "shares" in cpu:  # shares 2..262144 are weights 1..10000, as crun and runc have it
        yield "", "cpu.weight", str(1 + (cpu["shares"] - 2) * 9999 // 262142)
    if "cpus" in cpu:
        yield "", "cpuset.cpus", cpu["cpus"]
    if "memory" in resources:
        yield "", "memory.max", str(resources["memory"]["limit"])
    if "pids" in resources:
        yield "", "pids.max", str(resources["pids"]["limit"])


def _inherit(folder: Path, file: str) -> None:
    """A cpuset begins empty, and nobody can enter it: it gets what is above it, from the top."""
    if not (folder / file).exists() or (folder / file).read_text().strip():
        return
    _inherit(folder.parent, file)
    _write(folder / file, (folder.parent / file).read_text())


def _write(file: Path, value: str) -> None:
    descriptor = os.open(file, os.O_WRONLY)
    try:
        os.write(descriptor, value.encode())
    finally:
        os.close(descriptor)
