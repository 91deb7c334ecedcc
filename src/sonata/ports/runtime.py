"""Running confined processes: VNFs of the emulator, sandboxes of managers.

Every adapter passes the same contract suite. Raises `sonata.errors.NotFound` for unknown machines and
`sonata.errors.AdapterError` when the engine fails.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol


@dataclass(frozen=True, slots=True)
class RootFs:
    """What a machine sees as `/`.

    Args:
        layers: directories, topmost first, that are the read-only lower layers of an overlay. Empty means the
            `host` root: read-only `/usr`, allow-listed `/etc`, synthetic passwd, nothing else of the host.
    """

    layers: tuple[Path, ...] = ()


@dataclass(frozen=True, slots=True)
class Bind:
    """A file, folder or socket of the host made visible in the machine."""

    source: Path
    target: str
    read_only: bool = True


@dataclass(frozen=True, slots=True)
class Limits:
    """Resource limits; None means none. `cpus` in cores (0.5 is half a core)."""

    cpus: float | None = None
    memory_bytes: int | None = None
    pids: int | None = 512


@dataclass(frozen=True, slots=True)
class MachineSpec:
    """One confined machine.

    Args:
        id: unique; letters, digits and `-`.
        argv: its program; empty for an idle machine that only waits.
        netns: path of the network namespace to join; None for a new, empty one (loopback only).
        console: file to which stdout and stderr are appended.
        network_admin: whether it may configure its own network (VNFs may, managers may not).
        uid: user id to run as inside.
        resolver: content of its /etc/resolv.conf.
    """

    id: str
    hostname: str
    root: RootFs
    argv: tuple[str, ...]
    console: Path
    env: Mapping[str, str] = field(default_factory=dict)
    netns: str | None = None
    limits: Limits = field(default_factory=Limits)
    binds: tuple[Bind, ...] = ()
    network_admin: bool = True
    uid: int = 0
    cwd: str = "/"
    resolver: str = ""


@dataclass(frozen=True, slots=True)
class MachineExit:
    """How a machine's program ended."""

    machine: str
    status: int
    reason: str


OnExit = Callable[[MachineExit], Awaitable[None]]


class Runtime(Protocol):
    """An engine that runs machines."""

    @property
    def name(self) -> str:
        """Engine and version, for people."""

    @property
    def unenforced(self) -> Mapping[str, str]:
        """Limits that the host does not let us enforce, with the reason: e.g. {"memory": "no cgroup delegation"}."""

    async def start(self, spec: MachineSpec, on_exit: OnExit | None = None) -> int:
        """Start a machine and return the host-side pid of its first process.

        At return its program has been executed. `on_exit` is awaited once when the program ends by itself.

        Raises:
            PermanentError: the program or root file system does not exist or cannot be executed.
            Conflict: a machine of this id runs.
        """

    async def stop(self, machine_id: str, *, grace_s: float = 2.0) -> None:
        """End a machine (SIGTERM, then SIGKILL after `grace_s`), drop its overlay and cgroup. Idempotent."""

    async def exec(self, machine_id: str, argv: Sequence[str], *, stdin: bytes = b"") -> tuple[int, bytes, bytes]:
        """Run a command inside; returns exit status, stdout and stderr (each at most 10 MiB)."""

    async def is_listening(self, machine_id: str, tcp_port: int) -> bool:
        """Whether a process in the machine's network namespace listens on this TCP port."""

    async def close(self) -> None:
        """End all machines."""
