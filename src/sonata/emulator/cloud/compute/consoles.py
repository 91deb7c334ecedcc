"""Who may open a server's console: tokens that are good once and for a short time."""

from __future__ import annotations

import hashlib
import secrets
import time
from collections.abc import Sequence

from sonata._lib.values import dataclass
from sonata.emulator.cloud.compute.power import Power
from sonata.emulator.cloud.compute.states import is_on
from sonata.emulator.cloud.entities.compute import Server
from sonata.emulator.cloud.tables import Table
from sonata.errors import Conflict, NotFound
from sonata.ports.runtime import Terminal

LIFETIME_S = 600.0
SHELL = ("sh", "-c", "if command -v bash >/dev/null; then exec bash; else exec sh; fi")
"""Every image with a shell has one of these."""


@dataclass(frozen=True, slots=True)
class Granted:
    """What a token is good for."""

    server_id: str
    expires_at: float


class Consoles:
    """Consoles of one cloud's servers. Only hashes of tokens are kept, so that timing tells nothing."""

    def __init__(self, servers: Table[Server], power: Power) -> None:
        self._servers = servers
        self._power = power
        self._tokens: dict[bytes, Granted] = {}

    def issue(self, server_id: str) -> str:
        """A token for a server's console."""
        now = time.time()
        self._tokens = {key: granted for key, granted in self._tokens.items() if granted.expires_at > now}
        token = secrets.token_urlsafe(32)
        self._tokens[_digest(token)] = Granted(server_id, now + LIFETIME_S)
        return token

    def peek(self, token: str) -> Granted | None:
        """What a token is good for; None when for nothing."""
        granted = self._tokens.get(_digest(token))
        return granted if granted and granted.expires_at > time.time() else None

    async def open(self, token: str, *, rows: int, columns: int) -> Terminal:
        """A shell in the server that a token is for; the token is used up.

        Raises:
            NotFound: the token is worthless.
            Conflict: the server is off.
        """
        granted = self.peek(token)
        self._tokens.pop(_digest(token), None)
        server = self._servers.peek(granted.server_id) if granted else None
        if server is None:
            raise NotFound("Token not found")
        return await self.shell(server, SHELL, rows=rows, columns=columns)

    async def shell(self, server: Server, argv: Sequence[str], *, rows: int, columns: int) -> Terminal:
        """A program on a terminal in a server.

        Raises:
            Conflict: the server is off.
        """
        if not is_on(server):
            raise Conflict(f"Instance {server.id} is not ready: it is {server.status}")
        return await self._power.terminal(server, argv, rows=rows, columns=columns)


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode(errors="replace")).digest()
