"""JSON of the emulator's own API: values go out as they are, bodies come in checked."""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from sonata.errors import InvalidInput

T = TypeVar("T")


class JsonResponse(Response):
    """A value, dataclasses included, as JSON."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        """Encode the value; addresses become text."""
        return msgspec.json.encode(content, enc_hook=str)


async def body_of(request: Request, kind: type[T]) -> T:
    """The body of a request as a value of this type.

    Raises:
        InvalidInput: it is no JSON of this form; the message names the place.
    """
    try:
        return msgspec.json.decode(await request.body(), type=kind)
    except (msgspec.DecodeError, RecursionError) as error:
        raise InvalidInput(f"request body: {error}", hint="see the reference of the emulator's API") from error
