"""Server documents kept as encoded as long as nothing that they show is different, so that polls of many are cheap.

The answer to a list is kept until any table of the cloud changes. A document is kept by the server and the surroundings
that it was made of: a change somewhere else costs a comparison for each server, not a new document.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

import msgspec

from sonata.api.openstack.call import Call
from sonata.api.openstack.compute.documents import ServerDocuments, Surroundings
from sonata.api.openstack.reply import Reply, encode
from sonata.emulator.cloud import Cloud
from sonata.emulator.cloud.entities.compute import Server
from sonata.emulator.cloud.tables import Table

MOST_BODIES, MOST_PIECES = 64, 4096

Key = tuple[object, ...]
V = TypeVar("V")


class _Kept:
    """What is kept for one cloud."""

    def __init__(self, cloud: Cloud) -> None:
        self._tables: tuple[Table[Any], ...] = tuple(table for _name, table in cloud.tables)
        self.bodies: OrderedDict[Key, tuple[int, Reply]] = OrderedDict()
        self.pieces: OrderedDict[Key, tuple[Server, Surroundings, msgspec.Raw]] = OrderedDict()

    def generation(self) -> int:
        """Counts the changes of the cloud."""
        return sum([table.generation for table in self._tables])


class DetailCache:
    """Answers and documents by everything that they depend on; the oldest ones go first."""

    def __init__(self) -> None:
        self._kept: WeakKeyDictionary[Cloud, _Kept] = WeakKeyDictionary()

    def answer(self, call: Call, make: Callable[[], Reply]) -> Reply:
        """The answer to a list request: the last one to the same question if nothing has changed in the cloud."""
        kept = self._of(call.cloud)
        key = (*_viewpoint(call), call.project_id, call.request.scope["query_string"])
        generation = kept.generation()
        known = kept.bodies.get(key)
        if known and known[0] == generation:
            return known[1]
        made = make()
        _keep(kept.bodies, key, (generation, made), MOST_BODIES)
        return made

    def pieces(self, call: Call, servers: Iterable[Server]) -> list[msgspec.Raw]:
        """The encoded documents of servers."""
        pieces, viewpoint, documents = self._of(call.cloud).pieces, _viewpoint(call), ServerDocuments(call)
        found = []
        for server in servers:
            key, around = (*viewpoint, server.id), documents.surroundings(server)
            known = pieces.get(key)
            if known is None or known[0] is not server or known[1] != around:
                known = (server, around, msgspec.Raw(encode(documents.detail_in(server, around))))
                _keep(pieces, key, known, MOST_PIECES)
            found.append(known[2])
        return found

    def _of(self, cloud: Cloud) -> _Kept:
        kept = self._kept.get(cloud)
        if kept is None:
            kept = self._kept[cloud] = _Kept(cloud)
        return kept


def _viewpoint(call: Call) -> Key:
    """What a document depends on besides the cloud: version, who looks, and by which address."""
    return call.microversion, call.token.is_admin, call.url("compute")


def _keep(kept: OrderedDict[Key, V], key: Key, value: V, most: int) -> None:
    kept[key] = value
    kept.move_to_end(key)
    while len(kept) > most:
        kept.popitem(last=False)
