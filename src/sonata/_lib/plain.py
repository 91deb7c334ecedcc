"""Frozen values to plain JSON values and back, by their type hints."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from ipaddress import (
    IPv4Address,
    IPv4Interface,
    IPv4Network,
    IPv6Address,
    IPv6Interface,
    IPv6Network,
    ip_address,
    ip_interface,
    ip_network,
)
from typing import Any, TypeVar

import msgspec

from sonata._lib.ip import Address, Interface, Prefix

T = TypeVar("T")

_TEXTUAL: Mapping[Any, Callable[[str], Any]] = {
    **{kind: kind for kind in (IPv4Address, IPv4Network, IPv6Address, IPv6Network)},
    **{kind: kind for kind in (IPv4Interface, IPv6Interface)},
    Interface: ip_interface,
    Address: ip_address,
    Prefix: ip_network,
}
"""Kinds that are text in JSON, and how they are read."""


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
    if isinstance(value, Address | Prefix):
        return str(value)
    raise NotImplementedError(f"a `{type(value).__name__}` has no JSON form")


def _from_text(kind: type, plain: Any) -> Any:
    if kind in _TEXTUAL:
        if not isinstance(plain, str):
            raise ValueError(f"an address is text, not `{plain!r}`")
        return _TEXTUAL[kind](plain)
    if kind is object:
        return plain
    raise NotImplementedError(f"a `{kind.__name__}` cannot be read from JSON")
