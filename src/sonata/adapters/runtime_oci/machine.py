"""A machine that runs, as all parts of the runtime know it."""

from __future__ import annotations

import asyncio
from pathlib import Path

from sonata._lib.values import dataclass
from sonata.ports.runtime import MachineSpec, OnExit


@dataclass(slots=True, eq=False)
class Machine:
    """A running machine; `over` is set when it has ended and nothing of it is left.

    Args:
        name: under which its engine knows it.
        disk: the folder to which its root is written.
    """

    spec: MachineSpec
    folder: Path
    over: asyncio.Event
    on_exit: OnExit | None
    pid: int = 0
    pidfd: int = -1
    stopped: bool = False
    paused: bool = False
    watcher: asyncio.Task[None] | None = None
    name: str = ""
    disk: Path = Path()

    def __post_init__(self) -> None:
        self.name = self.name or self.spec.id
        self.disk = self.spec.root.folder or self.spec.root.disk or self.folder


def disk_names(spec: MachineSpec) -> list[str]:
    """Names under which the disks of a machine are open: that of its root, then those of attached ones."""
    return [f"{spec.id}.{number}" for number in range(1 + len(spec.attached))]
