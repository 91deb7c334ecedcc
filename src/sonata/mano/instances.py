"""Network service instances as the platform remembers them."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from ipaddress import IPv4Network
from itertools import islice
from typing import Any

from sonata._lib.plain import from_plain, to_plain
from sonata._lib.values import dataclass
from sonata.errors import NotFound, QuotaExceeded
from sonata.model.records import NsRecord, NsState
from sonata.ports.store import Store

ADDRESSES = IPv4Network("10.0.0.0/8")
BLOCK_PREFIX = 20


@dataclass(frozen=True, slots=True)
class Instance:
    """A record with what the platform alone needs to know.

    Args:
        nsd_uuid: UUID of its NSD in the catalogue.
        block: address block from which its networks are cut.
        pops: PoPs in which it may have left objects.
        managers: running managers, by the host's names of their runs.
    """

    record: NsRecord
    nsd_uuid: str
    block: str
    pops: tuple[str, ...] = ()
    managers: tuple[str, ...] = ()

    @property
    def tag(self) -> str:
        """Prefix of the tags of all its objects in VIMs and WIMs."""
        return f"{self.record.id}/"

    def moved(self, state: NsState, **changes: Any) -> Instance:
        """The same with its record in another state."""
        return replace(self, record=replace(self.record, state=state, updated_at=time.time(), **changes))


class Instances:
    """Instances in the store."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def put(self, instance: Instance) -> None:
        """Insert or replace."""
        await self._store.put("ns_instance", instance.record.id, to_plain(instance))

    async def get(self, instance_id: str) -> Instance:
        """One instance; raises NotFound."""
        return from_plain(await self._store.get("ns_instance", instance_id), Instance)

    async def list(self) -> Sequence[Instance]:
        """All instances, oldest first."""
        return [from_plain(document, Instance) for document in await self._store.list("ns_instance")]

    async def find(self, name_or_id: str) -> Instance:
        """By id, or by name; a live instance goes before a terminated one, a younger before an older.

        Raises:
            NotFound: with the names of the live ones.
        """
        known = await self.list()
        matching = [each for each in known if name_or_id in (each.record.id, each.record.name)]
        if not matching:
            live = ", ".join(f"`{each.record.name}`" for each in known if is_live(each)) or "none"
            raise NotFound(f"no service instance `{name_or_id}`; live instances: {live}")
        return max(matching, key=lambda each: (is_live(each), each.record.created_at))

    async def free_block(self) -> str:
        """The first address block that no live instance has.

        Raises:
            QuotaExceeded: all blocks are taken.
        """
        taken = {each.block for each in await self.list() if is_live(each)}
        # Block 0 stays free: 10.0.0.0/20 is what people use for their own networks most often.
        blocks = map(str, islice(ADDRESSES.subnets(new_prefix=BLOCK_PREFIX), 1, None))
        free = next((block for block in blocks if block not in taken), None)
        if free is None:
            raise QuotaExceeded(f"all address blocks of {ADDRESSES} are in use", hint="terminate services")
        return free


def is_live(instance: Instance) -> bool:
    """Whether it may still have objects in VIMs."""
    return instance.record.state is not NsState.TERMINATED
