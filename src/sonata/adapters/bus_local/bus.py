"""`LocalBus`: topics, subscriptions and requests inside of one event loop.

A handler that fails, stalls or floods harms its own subscription only: each has its own queue and its own task, and
what a handler raises is logged. Nothing survives a restart.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine, Sequence
from pathlib import Path
from typing import Any

import msgspec

from sonata.adapters.bus_local.server import ClientSocket
from sonata.adapters.bus_local.topics import check_pattern, check_topic, matches
from sonata.errors import Conflict, InvalidInput, ManagerError, TransientError
from sonata.ports.bus import Handler, Message, Responder, Subscription

logger = logging.getLogger(__name__)
MAX_BYTES = 1024 * 1024
MAX_QUEUED = 1000
"""Messages that may wait for one handler; more are dropped, as publishing is at most once."""


class LocalBus:
    """Implements `ports.bus.Bus` in process; `serve` lets one outside client in per socket."""

    def __init__(self) -> None:
        self._subscriptions: set[_Subscription] = set()
        self._responders: dict[str, _Responder] = {}
        self._sockets: set[ClientSocket] = set()

    async def publish(self, topic: str, message: Message) -> None:
        """Send to all subscribers that listen now.

        Raises:
            InvalidInput: the topic is none, or the message is no JSON object of at most 1 MiB.
        """
        check_topic(topic)
        encoded = _encode(message)
        for subscription in self._subscriptions:
            if matches(subscription.pattern, topic):
                subscription.offer(topic, encoded)

    async def subscribe(self, pattern: str, handler: Handler) -> Subscription:
        """Call `handler(topic, message)` for each message whose topic matches, one after another."""
        check_pattern(pattern)
        subscription = _Subscription(pattern, handler, self._subscriptions)
        self._subscriptions.add(subscription)
        return subscription

    async def request(self, topic: str, message: Message, *, timeout_s: float) -> Message:
        """Ask the responder of a topic.

        Raises:
            TransientError: nobody listens, or no answer came within `timeout_s`.
            ManagerError: the responder answered that it failed, or answered no JSON object of at most 1 MiB.
        """
        check_topic(topic)
        asked = _decode(_encode(message))
        responder = self._responders.get(topic)
        if responder is None:
            raise TransientError(f"nobody answers requests on `{topic}`", call=topic)
        answer = await _result(responder.answer(topic, asked), timeout_s, topic)
        try:
            return _decode(_encode(answer))
        except InvalidInput as error:
            raise ManagerError(f"the answer on `{topic}` cannot be used: {error.message}") from error

    async def respond(self, topic: str, responder: Responder) -> Subscription:
        """Answer requests on a topic.

        Raises:
            Conflict: somebody answers them already.
        """
        check_topic(topic)
        if topic in self._responders:
            raise Conflict(f"requests on `{topic}` are answered already")
        registered = _Responder(topic, responder, self._responders)
        self._responders[topic] = registered
        return registered

    async def serve(self, path: Path, identity: str, allowed_topics: Sequence[str]) -> ClientSocket:
        """Open a WebSocket on a new unix socket for one client.

        Whoever can open the socket is `identity`, and may use the allowed topics and nothing else. The caller
        guards the folder; the socket itself is open to all users, as a sandbox has one of its own.

        Args:
            path: where the socket is made; what a dead process left there is replaced.
            identity: who this is, for logs and errors.
            allowed_topics: topics, or `some.words.#` for all below; the first, without `.#`, is what the client is
                told as its own prefix.
        """
        for allowed in allowed_topics:
            check_topic(allowed.removesuffix(".#"))
        socket = ClientSocket(self, identity, tuple(allowed_topics), self._sockets.discard)
        await socket.open(path)
        self._sockets.add(socket)
        return socket

    async def close(self) -> None:
        """End all subscriptions and hang up on all clients."""
        for socket in tuple(self._sockets):
            await socket.cancel()
        for subscription in tuple(self._subscriptions):
            await subscription.cancel()
        self._responders.clear()


class _Subscription:
    """One handler with its queue; equality is identity."""

    def __init__(self, pattern: str, handler: Handler, siblings: set[_Subscription]) -> None:
        self.pattern = pattern
        self._handler = handler
        self._siblings = siblings
        self._queue: asyncio.Queue[tuple[str, bytes]] = asyncio.Queue(MAX_QUEUED)
        self._task = asyncio.get_running_loop().create_task(self._deliver())

    def offer(self, topic: str, encoded: bytes) -> None:
        """Queue a message, or drop it when the handler is too far behind."""
        try:
            self._queue.put_nowait((topic, encoded))
        except asyncio.QueueFull:
            logger.warning("bus message dropped, its handler is too slow", extra={"topic": topic})

    async def cancel(self) -> None:
        """Stop receiving. Idempotent; also from within the handler."""
        self._siblings.discard(self)
        self._task.cancel()
        if asyncio.current_task() is not self._task:
            await asyncio.wait({self._task})

    async def _deliver(self) -> None:
        while True:
            topic, encoded = await self._queue.get()
            handling = asyncio.ensure_future(self._handler(topic, _decode(encoded)))
            try:
                await asyncio.wait({handling})
            finally:
                handling.cancel()
            _log_failure(handling, topic)


class _Responder:
    def __init__(self, topic: str, answer: Responder, siblings: dict[str, _Responder]) -> None:
        self.topic = topic
        self.answer = answer
        self._siblings = siblings

    async def cancel(self) -> None:
        """Stop answering. Idempotent."""
        if self._siblings.get(self.topic) is self:
            del self._siblings[self.topic]


async def _result(answering: Coroutine[Any, Any, Message] | Any, timeout_s: float, topic: str) -> Message:
    """Result of a responder, within its time; a responder's failure never escapes as itself."""
    task: asyncio.Future[Message] = asyncio.ensure_future(answering)
    try:
        await asyncio.wait({task}, timeout=timeout_s)
    finally:
        expired = not task.done()
        task.cancel()
    if expired:
        raise TransientError(f"no answer on `{topic}` within {timeout_s:g} s", call=topic)
    if task.cancelled():
        raise ManagerError(f"the responder of `{topic}` gave up")
    failure = task.exception()
    if isinstance(failure, ManagerError):
        raise ManagerError(failure.message, hint=failure.hint) from failure
    if failure is not None:
        raise ManagerError(f"the responder of `{topic}` failed: {failure}") from failure
    return task.result()


def _log_failure(handling: asyncio.Future[None], topic: str) -> None:
    failure = None if handling.cancelled() else handling.exception()
    if failure is not None:
        logger.error("bus handler failed", exc_info=failure, extra={"topic": topic})


def _encode(message: Message) -> bytes:
    try:
        encoded = msgspec.json.encode(dict(message))
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidInput(f"a bus message must be a JSON object: {error}") from error
    if len(encoded) > MAX_BYTES:
        raise InvalidInput(f"a bus message has {len(encoded)} bytes, at most {MAX_BYTES} are allowed")
    return encoded


def _decode(encoded: bytes) -> Message:
    decoded: Message = msgspec.json.decode(encoded)
    return decoded
