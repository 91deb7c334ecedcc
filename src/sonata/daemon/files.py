"""Open files of an emulation's keeper: what it needs before it begins, and what it does when they run out."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from sonata._lib.descriptors import SPARE, Reserve, is_exhaustion, limit, raise_limit
from sonata.errors import QuotaExceeded
from sonata.model.topology import Topology

logger = logging.getLogger(__name__)

_LOOK_EVERY_S = 0.25
_SCARCE = SPARE // 2
"""Descriptors beside the reserve with fewer of which it is given away; nothing new is begun with twice as many."""
_AT_REST = 5 * SPARE
"""What a keeper has open without any topology, its reserve included, and what its first clients take."""
_PER_POP, _PER_LINK, _PER_MACHINE = 2, 2, 3


def require_files(topology: Topology) -> None:
    """Raise the limit of open files as far as we may, and refuse a topology that it does not suffice for.

    Raises:
        QuotaExceeded: it does not; tells how many are needed.
    """
    most, needed = raise_limit(), files_needed(topology)
    if most < needed:
        raise QuotaExceeded(
            f"topology `{topology.name}` needs about {needed} open files, and a process may have {most} here",
            hint="raise the hard limit `nofile`: as root `prlimit --nofile=N --pid $$`, for good in limits.conf(5)",
        )


def files_needed(topology: Topology) -> int:
    """How many files a keeper of this topology will have open, clients and growth not counted."""
    machines = len(topology.endpoints) + len(topology.servers)
    return _AT_REST + _PER_POP * len(topology.pops) + _PER_LINK * len(topology.links) + _PER_MACHINE * machines


async def keep_files(reserve: Reserve) -> None:
    """Give the reserve to those who tidy up when no file can be opened any more, and say so; until cancelled."""
    asyncio.get_running_loop().set_exception_handler(_unless_out_of_files)
    while True:
        was_whole = reserve.is_whole
        if reserve.look(_SCARCE) != was_whole:
            told = "files can be opened again" if reserve.is_whole else "hardly a file can be opened any more"
            logger.warning("%s: the limit is %d", told, limit())
        await asyncio.sleep(_LOOK_EVERY_S)


def _unless_out_of_files(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Tell of what goes wrong beside all work, but not of each connection that cannot be accepted: that comes again."""
    if not is_exhaustion(context.get("exception")):
        loop.default_exception_handler(context)
