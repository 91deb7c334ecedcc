"""What servers' disks and consoles are after the emulator has died: kept, or lost."""

from __future__ import annotations

import asyncio
import logging
import shutil
from pathlib import Path

from sonata.emulator.cloud.site import Site

logger = logging.getLogger(__name__)


async def sweep(site: Site) -> None:
    """Drop disks and consoles of servers that are not known any more, and tell of disks that are lost."""
    servers = {server.id: server for server in site.tables.servers}
    for server_id in _names_in(site.consoles) - servers.keys():
        (site.consoles / server_id).unlink(missing_ok=True)
    found = _names_in(site.disks)
    for server_id in sorted(found - servers.keys()):
        await asyncio.to_thread(shutil.rmtree, site.disks / server_id, ignore_errors=True)
    for server_id in sorted(servers.keys() - found):
        if servers[server_id].image_id and servers[server_id].argv and servers[server_id].launched_at:
            logger.warning("the disk of server %s is lost: it begins at its image again", server_id)


async def drop_all(site: Site) -> None:
    """Drop all disks and consoles."""
    for folder in (site.disks, site.consoles):
        await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)


def _names_in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()} if folder.is_dir() else set()
