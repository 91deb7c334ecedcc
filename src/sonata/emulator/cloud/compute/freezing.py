"""Servers that stand still: paused, suspended; and the lock on them."""

from __future__ import annotations

from sonata.emulator.cloud.compute.operations import Operations
from sonata.emulator.cloud.compute.power import Power
from sonata.emulator.cloud.entities.compute import ServerStatus
from sonata.emulator.cloud.tables import Tables


class Freezing:
    """Freezes the servers of one cloud: processes stop where they are, ports pass nothing, memory stays."""

    def __init__(self, tables: Tables, operations: Operations, power: Power) -> None:
        self._table = tables.servers
        self._operations = operations
        self._power = power

    def pause(self, server_id: str) -> None:
        """Freeze a server."""
        self._operations.begin(server_id, "pause", "pausing", lambda one: self._freeze(one, ServerStatus.PAUSED))

    def unpause(self, server_id: str) -> None:
        """Let a paused server go on."""
        self._operations.begin(server_id, "unpause", "unpausing", self._thaw)

    def suspend(self, server_id: str) -> None:
        """Freeze a server for longer; to its users it is off."""
        self._operations.begin(
            server_id, "suspend", "suspending", lambda one: self._freeze(one, ServerStatus.SUSPENDED)
        )

    def resume(self, server_id: str) -> None:
        """Let a suspended server go on."""
        self._operations.begin(server_id, "resume", "resuming", self._thaw)

    def lock(self, server_id: str, reason: str | None) -> None:
        """Keep everybody but administrators from acting on a server."""
        server = self._table.change(server_id, locked=True, locked_reason=reason)
        self._operations.log.begin(server, "lock")

    def unlock(self, server_id: str) -> None:
        """Let everybody act on a server again."""
        server = self._table.change(server_id, locked=False, locked_reason=None)
        self._operations.log.begin(server, "unlock")

    async def _freeze(self, server_id: str, status: str) -> None:
        await self._power.freeze(self._table.get(server_id))
        self._table.change(server_id, status=status, task_state=None)

    async def _thaw(self, server_id: str) -> None:
        await self._power.thaw(self._table.get(server_id))
        self._table.change(server_id, status=ServerStatus.ACTIVE, task_state=None)
