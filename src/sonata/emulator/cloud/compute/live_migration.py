"""Live migration: a server goes on on another host, with its processes, memory and connections.

Both hosts are this machine, so processes and memory stay where they are. What moves is the claim of capacity and, to
another PoP, the other end of each interface: packets take the links to that PoP from then on.
"""

from __future__ import annotations

import logging
import time

from sonata.emulator.cloud.compute.carrying import Carrying
from sonata.emulator.cloud.compute.operations import NotDone, Operations
from sonata.emulator.cloud.compute.power import Power
from sonata.emulator.cloud.compute.targets import Targets
from sonata.emulator.cloud.entities.compute import Server, ServerStatus
from sonata.emulator.cloud.rollback import undone_on_failure
from sonata.emulator.cloud.tables import Tables
from sonata.errors import SonataError, Unsupported

logger = logging.getLogger(__name__)


class LiveMigration:
    """Moves running servers of one cloud."""

    def __init__(
        self, tables: Tables, operations: Operations, power: Power, targets: Targets, carrying: Carrying
    ) -> None:
        self._table = tables.servers
        self._ports = tables.ports
        self._operations = operations
        self._power = power
        self._targets = targets
        self._carrying = carrying

    def begin(self, server_id: str, host: str, *, force: bool = False) -> None:
        """Move a server to another host while its processes live on; by force also out of a zone it has to stay in."""
        self._targets.check(server_id, host)

        async def work(one: str) -> str:
            return await self._migrate(one, host, force=force)

        self._operations.begin(server_id, "live-migration", "migrating", work, rule="live_migration")

    async def _migrate(self, server_id: str, host: str, *, force: bool) -> str:
        """Returns how long the server stood still, in words."""
        server = self._table.get(server_id)
        found = self._targets.other(server, host, force=force)
        self._require_movable(server, found)
        migration = self._targets.begin(server, "live-migration", found, server.flavor)
        with undone_on_failure(lambda: self._targets.end(migration, "error")):
            try:
                async with self._carrying.prepared(server, found):
                    told = await self._carry(server, found)
            except SonataError as error:
                raise NotDone(f"Live migration to {found} failed, the server is where it was: {error}") from error
        self._targets.end(migration, "completed")
        self._table.change(server_id, task_state=None, fault=None)
        logger.info("server migrated", extra={"server": server_id, "host": found, "told": told})
        return told

    async def _carry(self, server: Server, host: str) -> str:
        """Have a server on another host, standing still meanwhile; returns for how long, in words."""
        if server.status != ServerStatus.ACTIVE:
            await self._move(server, host)
            return "it stood still before"
        began, what = time.monotonic(), ""
        try:
            what = await self._freeze(server)
            await self._move(server, host)
        finally:
            await self._power.thaw(server)
        return f"{what} stood still for {1000 * (time.monotonic() - began):.1f} ms"

    def _require_movable(self, server: Server, host: str) -> None:
        """Refuse what cannot follow a running server to another PoP.

        Raises:
            NotDone: it has a function of its PoP's network card.
        """
        ports = {nic.ifname: self._ports.peek(nic.port_id) for nic in server.nics}
        direct = [ifname for ifname, port in ports.items() if port and port.is_direct]
        if direct and self._targets.are_apart(server.host, host):
            raise NotDone(
                f"Live migration to {host} is not possible, the server is where it was: {', '.join(direct)} is a "
                "function of a network card of its PoP (vnic type direct or macvtap); migrate the server switched off"
            )

    async def _move(self, server: Server, host: str) -> None:
        await self._carrying.carry(server, host)
        self._table.change(server.id, **self._targets.placed(host))

    async def _freeze(self, server: Server) -> str:
        """Freeze a server; where the host has no freezer for us, only its ports. Returns what stands still."""
        try:
            await self._power.freeze(server)
        except Unsupported:
            await self._carrying.hold(server)
            return "its ports (there is no freezer for its processes)"
        return "the server"
