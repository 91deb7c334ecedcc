"""Why load balancing refuses, in the words that Octavia's clients know."""

from __future__ import annotations

from sonata.errors import Conflict, InvalidInput


class Immutable(Conflict):
    """An object is being changed already."""

    def __init__(self, kind: str, wanted: str) -> None:
        super().__init__(f"{kind} {wanted} is immutable and cannot be updated.")


class Duplicate(Conflict):
    """Something of the same kind is there already."""


class InUse(Conflict):
    """Others need it."""


class Invalid(InvalidInput):
    """A value that cannot be, or not together with others."""

    def __init__(self, detail: str) -> None:
        super().__init__(f"Validation failure: {detail}")
