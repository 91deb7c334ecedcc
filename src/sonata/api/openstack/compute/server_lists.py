"""Lists of servers and their documents, kept as encoded while nothing that they show is different: polls are cheap.

An answer is kept until a table that lists of servers come from changes. A document is kept by the server and the
surroundings that it was made of, so that a change costs no more new documents than it shows in; surroundings are looked
up again only when a table that they come from has changed.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

import msgspec

from sonata._lib.values import dataclass
from sonata.api.openstack.call import Call
from sonata.api.openstack.compute.documents import ServerDocuments, Surroundings, tables_around
from sonata.api.openstack.reply import Reply, encode
from sonata.emulator.cloud import Cloud
from sonata.emulator.cloud.entities.compute import Server
from sonata.emulator.cloud.tables import Table, Tables, generation_of

MOST_BODIES, LEAST_PIECES, MOST_PIECES = 64, 8, 4096

Key = tuple[object, ...]
V = TypeVar("V")


@dataclass(frozen=True, slots=True)
class _Piece:
    """An encoded document and what it was made of.

    Args:
        generation: of the tables around the server when its surroundings were last looked up.
    """

    server: Server
    around: Surroundings
    generation: int
    document: msgspec.Raw


class _Kept:
    """What is kept for one cloud."""

    def __init__(self, tables: Tables) -> None:
        self.around = tables_around(tables)
        self.listed: tuple[Table[Any], ...] = (tables.servers, tables.rbac_policies, *self.around)
        self.bodies: OrderedDict[Key, tuple[int, Reply]] = OrderedDict()
        self.pieces: OrderedDict[Key, _Piece] = OrderedDict()
        self._servers = tables.servers
        self._swept_at = LEAST_PIECES

    def sweep(self) -> None:
        """Let go of what deleted servers were, whenever there are twice as many pieces as after the last time."""
        if len(self.pieces) > self._swept_at:
            for key in [key for key, piece in self.pieces.items() if piece.server.id not in self._servers]:
                del self.pieces[key]
            self._swept_at = max(LEAST_PIECES, 2 * len(self.pieces))


class ServerLists:
    """Answers and documents by everything that they depend on; the oldest ones go first."""

    def __init__(self) -> None:
        self._kept: WeakKeyDictionary[Cloud, _Kept] = WeakKeyDictionary()

    def answer(self, call: Call, make: Callable[[], Reply]) -> Reply:
        """The answer to a list request: the last one to the same question if nothing of it has changed since."""
        kept = self._of(call.cloud)
        key = (*_viewpoint(call), call.project_id, call.request.scope["path"], call.request.scope["query_string"])
        generation = generation_of(kept.listed)
        known = kept.bodies.get(key)
        if known and known[0] == generation:
            return known[1]
        made = make()
        _keep(kept.bodies, key, (generation, made), MOST_BODIES)
        return made

    def documents(self, call: Call, servers: Sequence[Server]) -> list[msgspec.Raw]:
        """The encoded documents of servers."""
        kept, viewpoint, makers = self._of(call.cloud), _viewpoint(call), ServerDocuments(call)
        generation = generation_of(kept.around)
        found = []
        for server in servers:
            key = (*viewpoint, server.id)
            piece = kept.pieces.get(key)
            if piece is None or piece.server is not server or piece.generation != generation:
                piece = _renewed(piece, server, generation, makers)
                _keep(kept.pieces, key, piece, MOST_PIECES)
            found.append(piece.document)
        kept.sweep()
        return found

    def _of(self, cloud: Cloud) -> _Kept:
        kept = self._kept.get(cloud)
        if kept is None:
            kept = self._kept[cloud] = _Kept(cloud.tables)
        return kept


def _renewed(piece: _Piece | None, server: Server, generation: int, makers: ServerDocuments) -> _Piece:
    """The piece as of now; its document is the earlier one if that shows the same."""
    around = makers.surroundings(server)
    if piece and piece.server is server and piece.around == around:
        return _Piece(server, around, generation, piece.document)
    return _Piece(server, around, generation, msgspec.Raw(encode(makers.detail_in(server, around))))


def _viewpoint(call: Call) -> Key:
    """What a document depends on besides the cloud: version, who looks, and by which address."""
    return call.microversion, call.token.is_admin, call.url("compute")


def _keep(kept: OrderedDict[Key, V], key: Key, value: V, most: int) -> None:
    kept[key] = value
    kept.move_to_end(key)
    while len(kept) > most:
        kept.popitem(last=False)
