"""A terminal over a WebSocket: binary messages carry what is typed and printed.

A client that offers the subprotocol `base64` alone gets text messages in base64 instead. `rows` and `columns` in the
query give the window's size; a text message `{"rows":..,"columns":..}` changes it, where messages are binary.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import contextlib

import msgspec
from starlette.websockets import WebSocket, WebSocketDisconnect

from sonata.ports.runtime import Terminal

GONE = 1000
LARGEST = 1000
LONGEST_MESSAGE = 64 * 1024


class WindowSize(msgspec.Struct, forbid_unknown_fields=True):
    """How large a client's window is, in characters."""

    rows: int
    columns: int


def size_of(socket: WebSocket) -> WindowSize:
    """The window's size that a client asks for.

    Raises:
        ValueError: it makes no sense.
    """
    query = socket.query_params
    return _checked(WindowSize(int(query.get("rows", "24")), int(query.get("columns", "80"))))


def _checked(size: WindowSize) -> WindowSize:
    if not (1 <= size.rows <= LARGEST and 1 <= size.columns <= LARGEST):
        raise ValueError(f"a window has 1 to {LARGEST} rows and columns")
    return size


async def serve_terminal(socket: WebSocket, terminal: Terminal) -> None:
    """Join a client and a terminal until either ends; the terminal is closed at return."""
    try:
        offered = socket.scope.get("subprotocols") or []
        chosen = next((one for one in ("binary", "base64") if one in offered), None)
        await socket.accept(chosen)
        await _join(socket, terminal, encoded=chosen == "base64")
    finally:
        await terminal.close()


async def _join(socket: WebSocket, terminal: Terminal, *, encoded: bool) -> None:
    typing = asyncio.create_task(_type(socket, terminal, encoded=encoded))
    printing = asyncio.create_task(_print(socket, terminal, encoded=encoded))
    try:
        await asyncio.wait((typing, printing), return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in (typing, printing):
            task.cancel()
        await asyncio.gather(typing, printing, return_exceptions=True)
    with contextlib.suppress(RuntimeError):  # it is closed already when the client left
        await socket.close(GONE)


async def _print(socket: WebSocket, terminal: Terminal, *, encoded: bool) -> None:
    while printed := await terminal.read():
        if encoded:
            await socket.send_text(base64.b64encode(printed).decode())
        else:
            await socket.send_bytes(printed)


async def _type(socket: WebSocket, terminal: Terminal, *, encoded: bool) -> None:
    while True:
        try:
            message = await socket.receive()
        except (WebSocketDisconnect, RuntimeError):
            return
        if message["type"] == "websocket.disconnect":
            return
        await _take(terminal, message.get("bytes"), message.get("text"), encoded=encoded)


async def _take(terminal: Terminal, typed: bytes | None, text: str | None, *, encoded: bool) -> None:
    if typed is not None:
        await terminal.write(typed[:LONGEST_MESSAGE])
    elif text is not None and encoded:
        with contextlib.suppress(binascii.Error, ValueError):
            await terminal.write(base64.b64decode(text[:LONGEST_MESSAGE], validate=True))
    elif text is not None:
        with contextlib.suppress(msgspec.DecodeError, ValueError):
            size = _checked(msgspec.json.decode(text, type=WindowSize))
            terminal.resize(size.rows, size.columns)
