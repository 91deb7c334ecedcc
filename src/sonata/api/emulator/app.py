"""The emulator's own HTTP API, served under `/emulator/v1`: topology, links, machines, the wide area.

Every request carries `Authorization: Bearer TOKEN`. One token opens everything; another one, for wide area managers,
opens `/wan` alone.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import BaseRoute, Route, WebSocketRoute
from starlette.websockets import WebSocket

from sonata.api.emulator.commands import CommandApi
from sonata.api.emulator.errors import problem, unknown_path
from sonata.api.emulator.events import EventApi
from sonata.api.emulator.guarding import Guard, guard_of, require_token
from sonata.api.emulator.json import JsonResponse, body_of
from sonata.api.emulator.metrics import MetricsApi
from sonata.api.emulator.scenarios import ScenarioApi
from sonata.api.emulator.topology import TopologyApi
from sonata.api.emulator.wan import WanApi
from sonata.api.terminal_socket import WindowSize, serve_terminal, size_of
from sonata.emulator.capture import MAX_SECONDS, pcap_stream
from sonata.emulator.emulation import Emulation
from sonata.emulator.observing.observation import Observation
from sonata.emulator.reconciler import Reconciler
from sonata.emulator.scenarios import Scenarios
from sonata.errors import InvalidInput, SonataError
from sonata.model.topology import Impairment

Describe = Callable[[], Mapping[str, Any]]
"""What writes the OpenAPI description of another surface."""


IMPAIRMENT = tuple(field.name for field in dataclasses.fields(Impairment))


class LinkChange(msgspec.Struct, forbid_unknown_fields=True):
    """Body of `PATCH /links/NAME`: fields that are not given stay as they are; `from` is the end whose packets alone
    are meant; `force` also takes what is promised to connections.
    """

    delay_s: float | msgspec.UnsetType = msgspec.UNSET
    jitter_s: float | msgspec.UnsetType = msgspec.UNSET
    loss: float | msgspec.UnsetType = msgspec.UNSET
    rate_bps: float | msgspec.UnsetType | None = msgspec.UNSET
    duplicate: float | msgspec.UnsetType = msgspec.UNSET
    reorder: float | msgspec.UnsetType = msgspec.UNSET
    origin: str | None = msgspec.field(name="from", default=None)
    up: bool | None = None
    force: bool = False


class Check(msgspec.Struct, forbid_unknown_fields=True):
    """Body of `POST /links/NAME/check`: how long each measurement takes."""

    seconds: float = 2.0


class Move(msgspec.Struct, forbid_unknown_fields=True):
    """Body of `POST /endpoints/NAME/move`: name of a cell or PoP."""

    to: str


class EmulatorApi:
    """Handlers over one emulation.

    Args:
        describe_openstack: writes the description of what the PoPs answer as OpenStack.
        token: opens consoles.
    """

    def __init__(self, emulation: Emulation, describe_openstack: Describe, token: str) -> None:
        self._emulation = emulation
        self._describe_openstack = describe_openstack
        self._token = token

    def routes(self, guard: Guard) -> list[BaseRoute]:
        """Routes, each behind the guard."""
        return [
            Route("/status", guard(self.status)),
            Route("/links", guard(self.links)),
            Route("/links/{name}", guard(self.change_link), methods=["PATCH"]),
            Route("/links/{name}/capture", guard(self.capture)),
            Route("/links/{name}/check", guard(self.check_link), methods=["POST"]),
            Route("/endpoints", guard(self.endpoints)),
            Route("/endpoints/{name}/move", guard(self.move_endpoint), methods=["POST"]),
            Route("/machines", guard(self.machines)),
            Route("/machines/{name:path}/counters", guard(self.counters)),
            Route("/machines/{name:path}/interfaces/{interface}/capture", guard(self.capture_interface)),
            WebSocketRoute("/machines/{name:path}/console", self.console),
            Route("/exec", guard(CommandApi(self._emulation).run), methods=["POST"]),
            Route("/openstack/openapi.json", guard(self.openstack_description)),
        ]

    async def status(self, request: Request) -> Response:
        """What runs, and which limits are not enforced."""
        topology = self._emulation.topology
        runtime = self._emulation.runtime
        return JsonResponse(
            {
                "name": topology.name,
                "pops": len(topology.pops),
                "links": len(topology.links),
                "endpoints": len(topology.endpoints),
                "connections": len(self._emulation.wan.connections()),
                "runtime": runtime.name,
                "unenforced": runtime.unenforced,
            }
        )

    async def links(self, request: Request) -> Response:
        """All links, and the access links of endpoints, as they are."""
        links = self._emulation.links
        rows = []
        for status in await links.status():
            link = links.find(status.name).link
            rows.append({"name": link.name, "a": link.a, "b": link.b} | msgspec.to_builtins(status))
        return JsonResponse(rows)

    async def change_link(self, request: Request) -> Response:
        """Change a link while packets flow."""
        change = await body_of(request, LinkChange)
        values = {field: value for field in IMPAIRMENT if (value := getattr(change, field)) is not msgspec.UNSET}
        await self._emulation.links.set(
            request.path_params["name"], values, origin=change.origin, up=change.up, force=change.force
        )
        return Response(status_code=204)

    async def capture(self, request: Request) -> Response:
        """Stream the packets of a link as pcap for `seconds`, or until the client goes."""
        seconds = _seconds(request.query_params.get("seconds"))
        tap = await self._emulation.capture(request.path_params["name"])
        return StreamingResponse(pcap_stream(tap, seconds), media_type="application/vnd.tcpdump.pcap")

    async def capture_interface(self, request: Request) -> Response:
        """Stream the packets of an interface of a machine as pcap."""
        seconds = _seconds(request.query_params.get("seconds"))
        tap = await self._emulation.capture_port(request.path_params["name"], request.path_params["interface"])
        return StreamingResponse(pcap_stream(tap, seconds), media_type="application/vnd.tcpdump.pcap")

    async def check_link(self, request: Request) -> Response:
        """Measure a link and compare it with what was declared."""
        wanted = await body_of(request, Check)
        return JsonResponse(await self._emulation.link_checker.check(request.path_params["name"], wanted.seconds))

    async def endpoints(self, request: Request) -> Response:
        """Hosts outside of the PoPs."""
        running = self._emulation.endpoints.running()
        rows = [
            {
                "name": state.endpoint.name,
                "pop": state.endpoint.attach,
                "cell": state.cell,
                "home": state.home,
                "address": state.address.ip,
                "image": state.image.name,
                "status": state.status,
                "reason": state.ended,
                "delay_s": running[state.endpoint.name].impairment.delay_s,
            }
            for state in self._emulation.endpoints
        ]
        return JsonResponse(rows)

    async def move_endpoint(self, request: Request) -> Response:
        """Attach an endpoint to another cell or PoP."""
        wanted = await body_of(request, Move)
        await self._emulation.roaming.move(request.path_params["name"], wanted.to)
        return Response(status_code=204)

    async def machines(self, request: Request) -> Response:
        """Everything that commands can be run in: endpoints and servers."""
        return JsonResponse(self._emulation.machines())

    async def counters(self, request: Request) -> Response:
        """Counters of a machine's ports, by port id."""
        return JsonResponse(await self._emulation.counters(request.path_params["name"]))

    async def console(self, socket: WebSocket) -> None:
        """A shell on a terminal in a machine; a refusal is a problem document, as anywhere."""
        try:
            require_token(socket, self._token)
            size = _window_of(socket)
            name = socket.path_params["name"]
            terminal = await self._emulation.terminal(name, rows=size.rows, columns=size.columns)
        except SonataError as error:
            await socket.send_denial_response(await problem(socket, error))
            return
        await serve_terminal(socket, terminal)

    async def openstack_description(self, request: Request) -> Response:
        """The OpenStack APIs of the PoPs, as OpenAPI 3.1."""
        return JsonResponse(self._describe_openstack())


