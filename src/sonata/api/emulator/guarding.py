"""Who may ask the emulator's own API: whoever holds a token that opens the part."""

from __future__ import annotations

import hmac
from collections.abc import Awaitable, Callable

from starlette.requests import HTTPConnection, Request
from starlette.responses import Response

from sonata.errors import Unauthorised

Handler = Callable[[Request], Awaitable[Response]]
Guard = Callable[[Handler], Handler]


def guard_of(*tokens: str) -> Guard:
    """A decorator that lets requests with one of these tokens through."""

    def guard(handler: Handler) -> Handler:
        async def guarded(request: Request) -> Response:
            require_token(request, *tokens)
            return await handler(request)

        return guarded

    return guard


def require_token(asker: HTTPConnection, *tokens: str) -> None:
    """Let those through who have one of these tokens.

    Raises:
        Unauthorised: this one has none of them.
    """
    given = asker.headers.get("Authorization", "").removeprefix("Bearer ").encode()
    if not sum(hmac.compare_digest(given, token.encode()) for token in tokens):
        raise Unauthorised(
            "the token is missing, wrong, or does not open this part",
            hint="`token` and `wan_token` are in `state.json` in the folder of the emulation",
        )
