"""The message bus between platform functions and managers.

Topics are dot separated; patterns follow AMQP (`*` one word, `#` any number). Publishing is at most once. Messages are
JSON objects of at most 1 MiB. A request without a reply is a time-out; correctness never depends on the bus.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Protocol

Message = Mapping[str, Any]
Handler = Callable[[str, Message], Awaitable[None]]
Responder = Callable[[str, Message], Awaitable[Message]]


class Subscription(Protocol):
    """Something that can be ended."""

    async def cancel(self) -> None:
        """Stop receiving. Idempotent."""


class Bus(Protocol):
    """Publish, subscribe, ask and answer."""

    async def publish(self, topic: str, message: Message) -> None:
        """Send to all subscribers that listen now."""

    async def subscribe(self, pattern: str, handler: Handler) -> Subscription:
        """Call `handler(topic, message)` for each message whose topic matches."""

    async def request(self, topic: str, message: Message, *, timeout_s: float) -> Message:
        """Ask the responder of a topic.

        Raises:
            TransientError: nobody answered within `timeout_s`.
            ManagerError: the responder answered that it failed.
        """

    async def respond(self, topic: str, responder: Responder) -> Subscription:
        """Answer requests on a topic."""

    async def close(self) -> None:
        """End all subscriptions."""
