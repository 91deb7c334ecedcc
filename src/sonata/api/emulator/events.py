"""What happens in an emulation over HTTP: what is kept as a list, or from then on as JSON lines."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

import msgspec
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import BaseRoute, Route

from sonata._lib.values import dataclass
from sonata.api.emulator.guarding import Guard
from sonata.api.emulator.json import JsonResponse
from sonata.emulator.events import MISSED, Event, EventLog
from sonata.errors import InvalidInput


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which events are asked for: those after a number whose kind begins so; no kinds stand for all."""

    after: int
    kinds: tuple[str, ...]

    def __contains__(self, event: Event) -> bool:
        return not self.kinds or event.kind == MISSED or event.kind.startswith(self.kinds)


class EventApi:
    """Shows the events of an emulation."""

    def __init__(self, log: EventLog) -> None:
        self._log = log

    def routes(self, guard: Guard) -> Sequence[BaseRoute]:
        """Routes, each behind the guard."""
        return [Route("/events", guard(self.kept)), Route("/events/stream", guard(self.stream))]

    async def kept(self, request: Request) -> Response:
        """The events that are kept, oldest first."""
        wanted = _wanted(request)
        return JsonResponse([event for event in self._log.after(wanted.after) if event in wanted])

    async def stream(self, request: Request) -> Response:
        """The events that are kept, then each as it happens, one in a line."""
        return StreamingResponse(self._lines(_wanted(request)), media_type="application/x-ndjson")

    async def _lines(self, wanted: Wanted) -> AsyncIterator[bytes]:
        async for events in self._log.follow(wanted.after):
            if lines := [msgspec.json.encode(event, enc_hook=str) + b"\n" for event in events if event in wanted]:
                yield b"".join(lines)


def _wanted(request: Request) -> Wanted:
    text = request.query_params.get("after", "0")
    if not (text.isascii() and text.isdigit()):
        raise InvalidInput(f"`after` must be the number of an event, not `{text}`", hint="0 stands for all")
    return Wanted(int(text[:18]), tuple(request.query_params.getlist("kind")))
