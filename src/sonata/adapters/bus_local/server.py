"""One client of the bus behind one unix socket: the socket is the client's identity and bounds what it may do."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from websockets.asyncio.server import Server, ServerConnection, unix_serve
from websockets.exceptions import ConnectionClosed

from sonata.adapters.bus_local.topics import covers
from sonata.errors import InvalidInput, ManagerError, SonataError
from sonata.managers.messages import MAX_FRAME_BYTES, Frame, read_frame, write_frame
from sonata.ports.bus import Bus, Message, Subscription

logger = logging.getLogger(__name__)
MAX_SUBSCRIPTIONS = 64
MAX_REQUEST_S = 60.0
MAX_FRAMES_PER_S = 2000
POLICY_VIOLATION, TRY_AGAIN_LATER = 1008, 1013
_GOODBYE_S = 1.0
"""How long a client that is sent away may take to say goodbye; one that floods never does."""


class ClientSocket:
    """A unix socket for one client at a time."""

    def __init__(
        self, bus: Bus, identity: str, allowed: tuple[str, ...], on_cancel: Callable[[ClientSocket], None]
    ) -> None:
        self._bus = bus
        self._identity = identity
        self._allowed = allowed
        self._on_cancel = on_cancel
        self._path = Path()
        self._server: Server | None = None
        self._session: _Session | None = None

    async def open(self, path: Path) -> None:
        """Listen; a socket file left by a dead process is replaced."""
        self._path = path
        _remove(path)
        self._server = await unix_serve(
            self._converse,
            str(path),
            max_size=MAX_FRAME_BYTES,
            compression=None,
            ping_interval=None,
            close_timeout=_GOODBYE_S,
        )
        os.chmod(path, 0o666)  # noqa: S103  # nosec B103  # the folder is the guard; a sandbox has a user of its own

    @property
    def is_connected(self) -> bool:
        """Whether the client is connected now."""
        return self._session is not None

    async def cancel(self) -> None:
        """Hang up and remove the socket. Idempotent."""
        self._on_cancel(self)
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()
            self._server = None
            _remove(self._path)

    async def _converse(self, connection: ServerConnection) -> None:
        """Supervise one client: whatever it does, its session is ended and the bus lives on."""
        if self._session is not None:
            await connection.close(TRY_AGAIN_LATER, "this socket is in use")
            return
        self._session = session = _Session(self._bus, connection, self._identity, self._allowed)
        reason = "it hung up"
        try:
            await session.run()
        except ConnectionClosed as error:
            reason = f"its connection broke: {error}"
        except InvalidInput as error:
            reason = f"it sent nonsense: {error.message}"
            await connection.close(POLICY_VIOLATION, error.message[:120])
        except Exception as error:
            logger.exception("bus client failed", extra={"identity": self._identity})
            reason = f"its session failed: {error}"
        finally:
            self._session = None
            await session.end(reason)


def _remove(path: Path) -> None:
    path.unlink(missing_ok=True)


class _Pace:
    """Counts the messages of each second."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._second = 0
        self._messages = 0

    def count(self) -> None:
        """Count one more.

        Raises:
            InvalidInput: there were too many in this second.
        """
        if int(self._clock()) != self._second:
            self._second, self._messages = int(self._clock()), 0
        self._messages += 1
        if self._messages > MAX_FRAMES_PER_S:
            raise InvalidInput(f"more than {MAX_FRAMES_PER_S} messages in a second")


