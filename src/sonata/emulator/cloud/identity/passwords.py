"""Passwords, hashed with argon2id in a thread, since one takes some 20 ms."""

from __future__ import annotations

import asyncio
from functools import cache

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from sonata.errors import InvalidInput

LONGEST = 4096
"""Characters of a password, as in Keystone's default configuration."""

# OWASP's smallest recommendation for argon2id: several logins at a time are no burden to a small machine.
_HASHER = PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1)


async def hashed(password: str) -> str:
    """A password's hash, with its salt and parameters.

    Raises:
        InvalidInput: it is empty or too long.
    """
    if not 0 < len(password) <= LONGEST:
        raise InvalidInput(f"Invalid input for field 'password': 1 to {LONGEST} characters are needed")
    return await asyncio.to_thread(_HASHER.hash, password)


async def matches(known: str, password: str) -> bool:
    """Whether a password is the one hashed; takes equally long when no hash is known."""
    if len(password) > LONGEST:
        return False
    right = await asyncio.to_thread(_verified, known, password)
    return right and bool(known)


def _verified(known: str, password: str) -> bool:
    try:
        return _HASHER.verify(known or _of_nobody(), password)
    except (VerificationError, InvalidHashError):
        return False


@cache
def _of_nobody() -> str:
    return _HASHER.hash("nobody's password")
