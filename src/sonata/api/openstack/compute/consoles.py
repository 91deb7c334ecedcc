"""Remote consoles of servers: `remote-consoles`, the older console actions, `os-console-auth-tokens`.

Source: OpenStack Compute API reference, server consoles. A serial console is a shell in the
server, reached by WebSocket.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from sonata.api.openstack.call import Call, Microversion
from sonata.api.openstack.compute import bodies
from sonata.api.openstack.compute.servers import find_server
from sonata.api.openstack.reply import Reply, json_reply
from sonata.api.openstack.routing import Routes
from sonata.api.openstack.topic import Topic, Truth
from sonata.emulator.cloud.compute.states import is_on
from sonata.emulator.cloud.entities.compute import Server
from sonata.errors import Conflict, InvalidInput, NotFound

ALL_CONSOLES: Microversion = (2, 31)
TYPES = {
    "vnc": ("novnc", "xvpvnc"),
    "spice": ("spice-html5",),
    "rdp": ("rdp-html5",),
    "serial": ("serial",),
    "mks": ("webmks",),
}
"""Types of consoles by protocol; a process has a terminal and no screen, so only `serial` is here."""
OLD_CONSOLES = {
    "os-getVNCConsole": "vnc",
    "os-getSPICEConsole": "spice",
    "os-getRDPConsole": "rdp",
    "os-getSerialConsole": "serial",
}
"""Protocols of the actions that microversions before 2.6 have."""


TOPIC = Topic(
    "consoles",
    Truth(
        real=("`serial`: a shell on a terminal, by WebSocket, with a token that is good once",),
        refused=("all other types (400): a server has no screen",),
    ),
)


def register(routes: Routes) -> None:
    """Add the routes of consoles."""
    routes.about(TOPIC)
    routes.add("POST", "/v2.1/servers/{id}/remote-consoles", _create, body=bodies.REMOTE_CONSOLE)
    routes.add("GET", "/v2.1/os-console-auth-tokens/{token}", _show, needs="admin")


def old_console(protocol: str) -> Callable[[Call, Server, Any], Awaitable[Reply]]:
    """The action of microversions before 2.6 for a protocol."""

    async def run(call: Call, server: Server, arguments: Any) -> Reply:
        kind = arguments.get("type") if isinstance(arguments, dict) else None
        return json_reply({"console": {"type": kind, "url": _url(call, server, protocol, kind)}})

    return run


async def _create(call: Call) -> Reply:
    if call.microversion < (2, 6):
        raise NotFound("The resource could not be found.")
    server, asked = find_server(call), await call.member("remote_console")
    protocol, kind = asked.get("protocol"), asked.get("type")
    if not isinstance(protocol, str) or protocol not in TYPES:
        raise InvalidInput(f"Invalid input for field/attribute protocol: {protocol!r} is not one of {list(TYPES)}")
    url = _url(call, server, protocol, kind)
    return json_reply({"remote_console": {"protocol": protocol, "type": kind, "url": url}})


def _url(call: Call, server: Server, protocol: str, kind: Any) -> str:
    """The address of a new console.

    Raises:
        InvalidInput: there is none of this kind.
        Conflict: the server is off.
    """
    if kind not in TYPES[protocol]:
        raise InvalidInput(f"Invalid input for field/attribute type: {kind!r} is not one of {list(TYPES[protocol])}")
    if protocol != "serial":
        raise InvalidInput(f"Unavailable console type {kind}.", hint="a server here has a console of type `serial`")
    if not is_on(server):
        raise Conflict(f"Instance {server.id} is not ready: it is {server.status}")
    token = call.cloud.consoles.issue(server.id)
    web = call.url("compute", f"/console?token={token}")
    return web.replace("http", "ws", 1)


async def _show(call: Call) -> Reply:
    token = call.params["token"]
    granted = call.cloud.consoles.peek(token)
    if granted is None or call.microversion < ALL_CONSOLES:
        raise NotFound("Token not found")
    base = call.request.base_url
    return json_reply(
        {
            "console": {
                "instance_uuid": granted.server_id,
                "host": base.hostname,
                "port": base.port,
                "internal_access_path": None,
            }
        }
    )
