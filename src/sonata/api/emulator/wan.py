"""The wide area manager's part of the emulator's API, under `/emulator/v1/wan`."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import asdict, replace

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from sonata.api.emulator.guarding import Guard
from sonata.api.emulator.json import JsonResponse, body_of
from sonata.emulator.sites import SiteNetwork
from sonata.emulator.wan import Wan
from sonata.errors import InvalidInput
from sonata.ports.wim import ConnectionRequest


class NewConnection(msgspec.Struct, forbid_unknown_fields=True):
    """Body of `POST /wan/connections`; `members` is network id by PoP."""

    tag: str
    members: dict[str, str]
    rate_bps: float | None = None
    max_delay_s: float | None = None
    max_rate_bps: float | None = None


class ConnectionChange(msgspec.Struct, forbid_unknown_fields=True):
    """Body of `PATCH /wan/connections/ID`: what is not given stays as it is."""

    members: dict[str, str] | msgspec.UnsetType = msgspec.UNSET
    rate_bps: float | msgspec.UnsetType | None = msgspec.UNSET
    max_delay_s: float | msgspec.UnsetType | None = msgspec.UNSET
    max_rate_bps: float | msgspec.UnsetType | None = msgspec.UNSET

    def applied_to(self, wanted: ConnectionRequest) -> ConnectionRequest:
        """What is wanted with this change."""
        given = {field: getattr(self, field) for field in self.__struct_fields__}
        return replace(wanted, **{field: value for field, value in given.items() if value is not msgspec.UNSET})


class WanApi:
    """Handlers over the wide area, and the networks of all sites."""

    def __init__(self, wan: Wan, networks: Callable[[], Iterable[SiteNetwork]]) -> None:
        self._wan = wan
        self._networks = networks

    def routes(self, guard: Guard) -> list[BaseRoute]:
        """Routes, each behind the guard."""
        return [
            Route("/wan/graph", guard(self.graph)),
            Route("/wan/links", guard(self.links)),
            Route("/wan/paths", guard(self.path)),
            Route("/wan/networks", guard(self.networks)),
            Route("/wan/connections", guard(self.list)),
            Route("/wan/connections", guard(self.create), methods=["POST"]),
            Route("/wan/connections/{id}", guard(self.show)),
            Route("/wan/connections/{id}", guard(self.change), methods=["PATCH"]),
            Route("/wan/connections/{id}", guard(self.delete), methods=["DELETE"]),
        ]

    async def graph(self, request: Request) -> Response:
        """PoPs, links that are up, endpoints; what PoPs cost and draw."""
        graph = self._wan.view.graph()
        endpoints = list(graph.endpoints.values())
        return JsonResponse(
            {"pops": graph.pops, "edges": graph.edges, "endpoints": endpoints, "figures": graph.figures}
        )

    async def links(self, request: Request) -> Response:
        """All links between PoPs: state, price, what is reserved and left of each direction."""
        return JsonResponse(self._wan.view.links())

    async def path(self, request: Request) -> Response:
        """The links from one PoP to another, `from` and `to`, that packets pass now."""
        asked = request.query_params
        if missing := [name for name in ("from", "to") if not asked.get(name)]:
            raise InvalidInput(f"a path needs `{missing[0]}`", hint="give two PoPs or endpoints: `?from=A&to=B`")
        return JsonResponse(self._wan.view.path(asked["from"], asked["to"]))

    async def networks(self, request: Request) -> Response:
        """Networks of the sites that can be joined, with the tag of the connection that each is in."""
        tags = {member: one.tag for one in self._wan.connections() for member in one.members.items()}
        return JsonResponse(
            [{**asdict(each), "connection": tags.get((each.pop, each.id))} for each in self._networks()]
        )

    async def list(self, request: Request) -> Response:
        """Connections: by `tag_prefix`, and by where they end: `pop`, `network`, the PoP of `endpoint`."""
        asked = request.query_params
        ends = self._wan.view.ending_at(asked.get("pop", ""), asked.get("network", ""), asked.get("endpoint", ""))
        prefix = asked.get("tag_prefix", "")
        return JsonResponse([connection for connection in ends if connection.tag.startswith(prefix)])

    async def create(self, request: Request) -> Response:
        """Join networks; the same tag gives the same connection."""
        wanted = await body_of(request, NewConnection)
        connection = await self._wan.connect(
            ConnectionRequest(wanted.tag, wanted.members, wanted.rate_bps, wanted.max_delay_s, wanted.max_rate_bps)
        )
        return JsonResponse(connection, 201)

    async def show(self, request: Request) -> Response:
        """One connection."""
        return JsonResponse(self._wan.get(request.path_params["id"]))

    async def change(self, request: Request) -> Response:
        """Give a connection other members or bounds."""
        change = await body_of(request, ConnectionChange)
        return JsonResponse(await self._wan.update(request.path_params["id"], change.applied_to))

    async def delete(self, request: Request) -> Response:
        """Take a connection apart."""
        await self._wan.disconnect(request.path_params["id"])
        return Response(status_code=204)
