"""Deleting servers whatever state they are in, as when the ground under them goes."""

from __future__ import annotations

from collections.abc import Iterable

from sonata.emulator.cloud.compute.servers import Servers
from sonata.emulator.cloud.entities.compute import Server
from sonata.emulator.cloud.tables import Tables
from sonata.errors import PermanentError


async def evict(servers: Servers, tables: Tables, doomed: Iterable[Server]) -> None:
    """Delete servers, also locked ones; nothing of them is left at return.

    Raises:
        PermanentError: one cannot be deleted.
    """
    ids = [server.id for server in doomed]
    for server_id in ids:
        tables.servers.change(server_id, locked=False)
        await servers.delete(server_id)
    for server_id in ids:
        left = await servers.settled(server_id)
        if left is not None:
            why = left.fault.message if left.fault else f"it is {left.status}"
            raise PermanentError(
                f"server `{left.name}` cannot be deleted: {why}", hint="delete it by its API, then repeat the command"
            )
