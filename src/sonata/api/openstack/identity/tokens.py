"""Passwords and tokens of the emulated Keystones."""

from __future__ import annotations

import hashlib
import hmac
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from sonata.emulator.cloud.entities.base import new_id
from sonata.emulator.cloud.entities.identity import Project, User
from sonata.errors import NotFound, Unauthorised

LIFETIME_S = 4 * 3600.0
REQUIRED = "The request you have made requires authentication."
ADMIN_ROLES = ("admin", "member", "reader")
Role = Literal["admin", "member", "reader"]
IMPLIED: Mapping[str, frozenset[str]] = {
    "admin": frozenset(("admin", "member", "reader")),
    "member": frozenset(("member", "reader")),
    "reader": frozenset(("reader",)),
}
"""What a role brings with it (Keystone's bootstrap)."""


@dataclass(frozen=True, slots=True)
class Token:
    """A token: good for one PoP and one project until it expires. Times are Unix times in seconds."""

    pop: str
    user: User
    project: Project
    roles: tuple[str, ...]
    methods: tuple[str, ...]
    issued_at: float
    expires_at: float
    audit_id: str

    @property
    def is_admin(self) -> bool:
        """Whether it carries the role `admin`."""
        return "admin" in self.roles

    def allows(self, needed: Role) -> bool:
        """Whether one of its roles is the one needed, or brings it with it."""
        return any(needed in IMPLIED.get(role, ()) for role in self.roles)


class Tokens:
    """The tokens of all PoPs. Only their hashes are kept, so that looking one up tells nothing by its timing."""

    def __init__(self) -> None:
        self._tokens: dict[bytes, Token] = {}

    def issue(
        self, pop: str, user: User, project: Project, roles: tuple[str, ...], methods: tuple[str, ...]
    ) -> tuple[str, Token]:
        """Make a token; returns its secret and what it stands for."""
        now = time.time()
        self._forget_expired(now)
        secret = secrets.token_urlsafe(32)
        token = Token(pop, user, project, roles, methods, now, now + LIFETIME_S, new_id())
        self._tokens[_digest(secret)] = token
        return secret, token

    def check(self, pop: str, secret: str) -> Token:
        """What a token stands for.

        Raises:
            Unauthorised: it is unknown, expired, or of another PoP.
        """
        token = self._tokens.get(_digest(secret))
        if token is None or token.pop != pop or token.expires_at <= time.time():
            raise Unauthorised(REQUIRED)
        return token

    def subject(self, pop: str, secret: str) -> Token:
        """What a token that is asked about stands for.

        Raises:
            NotFound: it is not valid here.
        """
        try:
            return self.check(pop, secret)
        except Unauthorised:
            raise NotFound("Could not find token.") from None

    def revoke(self, secret: str) -> None:
        """Make a token worthless; idempotent."""
        self._tokens.pop(_digest(secret), None)

    def _forget_expired(self, now: float) -> None:
        # Tokens are kept in the order of their issue and live equally long: the oldest expire first.
        while self._tokens and (oldest := next(iter(self._tokens.items())))[1].expires_at <= now:
            del self._tokens[oldest[0]]


def same_secret(given: object, expected: str) -> bool:
    """Compare secrets in constant time."""
    return isinstance(given, str) and hmac.compare_digest(given.encode(), expected.encode())


def _digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode(errors="replace")).digest()
