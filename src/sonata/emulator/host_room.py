"""Whether the host has room for what servers write: their disks grow as they are filled, and lack it together."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

from sonata.emulator.events import EventLog

LOW_BYTES = 1024**2
_LOOK_EVERY_S = 1.0


async def watch_room(folder: Path, events: EventLog, subject: str) -> None:
    """Tell when the file system of a folder is full, and when there is room again, until cancelled."""
    was_full = False
    while True:
        is_full = free_bytes(folder) < LOW_BYTES
        if is_full and not was_full:
            events.tell("disk.full", subject, reason=f"the host has no room in {folder}: what servers write fails")
        elif was_full and not is_full:
            events.tell("disk.room", subject)
        was_full = is_full
        await asyncio.sleep(_LOOK_EVERY_S)


def free_bytes(folder: Path) -> int:
    """What we may still write there; root may use what is reserved for it."""
    room = os.statvfs(folder)
    return room.f_frsize * (room.f_bavail if os.geteuid() else room.f_bfree)
