"""Groups of machines with limits for all of them together: a cgroup around theirs, made at its first machine."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from sonata.adapters.runtime_oci.cgroups import Cgroups, enable
from sonata.errors import AdapterError
from sonata.ports.runtime import Limits, Usage

_USUAL_SHARES = 1024
_SHARES = (2, 262_144)
_WEIGHTS = (1, 10_000)


class Groups:
    """The groups of one runtime."""

    def __init__(self, cgroups: Cgroups) -> None:
        self._cgroups = cgroups
        self._limits: dict[str, Limits] = {}
        self._made: set[str] = set()

    def set(self, name: str, limits: Limits) -> None:
        """Let the machines of a group have no more than this together.

        Raises:
            AdapterError: the kernel refused.
        """
        self._limits[name] = limits
        if name in self._made:
            self._write(name)

    def enter(self, machine: str, group: str) -> None:
        """Have a machine that is about to start be one of a group; an empty name is no group.

        Raises:
            AdapterError: the group's cgroup cannot be made.
        """
        if not group or self._cgroups.version == "none":
            return
        if group not in self._made:
            self._write(group)
            self._made.add(group)
        self._cgroups.groups[machine] = group

    def within(self, limits: Limits, group: str) -> Limits:
        """Limits of a machine that its group can grant: no kernel lets a part have more than the whole."""
        whole = self._limits.get(group)
        if whole is None or whole.cpus is None or limits.cpus is None:
            return limits
        return replace(limits, cpus=min(limits.cpus, whole.cpus))

    def usage(self, name: str) -> Usage:
        """What its machines use, and have used; zeros before the first one."""
        return self._cgroups.usage_of(self._cgroups.place_of_group(name))

    def _write(self, name: str) -> None:
        limits = self._limits.get(name, Limits(pids=None))
        settings = _version_2(limits) if self._cgroups.version == "v2" else _version_1(limits)
        place = self._cgroups.place_of_group(name)
        try:
            for controller, file, value in settings:
                if folder := self._cgroups.controllers.get(controller):
                    _made(folder / place, file).write_text(value)
            if self._cgroups.version == "v2":
                enable(next(iter(self._cgroups.controllers.values())) / place, self._cgroups.controllers)
        except OSError as error:
            raise AdapterError(
                f"the limits of group `{name}` cannot be set: {error.strerror or error}", call=str(error.filename or "")
            ) from error


class Grouped:
    """Implements `ports.runtime.Groups` for a runtime that has groups."""

    _groups: Groups

    async def set_group(self, name: str, limits: Limits) -> None:
        """Limit a group of machines; see the port."""
        self._groups.set(name, limits)

    async def group_usage(self, name: str) -> Usage:
        """What a group of machines uses; see the port."""
        return self._groups.usage(name)


def _made(folder: Path, file: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder / file


def _version_1(limits: Limits) -> Iterator[tuple[str, str, str]]:
    """Controller, file and value of each limit; a group without limits is made all the same."""
    yield "cpu", "cpu.shares", str(_bounded(limits.cpu_shares or _USUAL_SHARES, _SHARES))
    if limits.cpus is not None:
        yield "cpu", "cpu.cfs_period_us", str(limits.cpu_period_us)
        yield "cpu", "cpu.cfs_quota_us", str(_quota(limits))
    if limits.memory_bytes is not None:
        yield "memory", "memory.limit_in_bytes", str(limits.memory_bytes)


def _version_2(limits: Limits) -> Iterator[tuple[str, str, str]]:
    shares = _bounded(limits.cpu_shares or _USUAL_SHARES, _SHARES)
    # As engines translate the shares of version 1, so that machines and groups are weighed alike.
    yield "cpu", "cpu.weight", str(_bounded(1 + (shares - 2) * 9999 // 262_142, _WEIGHTS))
    if limits.cpus is not None:
        yield "cpu", "cpu.max", f"{_quota(limits)} {limits.cpu_period_us}"
    if limits.memory_bytes is not None:
        yield "memory", "memory.max", str(limits.memory_bytes)


def _quota(limits: Limits) -> int:
    return max(1000, int((limits.cpus or 0) * limits.cpu_period_us))


def _bounded(value: int, bounds: tuple[int, int]) -> int:
    return max(bounds[0], min(bounds[1], value))
