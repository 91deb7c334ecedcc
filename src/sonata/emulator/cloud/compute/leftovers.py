"""What servers' disks are after the emulator has died: kept, or lost."""

from __future__ import annotations

import asyncio
import logging
import shutil

from sonata.emulator.cloud.site import Site

logger = logging.getLogger(__name__)


async def sweep_disks(site: Site) -> None:
    """Drop the disks of servers that are not known any more, and tell of those that are lost."""
    servers = {server.id: server for server in site.tables.servers}
    found = {path.name for path in site.disks.iterdir()} if site.disks.is_dir() else set[str]()
    for server_id in sorted(found - servers.keys()):
        await asyncio.to_thread(shutil.rmtree, site.disks / server_id, ignore_errors=True)
    for server_id in sorted(servers.keys() - found):
        if servers[server_id].image_id and servers[server_id].argv and servers[server_id].launched_at:
            logger.warning("the disk of server %s is lost: it begins at its image again", server_id)


async def drop_disks(site: Site) -> None:
    """Drop all disks."""
    await asyncio.to_thread(shutil.rmtree, site.disks, ignore_errors=True)