def emulator_app(
    emulation: Emulation,
    reconciler: Reconciler,
    scenarios: Scenarios,
    observation: Observation,
    *,
    token: str,
    wan_token: str,
    describe_openstack: Describe,
) -> Starlette:
    """The ASGI application; mount it under `/emulator/v1`."""
    own = EmulatorApi(emulation, describe_openstack, token)
    guard = guard_of(token)
    routes = [*own.routes(guard), *EventApi(emulation.events).routes(guard)]
    routes += MetricsApi(observation).routes(guard)
    routes += TopologyApi(emulation, reconciler).routes(guard)
    routes += ScenarioApi(scenarios, emulation.events).routes(guard)
    routes += WanApi(emulation.wan, lambda: emulation.sites.networks()).routes(guard_of(token, wan_token))
    return Starlette(routes=routes, exception_handlers={SonataError: problem, HTTPException: unknown_path})


def _window_of(socket: WebSocket) -> WindowSize:
    try:
        return size_of(socket)
    except ValueError as error:
        raise InvalidInput(f"`rows` and `columns` make no window: {error}") from error


def _seconds(text: str | None) -> float:
    try:
        seconds = float(text or MAX_SECONDS)
    except ValueError:
        seconds = -1.0
    if not 0 < seconds <= MAX_SECONDS:
        raise InvalidInput(f"`seconds` must be a number above 0 and at most {MAX_SECONDS:g}")
    return seconds
