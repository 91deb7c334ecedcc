"""What a reader of the reference is told about a part of an API, declared beside the code that answers it."""

from __future__ import annotations

from sonata._lib.values import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Truth:
    """What a reader of the reference should know of a resource: one sentence each.

    Args:
        real: what takes its true effect in the running infrastructure.
        simplified: what differs from a production OpenStack, though it answers alike.
        refused: what is answered with an error, and which.
    """

    real: tuple[str, ...] = ()
    simplified: tuple[str, ...] = ()
    refused: tuple[str, ...] = ()


NOTHING_TOLD = Truth()
WORDS = ("real", "simplified", "refused")
"""The fields of a truth, in the order in which they are told."""


@dataclass(frozen=True, slots=True)
class Topic:
    """A part of an API, e.g. a resource with all that can be done with it."""

    title: str
    truth: Truth = NOTHING_TOLD


GENERAL = Topic("Versions and general")
