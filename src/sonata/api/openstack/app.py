"""One ASGI application for the OpenStack APIs of all PoPs: `/{pop}/{service}/...`."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from starlette.requests import Request
from starlette.responses import FileResponse
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocket

from sonata import __version__
from sonata.api.openstack.call import OLDEST, Call, Microversion, base_url, microversion_headers, microversion_of
from sonata.api.openstack.compute.console_socket import serve_console
from sonata.api.openstack.compute.routes import compute_routes
from sonata.api.openstack.description import description
from sonata.api.openstack.faults import Forbidden, MethodNotAllowed, supervised
from sonata.api.openstack.identity.routes import identity_routes
from sonata.api.openstack.image.routes import image_routes
from sonata.api.openstack.load_balancing.routes import load_balancing_routes
from sonata.api.openstack.network.routes import network_routes
from sonata.api.openstack.orchestration.in_process import InProcess
from sonata.api.openstack.orchestration.routes import orchestration_routes
from sonata.api.openstack.reply import Reply
from sonata.api.openstack.routing import Routes, Target
from sonata.api.openstack.volume.microversions import volume_microversion_headers, volume_microversion_of
from sonata.api.openstack.volume.routes import volume_routes
from sonata.emulator.cloud import Cloud
from sonata.emulator.cloud.asking import ASKER, Asker
from sonata.emulator.cloud.identity.tokens import REQUIRED, Token
from sonata.errors import NotFound, Unauthorised

CONSOLE = "compute/console"
"""Path below a PoP of the WebSocket of consoles."""
BODILESS = frozenset((204, 304))


def openstack_app(clouds: Mapping[str, Cloud], *, admin_password: str) -> ASGIApp:
    """The OpenStack APIs of all PoPs; `clouds` may change while the application serves.

    Args:
        clouds: by PoP name, which is the first segment of each path.
        admin_password: password of the user `admin` in every PoP.
    """
    return Surface(clouds, admin_password)


def openstack_description(pops: Sequence[str]) -> Mapping[str, Any]:
    """The OpenAPI description of what `openstack_app` answers for these PoPs."""
    return description(Surface({}, "").services, __version__, pops)


class Surface:
    """Finds cloud, service and handler of a request, and answers in the service's own form."""

    def __init__(self, clouds: Mapping[str, Cloud], admin_password: str) -> None:
        self._clouds = clouds
        self._makers: Mapping[str, Callable[[], Routes]] = {
            "identity": lambda: identity_routes(admin_password),
            "compute": compute_routes,
            "network": network_routes,
            "image": image_routes,
            "orchestration": orchestration_routes,
            "load-balancer": load_balancing_routes,
            "volume": volume_routes,
        }
        self._made: dict[str, Routes] = {}

    @property
    def services(self) -> Mapping[str, Routes]:
        """The routes of all services, by path segment."""
        return {service: self._routes(service) for service in self._makers}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or join a client with a console."""
        if scope["type"] == "websocket":
            await self._console(WebSocket(scope, receive, send))
            return
        request = Request(scope, receive)
        path = str(scope["path"]).removeprefix(str(scope.get("root_path", "")))
        pop, service, rest = (*path.lstrip("/").split("/", 2), "", "")[:3]
        request_id = f"req-{uuid.uuid4()}"
        reply = await supervised(service, lambda: self._answer(request, request_id, pop, service, rest))
        headers = {**_headers(request, request_id, pop, service, reply), **reply.headers}
        if reply.file:
            await FileResponse(reply.file, reply.status, headers)(scope, receive, send)
        else:
            await _respond(reply, headers, send)

    async def _console(self, socket: WebSocket) -> None:
        path = str(socket.scope["path"]).removeprefix(str(socket.scope.get("root_path", "")))
        pop, _, rest = path.strip("/").partition("/")
        await serve_console(socket, self._clouds.get(pop) if rest == CONSOLE else None)

    async def _answer(self, request: Request, request_id: str, pop: str, service: str, path: str) -> Reply:
        if pop not in self._clouds or service not in self._makers:
            raise NotFound(f"there is no service at /{pop}/{service}", hint="paths begin with /POP/SERVICE")
        cloud = self._clouds[pop]
        if service == "orchestration":
            cloud.stacks.attach(InProcess(self, cloud, pop))
        target, params = self._find(cloud, request, service, path)
        caller = None if target.public else _admitted(cloud, request, service, target)
        if caller:
            project_id = caller.project.id if caller.project else ""
            ASKER.set(Asker(request_id, caller.user.id, project_id, caller.is_admin))
        version = _version(request, service)
        reply = await target.handler(Call(cloud, pop, service, request, params, caller, version))
        headers = {**_version_headers(service, version), **reply.headers}
        return Reply(reply.body, reply.status, headers, reply.file)

    def _routes(self, service: str) -> Routes:
        """The routes of a service, which are laid out when it is first called."""
        if service not in self._made:
            self._made[service] = self._makers[service]()
        return self._made[service]

    def _find(self, cloud: Cloud, request: Request, service: str, path: str) -> tuple[Target, dict[str, str]]:
        """The target of a request; what is not there is told to nobody without a token, as Keystone's filter does."""
        try:
            return self._routes(service).find(request.method, path)
        except (NotFound, MethodNotAllowed):
            if service != "identity":
                _caller(cloud, request)
            raise


def _version(request: Request, service: str) -> Microversion:
    """The microversion that a request asks for, where the service has some."""
    if service == "volume":
        return volume_microversion_of(request)
    return microversion_of(request) if service == "compute" else OLDEST


def _version_headers(service: str, version: Microversion) -> dict[str, str]:
    if service == "volume":
        return volume_microversion_headers(version)
    return microversion_headers(version) if service == "compute" else {}


def _admitted(cloud: Cloud, request: Request, service: str, target: Target) -> Token:
    """Who asks, if that one may use the target.

    Raises:
        Unauthorised: without a valid token.
        Forbidden: the role that it needs is not the caller's in a project.
    """
    caller = _caller(cloud, request)
    if not caller.allows(target.needs):
        raise Forbidden(f"You are not authorized to perform the requested action: the role {target.needs} is needed")
    if service != "identity" and caller.project is None:
        raise Forbidden("You are not authorized to perform the requested action: a token for a project is needed")
    return caller


def _caller(cloud: Cloud, request: Request) -> Token:
    secret = request.headers.get("x-auth-token", "")
    if not secret:
        raise Unauthorised(REQUIRED)
    return cloud.identity.tokens.check(secret)


def _headers(request: Request, request_id: str, pop: str, service: str, reply: Reply) -> dict[str, str]:
    """What every answer carries."""
    headers = {"x-openstack-request-id": request_id}
    if service == "compute":
        headers["x-compute-request-id"] = request_id
    if reply.body:
        headers["content-type"] = "application/json"
    if reply.status == 401:
        headers["www-authenticate"] = f'Keystone uri="{base_url(request)}/{pop}/identity"'
    return headers


async def _respond(reply: Reply, headers: Mapping[str, str], send: Send) -> None:
    """Send an answer in two messages; what has no body by its status has no length either (RFC 9110, 8.6)."""
    raw = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]
    if reply.status not in BODILESS:
        raw.append((b"content-length", b"%d" % len(reply.body)))
    await send({"type": "http.response.start", "status": reply.status, "headers": raw})
    await send({"type": "http.response.body", "body": reply.body})
