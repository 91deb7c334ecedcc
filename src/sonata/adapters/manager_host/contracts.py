"""What the manager host needs of its neighbours; the composition root brings them together."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from sonata.ports.bus import Bus
from sonata.ports.runtime import MachineSpec, OnExit


class ClientEndpoint(Protocol):
    """The bus socket of one manager."""

    @property
    def is_connected(self) -> bool:
        """Whether the manager is connected now."""

    async def cancel(self) -> None:
        """Hang up and remove the socket. Idempotent."""


class ServingBus(Bus, Protocol):
    """A bus that lets an outside client in by a unix socket."""

    async def serve(self, path: Path, identity: str, allowed_topics: Sequence[str]) -> ClientEndpoint:
        """Open a socket for one client, which may use the allowed topics only."""


class Sandboxes(Protocol):
    """What a manager host uses of `ports.runtime.Runtime`: every runtime is one."""

    async def start(self, spec: MachineSpec, on_exit: OnExit | None = None) -> int:
        """Start a machine."""

    async def stop(self, machine_id: str, *, grace_s: float = 2.0) -> None:
        """End a machine. Idempotent."""

    async def close(self) -> None:
        """End all machines."""
