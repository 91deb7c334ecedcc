"""Comparing secrets."""

from __future__ import annotations

import hmac


def same_secret(given: object, expected: str) -> bool:
    """Compare secrets in constant time."""
    return isinstance(given, str) and hmac.compare_digest(given.encode(errors="replace"), expected.encode())
