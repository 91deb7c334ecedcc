"""Server documents kept as encoded until something that they show changes; a poll of many servers costs little then."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import TypeVar
from weakref import WeakKeyDictionary

import msgspec

from sonata.api.openstack.call import Call
from sonata.api.openstack.listing import Document
from sonata.api.openstack.reply import Reply, encode
from sonata.emulator.cloud import Cloud
from sonata.emulator.cloud.entities.compute import Server

MOST_BODIES, MOST_PIECES = 64, 4096
APART = frozenset(("servers", "server_actions"))
"""Tables that a piece does not depend on: its own server is compared, the log is not shown."""

Key = tuple[object, ...]
V = TypeVar("V")


class _Kept:
    """What is kept for one cloud."""

    def __init__(self) -> None:
        self.bodies: OrderedDict[Key, tuple[int, Reply]] = OrderedDict()
        self.pieces: OrderedDict[Key, tuple[Server, int, msgspec.Raw]] = OrderedDict()


class DetailCache:
    """Answers and documents by everything that they depend on; the oldest ones go first."""

    def __init__(self) -> None:
        self._kept: WeakKeyDictionary[Cloud, _Kept] = WeakKeyDictionary()

    def answer(self, call: Call, make: Callable[[], Reply]) -> Reply:
        """The answer to a list request: the last one to the same question if nothing has changed in the cloud."""
        bodies = self._of(call.cloud).bodies
        key = (*_viewpoint(call), call.project_id, call.request.url.query)
        generation = sum(table.generation for _name, table in call.cloud.tables)
        known = bodies.get(key)
        if known and known[0] == generation:
            return known[1]
        made = make()
        _keep(bodies, key, (generation, made), MOST_BODIES)
        return made

    def pieces(
        self, call: Call, servers: Iterable[Server], document: Callable[[Server], Document]
    ) -> list[msgspec.Raw]:
        """The encoded documents of servers."""
        kept, viewpoint = self._of(call.cloud).pieces, _viewpoint(call)
        generation = sum(table.generation for name, table in call.cloud.tables if name not in APART)
        found = []
        for server in servers:
            key = (*viewpoint, server.id)
            known = kept.get(key)
            if known is None or known[0] is not server or known[1] != generation:
                known = (server, generation, msgspec.Raw(encode(document(server))))
                _keep(kept, key, known, MOST_PIECES)
            found.append(known[2])
        return found

    def _of(self, cloud: Cloud) -> _Kept:
        return self._kept.setdefault(cloud, _Kept())


def _viewpoint(call: Call) -> Key:
    """What a document depends on besides the cloud: version, who looks, and by which address."""
    return call.microversion, call.token.is_admin, call.url("compute")


def _keep(kept: OrderedDict[Key, V], key: Key, value: V, most: int) -> None:
    kept[key] = value
    while len(kept) > most:
        kept.popitem(last=False)
