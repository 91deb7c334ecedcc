"""The host's side of a virtual machine's agent: commands run there, by frames over one socket."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import struct
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from sonata.adapters.runtime_qemu.frames import (
    CREDIT,
    DROP,
    ENDED,
    ERRORS,
    FAILED,
    HELLO,
    INPUT,
    INPUT_END,
    LONGEST,
    OUTPUT,
    RESIZE,
    RUN,
    SIGNAL,
    STARTED,
    Frames,
    frame,
)
from sonata.errors import AdapterError, PermanentError

_STREAMS = {OUTPUT: "stdout", ERRORS: "stderr"}


async def open_socket(path: Path) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Streams to a unix socket, however long its path is (unix(7) allows 108 bytes)."""
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY)
    try:
        return await asyncio.open_unix_connection(f"/proc/self/fd/{folder}/{path.name}")
    finally:
        os.close(folder)


@contextlib.asynccontextmanager
async def connected(path: Path) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """Streams to a unix socket, closed in the end."""
    reader, writer = await open_socket(path)
    try:
        yield reader, writer
    finally:
        writer.close()


class GuestCommand:
    """A process in a virtual machine.

    Args:
        send: sends a frame of it.
    """

    def __init__(self, agent: Agent, number: int) -> None:
        self._agent = agent
        self._number = number
        self._heard: asyncio.Queue[tuple[int, bytes]] = asyncio.Queue()
        self.status = -1
        self.out_of_memory = False

    def hear(self, kind: int, payload: bytes) -> None:
        """Take a frame of the guest."""
        self._heard.put_nowait((kind, payload))

    async def started(self) -> str:
        """Wait until it is executed; why it cannot be, empty when it is.

        Raises:
            AdapterError: the virtual machine went away.
        """
        kind, payload = await self._heard.get()
        if kind == STARTED:
            return ""
        self._agent.forget(self._number)
        if kind == FAILED:
            return payload.decode(errors="replace")
        raise AdapterError("the virtual machine ended before its program began")

    async def said(self) -> tuple[str, bytes] | None:
        """What it printed next, and to which stream; None when it has ended, and `status` is known."""
        kind, payload = await self._heard.get()
        if kind in _STREAMS:
            self._agent.send(self._number, CREDIT, struct.pack(">I", len(payload)))
            return _STREAMS[kind], payload
        if payload:
            self.status, self.out_of_memory = payload[0], bool(payload[1])
        self._agent.forget(self._number)
        self._heard.put_nowait((ENDED, b""))
        return None

    async def type(self, typed: bytes, *, is_all: bool = False) -> None:
        """Give it input; with `is_all` there will be no more."""
        for begin in range(0, len(typed), LONGEST):
            self._agent.send(self._number, INPUT, typed[begin : begin + LONGEST])
            await self._agent.drained()
        if is_all:
            self._agent.send(self._number, INPUT_END)

    def signal(self, number: int) -> None:
        """Send a signal to it and to its children."""
        self._agent.send(self._number, SIGNAL, bytes([number]))

    def resize(self, rows: int, columns: int) -> None:
        """Tell its terminal how large it is (`struct winsize`)."""
        self._agent.send(self._number, RESIZE, struct.pack("HHHH", rows, columns, 0, 0))

    def drop(self) -> None:
        """Kill it and forget it."""
        self._agent.send(self._number, DROP)


class Agent:
    """Speaks with the agent of one virtual machine."""

    def __init__(self) -> None:
        self._commands: dict[int, GuestCommand] = {}
        self._writer: asyncio.StreamWriter | None = None
        self._next = 1
        self.ready = asyncio.Event()

    async def converse(self, path: Path) -> None:
        """Pass on what the guest says, until it is gone."""
        frames = Frames()
        try:
            async with connected(path) as (reader, self._writer):
                while piece := await reader.read(LONGEST):
                    for number, kind, payload in frames.take(piece):
                        self._hear(number, kind, payload)
        except ConnectionError:
            pass
        finally:
            self._writer = None
            for command in tuple(self._commands.values()):
                command.hear(ENDED, b"")

    def run(self, **wanted: Any) -> GuestCommand:
        """Begin a command."""
        number, self._next = self._next, self._next + 1
        command = self._commands[number] = GuestCommand(self, number)
        self.send(number, RUN, json.dumps(wanted).encode())
        return command

    def send(self, number: int, kind: int, payload: bytes = b"") -> None:
        """Send a frame; in vain when the guest is gone."""
        if self._writer:
            self._writer.write(frame(number, kind, payload))
        elif command := self._commands.get(number):
            command.hear(ENDED, b"")

    async def drained(self) -> None:
        """Wait until most of what was sent is on its way."""
        if self._writer:
            with contextlib.suppress(ConnectionError):
                await self._writer.drain()

    def forget(self, number: int) -> None:
        """Hear nothing more of a command."""
        self._commands.pop(number, None)

    def _hear(self, number: int, kind: int, payload: bytes) -> None:
        if kind == HELLO:
            self.ready.set()
        elif command := self._commands.get(number):
            command.hear(kind, payload)


class GuestTerminal:
    """`sonata.ports.runtime.Terminal` of a program in a virtual machine."""

    def __init__(self, command: GuestCommand) -> None:
        self._command = command
        self._is_closed = False

    async def read(self) -> bytes:
        """What was printed next; empty at the end."""
        said = None if self._is_closed else await self._command.said()
        return said[1] if said else b""

    async def write(self, typed: bytes) -> None:
        """Type something."""
        await self._command.type(typed)

    def resize(self, rows: int, columns: int) -> None:
        """Tell the program how large its window is."""
        self._command.resize(rows, columns)

    async def close(self) -> None:
        """Hang up; the program is gone at return. Idempotent."""
        if not self._is_closed:
            self._is_closed = True
            self._command.drop()
            while await self._command.said():
                pass


def refuse(machine_id: str, program: str, why: str) -> PermanentError:
    """A program that cannot be executed."""
    return PermanentError(
        f"machine `{machine_id}` cannot start `{program}`: {why}",
        hint="the program must exist in the machine's image, be executable, and be made for this processor",
    )
