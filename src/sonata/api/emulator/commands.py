"""Commands in machines over HTTP: whole answers, or output as it comes.

A stream is JSON lines (`application/x-ndjson`): `{"stdout": BASE64}` and `{"stderr": BASE64}` as the command writes,
then `{"status": N}`, or `{"error": PROBLEM}` where it could not be run. A client that goes away ends the command.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import msgspec
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from sonata.api.emulator.errors import document_of
from sonata.api.emulator.json import JsonResponse, body_of
from sonata.emulator.emulation import Emulation
from sonata.errors import InvalidInput, SonataError

_AHEAD = 8
"""Pieces of output that wait for a slow client; the command waits beyond that."""


class Command(msgspec.Struct, forbid_unknown_fields=True):
    """Body of `POST /exec`: what to run where; `stdin` is base64, `stream` asks for output as it comes."""

    name: str
    argv: list[str]
    stdin: bytes = b""
    stream: bool = False


class CommandApi:
    """Runs commands in the machines of an emulation."""

    def __init__(self, emulation: Emulation) -> None:
        self._emulation = emulation

    async def run(self, request: Request) -> Response:
        """Run a command; exit status and output, base64."""
        command = await body_of(request, Command)
        if not command.argv:
            raise InvalidInput("no command given", hint='put it into `argv`, e.g. ["ip", "address"]')
        if command.stream:
            return StreamingResponse(self._lines(command, request), media_type="application/x-ndjson")
        status, out, err = await self._emulation.exec(command.name, command.argv, command.stdin)
        return JsonResponse({"status": status, "stdout": out, "stderr": err})

    async def _lines(self, command: Command, request: Request) -> AsyncIterator[bytes]:
        pieces: asyncio.Queue[object] = asyncio.Queue(_AHEAD)
        running = asyncio.create_task(self._told(command, request, pieces), name=f"command in {command.name}")
        try:
            while (piece := await pieces.get()) is not None:
                yield msgspec.json.encode(piece) + b"\n"
        finally:
            running.cancel()
            while not pieces.empty():  # so that its last word finds room
                pieces.get_nowait()
            with contextlib.suppress(asyncio.CancelledError):
                await running

    async def _told(self, command: Command, request: Request, pieces: asyncio.Queue[object]) -> None:
        """Run a command and put all that is told of it into the queue, None at the end."""

        async def tell(stream: str, chunk: bytes) -> None:
            await pieces.put({stream: chunk})

        try:
            status, _, _ = await self._emulation.exec(command.name, command.argv, command.stdin, tell)
            await pieces.put({"status": status})
        except SonataError as error:
            await pieces.put({"error": document_of(error, request.url.path)})
        finally:
            await pieces.put(None)