class _Session:
    """What one connected client asked for, and what it was asked."""

    def __init__(self, bus: Bus, connection: ServerConnection, identity: str, allowed: tuple[str, ...]) -> None:
        self._bus = bus
        self._connection = connection
        self._identity = identity
        self._allowed = allowed
        self._subscriptions: list[Subscription] = []
        self._questions: dict[str, asyncio.Future[Message]] = {}
        self._numbers = itertools.count(1)
        self._requests: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Greet the client, then serve it until it hangs up."""
        await self._send(Frame("welcome", topic=self._allowed[0].removesuffix(".#")))
        pace = _Pace(asyncio.get_running_loop().time)
        async for text in self._connection:
            pace.count()
            await self._take(read_frame(text))

    async def end(self, reason: str) -> None:
        """Drop subscriptions and fail what the client still owes an answer to."""
        for request in self._requests:
            request.cancel()
        for question in self._questions.values():
            if not question.done():
                question.set_exception(ManagerError(f"`{self._identity}` did not answer: {reason}"))
        for subscription in self._subscriptions:
            await subscription.cancel()

    async def _take(self, frame: Frame) -> None:
        if frame.kind in ("reply", "failure"):
            self._settle(frame)
            return
        refusal = self._refusal(frame)
        if refusal:
            logger.warning(
                "bus client refused", extra={"identity": self._identity, "kind": frame.kind, "topic": frame.topic[:120]}
            )
            await self._send(Frame("refused", id=frame.id, topic=frame.topic, error=refusal))
            return
        if frame.kind == "request":
            task = asyncio.get_running_loop().create_task(self._request(frame))
            self._requests.add(task)
            task.add_done_callback(self._requests.discard)
            return
        await self._send(await self._do(frame))

    def _refusal(self, frame: Frame) -> str:
        """Why the client may not do this, or nothing."""
        if frame.kind not in ("subscribe", "respond", "publish", "request"):
            return f"a client may not send `{frame.kind}`"
        if not any(covers(allowed, frame.topic) for allowed in self._allowed):
            return f"`{frame.topic[:80]}` is not yours; use {', '.join(f'`{allowed}`' for allowed in self._allowed)}"
        if len(self._subscriptions) + len(self._requests) >= MAX_SUBSCRIPTIONS:
            return f"at most {MAX_SUBSCRIPTIONS} subscriptions and open requests are allowed"
        return ""

    async def _do(self, frame: Frame) -> Frame:
        try:
            if frame.kind == "publish":
                await self._bus.publish(frame.topic, frame.body)
            elif frame.kind == "subscribe":
                self._subscriptions.append(await self._bus.subscribe(frame.topic, self._forward))
            else:
                self._subscriptions.append(await self._bus.respond(frame.topic, self._ask))
        except SonataError as error:
            return Frame("refused", id=frame.id, topic=frame.topic, error=str(error))
        return Frame("done", id=frame.id, topic=frame.topic)

    async def _request(self, frame: Frame) -> None:
        try:
            body = await self._bus.request(frame.topic, frame.body, timeout_s=MAX_REQUEST_S)
            answer = Frame("reply", id=frame.id, body=body)
        except SonataError as error:
            answer = Frame("failure", id=frame.id, error=str(error))
        await self._send(answer)

    async def _forward(self, topic: str, message: Message) -> None:
        await self._send(Frame("message", topic=topic, body=message))

    async def _ask(self, topic: str, message: Message) -> Mapping[str, Any]:
        """Pass a request on to the client and wait for its answer; the bus keeps the time."""
        number = str(next(self._numbers))
        question: asyncio.Future[Message] = asyncio.get_running_loop().create_future()
        self._questions[number] = question
        try:
            await self._send(Frame("request", id=number, topic=topic, body=message))
            return await question
        finally:
            del self._questions[number]

    def _settle(self, frame: Frame) -> None:
        question = self._questions.get(frame.id)
        if question is None or question.done():
            logger.info("late answer dropped", extra={"identity": self._identity, "id": frame.id[:40]})
        elif frame.kind == "reply":
            question.set_result(frame.body)
        else:
            question.set_exception(ManagerError(frame.error or "it failed without a reason"))

    async def _send(self, frame: Frame) -> None:
        with contextlib.suppress(ConnectionClosed):
            await self._connection.send(write_frame(frame))
