"""The WebSocket of a serial console: `/POP/compute/console?token=...`, as `nova-serialproxy` speaks it.

What is said there is in `sonata.api.terminal_socket`.
"""

from __future__ import annotations

from urllib.parse import urlsplit

from starlette.websockets import WebSocket

from sonata.api.terminal_socket import serve_terminal, size_of
from sonata.emulator.cloud import Cloud
from sonata.errors import SonataError

REFUSED = 1008  # policy violation, RFC 6455 section 7.4.1


async def serve_console(socket: WebSocket, cloud: Cloud | None) -> None:
    """Join a client and the terminal that its token is for, until either ends."""
    if cloud is None or not _is_same_origin(socket):
        await socket.close(REFUSED)
        return
    try:
        size = size_of(socket)
        token = socket.query_params.get("token", "")
        terminal = await cloud.consoles.open(token, rows=size.rows, columns=size.columns)
    except (SonataError, ValueError):
        await socket.close(REFUSED)
        return
    await serve_terminal(socket, terminal)


def _is_same_origin(socket: WebSocket) -> bool:
    """Whether no foreign web page asks; programs send no origin."""
    origin = socket.headers.get("origin")
    return origin is None or urlsplit(origin).netloc == socket.headers.get("host")
