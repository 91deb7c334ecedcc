"""Frozen values to plain JSON values and back, by their type hints."""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec

T = TypeVar("T")


def to_plain(value: Any) -> Any:
    """JSON form of a value made of dataclasses, enums, tuples, mappings and bytes."""
    return msgspec.to_builtins(value)


def from_plain(plain: Any, kind: type[T]) -> T:
    """The value of type `kind` whose JSON form `plain` is.

    Raises:
        ValueError: it does not fit; the message names the path.
    """
    try:
        return msgspec.convert(plain, kind)
    except msgspec.ValidationError as error:
        raise ValueError(f"cannot read a `{getattr(kind, '__name__', kind)}`: {error}") from error


def encode(value: Any) -> bytes:
    """JSON text of a value."""
    return msgspec.json.encode(value)


def decode(text: bytes | str) -> Any:
    """Plain values of a JSON text."""
    return msgspec.json.decode(text)
