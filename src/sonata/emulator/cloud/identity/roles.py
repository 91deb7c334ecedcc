"""The three roles that mean something, and what each brings with it (Keystone's bootstrap)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Literal

Needed = Literal["any", "reader", "member", "admin"]
"""What a caller needs: a role in the project, or `any` for a valid token of whatever scope."""

STANDARD = ("admin", "member", "reader")
IMPLIED: Mapping[str, tuple[str, ...]] = {"admin": ("member", "reader"), "member": ("reader",)}


def with_implied(names: Iterable[str]) -> tuple[str, ...]:
    """Roles and those that they bring with them, each once."""
    found: dict[str, None] = {}
    for name in names:
        found.update(dict.fromkeys((name, *IMPLIED.get(name, ()))))
    return tuple(found)
