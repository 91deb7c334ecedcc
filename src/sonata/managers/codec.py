"""Values of `sonata.model` to plain JSON and back, by their own type hints.

Both ends of the bus use it, so that a manager and the platform cannot disagree on a field. Reading checks every type
and tells the path of the first value that does not fit; fields that the reader does not know are skipped, so that an
older manager understands a newer platform.
"""

from __future__ import annotations

import dataclasses
import math
import types
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, Literal, TypeVar, Union, cast, get_args, get_origin, get_type_hints

from sonata.errors import InvalidInput

T = TypeVar("T")


def to_json(value: Any) -> Any:
    """A frozen value as dicts, lists and scalars."""
    if dataclasses.is_dataclass(value):
        return {field.name: to_json(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): to_json(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [to_json(item) for item in value]
    return value


def from_json(kind: type[T], value: Any, where: str = "$") -> T:
    """Read a value of a type from JSON.

    Args:
        kind: a dataclass, or any type that a field of one may have.
        value: what `json.loads` gave.
        where: path of `value`, for messages.

    Raises:
        InvalidInput: a value has the wrong type or is missing; the message begins with its path.
    """
    return cast(T, _read(kind, value, where))


def _read(kind: Any, value: Any, where: str) -> Any:
    if dataclasses.is_dataclass(kind):
        return _read_dataclass(kind, value, where)
    origin = get_origin(kind)
    if origin is None:
        return _read_scalar(kind, value, where)
    return _READERS[origin](get_args(kind), value, where)


def _read_dataclass(kind: Any, value: Any, where: str) -> Any:
    _expect(isinstance(value, Mapping), "an object", value, where)
    hints = _hints(kind)
    values = {}
    for field in dataclasses.fields(kind):
        if field.name in value:
            values[field.name] = _read(hints[field.name], value[field.name], f"{where}.{field.name}")
        elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            raise InvalidInput(f"`{where}.{field.name}` is missing")
    return kind(**values)


@cache
def _hints(kind: Any) -> dict[str, Any]:
    return get_type_hints(kind)


def _read_scalar(kind: Any, value: Any, where: str) -> Any:
    if kind is float:
        is_number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
        _expect(is_number, "a number", value, where)
        return float(value)
    if kind is int:
        _expect(isinstance(value, int) and not isinstance(value, bool), "a whole number", value, where)
    elif kind is type(None):
        _expect(value is None, "null", value, where)
    elif kind is not Any:
        _expect(isinstance(value, kind), _WORDS.get(kind, kind.__name__), value, where)
    return value


def _read_union(arguments: tuple[Any, ...], value: Any, where: str) -> Any:
    if value is None and type(None) in arguments:
        return None
    (kind,) = (argument for argument in arguments if argument is not type(None))
    return _read(kind, value, where)


def _read_tuple(arguments: tuple[Any, ...], value: Any, where: str) -> tuple[Any, ...]:
    is_list = isinstance(value, Sequence) and not isinstance(value, str | bytes)
    _expect(is_list, "a list", value, where)
    if arguments[-1] is Ellipsis:
        arguments = (arguments[0],) * len(value)
    _expect(len(value) == len(arguments), f"a list of {len(arguments)}", value, where)
    pairs = enumerate(zip(arguments, value, strict=True))
    return tuple(_read(kind, item, f"{where}[{index}]") for index, (kind, item) in pairs)


def _read_mapping(arguments: tuple[Any, ...], value: Any, where: str) -> Mapping[str, Any]:
    _expect(isinstance(value, Mapping), "an object", value, where)
    read = {str(key): _read(arguments[1], item, f"{where}.{key}") for key, item in value.items()}
    return types.MappingProxyType(read)


def _read_literal(arguments: tuple[Any, ...], value: Any, where: str) -> Any:
    is_choice = isinstance(value, str) and value in arguments
    _expect(is_choice, "one of " + ", ".join(f"`{choice}`" for choice in arguments), value, where)
    return value


def _expect(holds: bool, what: str, value: Any, where: str) -> None:
    if not holds:
        shown = repr(value)
        raise InvalidInput(f"`{where}` must be {what}, not `{shown if len(shown) <= 60 else shown[:57] + '...'}`")


_WORDS = {str: "a text", bool: "true or false"}
_READERS = {
    Union: _read_union,
    types.UnionType: _read_union,
    tuple: _read_tuple,
    Mapping: _read_mapping,
    Literal: _read_literal,
}
