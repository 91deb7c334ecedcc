"""Who may call: bearers of the admin token. And how routes reach the platform."""

from __future__ import annotations

import hmac
from typing import Annotated

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from sonata.errors import Unauthorised
from sonata.mano.platform import Platform

_bearer = HTTPBearer(auto_error=False, description="The admin token, made at the first start of the platform.")


async def require_token(
    request: Request, given: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]
) -> None:
    """Refuse requests without the right token; takes the same time for every wrong one."""
    wanted: str = request.app.state.token
    if given is None or not hmac.compare_digest(given.credentials.encode(), wanted.encode()):
        raise Unauthorised("the bearer token is missing or wrong", hint="it is in `admin-token` in the data folder")


def _platform(request: Request) -> Platform:
    platform: Platform = request.app.state.platform
    return platform


PlatformOf = Annotated[Platform, Depends(_platform)]
