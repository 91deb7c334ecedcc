"""Running service and function specific managers (SSM, FSM) in sandboxes and asking them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from typing import Any, Protocol

from sonata._lib.values import dataclass


@dataclass(frozen=True, slots=True)
class ManagerLaunch:
    """A manager to run.

    Args:
        instance: unique id of this run, e.g. `<ns_instance_id>.<manager id>`.
        entry: path of its Python file inside of `files`.
        files: the package's files by path.
        start_timeout_s: how long it may take to connect and register.
    """

    instance: str
    entry: str
    files: Mapping[str, bytes] = field(default_factory=dict)
    start_timeout_s: float = 5.0
    memory_bytes: int = 256 * 1024**2
    cpus: float = 1.0


class ManagerHost(Protocol):
    """Starts managers in sandboxes of their own and relays events to them over the bus."""

    async def warm_up(self) -> None:
        """Prepare, so that the next launch is quick; called when managers are to be expected. Never fails."""

    async def launch(self, launch: ManagerLaunch) -> None:
        """Start and wait until it has registered.

        Raises:
            ManagerError: it crashed (with the end of its log), or did not register in time.
        """

    async def ask(self, instance: str, event: str, state: Mapping[str, Any], *, timeout_s: float) -> Mapping[str, Any]:
        """Send an event with the state, return the decision as the manager gave it.

        Raises:
            ManagerError: it crashed, raised, answered something that is no JSON object, or did not answer in time.
        """

    async def logs(self, instance: str) -> str:
        """What it printed, at most the last 64 KiB; works after `stop` too."""

    async def stop(self, instance: str) -> None:
        """End it and drop its sandbox. Idempotent."""

    async def close(self) -> None:
        """End all."""
