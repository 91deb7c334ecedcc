"""Frozen values to plain JSON values and back, by their type hints."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network
from typing import Any, TypeVar

import msgspec

T = TypeVar("T")

_TEXTUAL = (IPv4Address, IPv4Network)
"""Kinds that are text in JSON."""


def to_plain(value: Any) -> Any:
    """JSON form of a value made of dataclasses, enums, tuples, mappings, bytes and addresses."""
    return msgspec.to_builtins(value, enc_hook=_as_text)


def from_plain(plain: Any, kind: type[T]) -> T:
    """The value of type `kind` whose JSON form `plain` is.

    Raises:
        ValueError: it does not fit; the message names the path.
    """
    try:
        return msgspec.convert(plain, kind, dec_hook=_from_text)
    except msgspec.ValidationError as error:
        raise ValueError(f"cannot read a `{getattr(kind, '__name__', kind)}`: {error}") from error


def encode(value: Any) -> bytes:
    """JSON text of a value, of its JSON form or not."""
    return msgspec.json.encode(value, enc_hook=_as_text)


def decode(text: bytes | str) -> Any:
    """Plain values of a JSON text."""
    return msgspec.json.decode(text)


def _as_text(value: Any) -> str:
    if isinstance(value, _TEXTUAL):
        return str(value)
    raise NotImplementedError(f"a `{type(value).__name__}` has no JSON form")


def _from_text(kind: type, plain: Any) -> Any:
    if kind in _TEXTUAL:
        if not isinstance(plain, str):
            raise ValueError(f"an address is text, not `{plain!r}`")
        return kind(plain)
    if kind is object:
        return plain
    raise NotImplementedError(f"a `{kind.__name__}` cannot be read from JSON")
