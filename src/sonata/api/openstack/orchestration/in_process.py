"""Calls of the stack engine: requests to the same surface, without a socket, with a token of the stack's owner.

The token is issued anew for each call, so that a role taken from the owner, or a user disabled, takes effect at once,
as with the trusts of Heat.
"""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import Any
from urllib.parse import quote

import msgspec
from starlette.types import ASGIApp

from sonata.emulator.cloud import Cloud
from sonata.emulator.cloud.entities.orchestration import Owner
from sonata.emulator.cloud.identity.tokens import Scope
from sonata.emulator.cloud.orchestration.calls import OpenStackCalls
from sonata.errors import SonataError

VERSIONS = {"compute": "compute 2.96", "volume": "volume 3.70"}
"""The microversions in which the engine speaks."""


class InProcess:
    """Gives the stacks of one PoP calls in the names of their owners.

    Args:
        app: the surface.
        pop: its name in paths.
    """

    def __init__(self, app: ASGIApp, cloud: Cloud, pop: str) -> None:
        self._app = app
        self._cloud = cloud
        self._pop = pop

    def calls_for(self, owner: Owner) -> OpenStackCalls:
        """Calls in the name of an owner."""
        return _OwnersCalls(self._app, self._cloud, self._pop, owner)


class _OwnersCalls:
    def __init__(self, app: ASGIApp, cloud: Cloud, pop: str, owner: Owner) -> None:
        self._app = app
        self._cloud = cloud
        self._pop = pop
        self._owner = owner

    async def call(self, service: str, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        """Send a request; status and decoded body."""
        try:
            secret = self._token()
        except SonataError as error:
            return 403, {"message": f"the owner of the stack may not act any more: {error.message}"}
        exchange = _Exchange(msgspec.json.encode(body) if body is not None else b"")
        await self._app(self._scope(service, method, path, secret), exchange.receive, exchange.send)
        return exchange.status, exchange.document()

    def _token(self) -> str:
        user = self._cloud.tables.users.get(self._owner.user_id)
        secret, _token = self._cloud.identity.tokens.issue(
            user, Scope("project", self._owner.project_id), ("password",)
        )
        return secret

    def _scope(self, service: str, method: str, path: str, secret: str) -> dict[str, Any]:
        below, _, query = path.partition("?")
        full = f"/{self._pop}/{service}{below}"
        headers = {
            "host": "localhost",
            "x-auth-token": secret,
            "content-type": "application/json",
            "openstack-api-version": VERSIONS.get(service, ""),
        }
        return {
            "type": "http",
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": full,
            "raw_path": quote(full).encode(),
            "query_string": query.encode(),
            "root_path": "",
            "headers": [(name.encode(), value.encode()) for name, value in headers.items() if value],
            "server": ("localhost", 80),
            "client": ("localhost", 0),
        }


class _Exchange:
    """One request and its answer, in the form of ASGI."""

    def __init__(self, body: bytes) -> None:
        self._body = body
        self._answer = bytearray()
        self.status = 500

    async def receive(self) -> dict[str, Any]:
        """The request's body, whole."""
        body, self._body = self._body, b""
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(self, message: MutableMapping[str, Any]) -> None:
        """A part of the answer."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
        else:
            self._answer += message.get("body", b"")

    def document(self) -> Any:
        """The answer's body decoded, None where there is none."""
        return msgspec.json.decode(self._answer) if self._answer else None
