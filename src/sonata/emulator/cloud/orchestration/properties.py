"""Properties of resources against the schema of their type: conversion, constraints, and what an update changes."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any

from sonata.emulator.cloud.orchestration.schema import Property
from sonata.formats.hot.errors import StackValidationFailed

Schema = Mapping[str, Property]


def checked(where: str, schema: Schema, given: Mapping[str, Any], unknown: Collection[str] = ()) -> dict[str, Any]:
    """The properties in their types, defaults filled in; absent ones without a default are left out.

    Args:
        schema: of the type.
        given: resolved values.
        where: name for messages, e.g. `resources.server.properties`.
        unknown: names whose values are not known yet and are not looked at.

    Raises:
        StackValidationFailed: with all findings.
    """
    findings: list[str] = []
    values = _map(schema, {key: one for key, one in given.items() if key not in unknown}, "", findings, set(unknown))
    if findings:
        raise StackValidationFailed("; ".join(f"Property error: {where}.{text}" for text in findings))
    return values


def changed(old: Mapping[str, Any], new: Mapping[str, Any]) -> frozenset[str]:
    """Names of the properties that differ."""
    return frozenset(key for key in old.keys() | new.keys() if old.get(key) != new.get(key))


def _map(schema: Schema, given: Mapping[str, Any], path: str, findings: list[str], unknown: set[str]) -> dict[str, Any]:
    findings += [f"{path}{key}: Unknown Property {key}" for key in given if key not in schema]
    given, unknown = _renamed(schema, given, path, findings), {_new_name(schema, key) for key in unknown}
    values: dict[str, Any] = {}
    for key, one in schema.items():
        if one.same_as:
            continue
        value = given.get(key)
        if value is not None:
            values[key] = _value(one, value, f"{path}{key}", findings)
        elif one.required and key not in unknown:
            findings.append(f"{path}{key}: Property {key} not assigned")
        elif one.default is not None and key not in unknown:
            values[key] = one.default
    return values


def _new_name(schema: Schema, key: str) -> str:
    """What a property is called now."""
    return (schema[key].same_as or key) if key in schema else key


def _renamed(schema: Schema, given: Mapping[str, Any], path: str, findings: list[str]) -> dict[str, Any]:
    """Values under the names that properties have now."""
    values: dict[str, Any] = {key: value for key, value in given.items() if _new_name(schema, key) == key}
    for key, value in given.items():
        name = _new_name(schema, key)
        if name == key or value is None:
            continue
        if values.get(name) is not None:
            findings.append(f"{path}{key}: Cannot define the following properties at the same time: {name}, {key}.")
        values[name] = value
    return values


def _value(one: Property, given: Any, path: str, findings: list[str]) -> Any:
    try:
        value = _converted(one, given)
    except (ValueError, TypeError) as error:
        findings.append(f"{path}: {error}")
        return given
    if one.kind == "list":
        if one.items:
            value = [_value(one.items, item, f"{path}[{index}]", findings) for index, item in enumerate(value)]
    elif one.keys and isinstance(value, Mapping):
        value = _map(one.keys, value, f"{path}.", findings, set())
    findings += [f"{path}: {text}" for text in _violations(one, value)]
    return value


def _violations(one: Property, value: Any) -> Iterator[str]:
    for item in value if one.kind == "list" else [value]:
        if one.allowed and item not in one.allowed and str(item) not in map(str, one.allowed):
            yield f'"{item}" is not an allowed value [{", ".join(map(str, one.allowed))}]'
    if (one.low is not None and value < one.low) or (one.high is not None and value > one.high):
        yield f"{value} is out of range (min: {one.low}, max: {one.high})"
    too_short = one.shortest is not None and len(value) < one.shortest
    if too_short or (one.longest is not None and len(value) > one.longest):
        yield f"length ({len(value)}) is out of range (min: {one.shortest}, max: {one.longest})"
    if one.pattern and not re.fullmatch(one.pattern, str(value)):
        yield f'"{value}" does not match pattern "{one.pattern}"'


def _converted(one: Property, given: Any) -> Any:
    """A value in the type of its property.

    Raises:
        ValueError, TypeError: it cannot be.
    """
    if one.converts and isinstance(given, str):
        return _parts(given) if one.kind == "list" else given
    if one.converts and one.kind == "map" and isinstance(given, list | tuple):
        return json.dumps(given)
    return _CONVERTERS[one.kind](given)


def _parts(given: str) -> list[str]:
    return [part.strip() for part in given.split(",")] if given else []


def _string(given: Any) -> str:
    if not isinstance(given, str | int):
        raise ValueError(f"Value must be a string; got {given!r}")
    return str(given)


def _boolean(given: Any) -> bool:
    if isinstance(given, bool):
        return given
    if not isinstance(given, str) or given.lower() not in ("true", "false"):
        raise ValueError(f'"{given}" is not a valid boolean')
    return given.lower() == "true"


def _integer(given: Any) -> int:
    try:
        return int(given)
    except (TypeError, ValueError):
        raise ValueError(f"Value '{given}' is not an integer") from None


def _number(given: Any) -> int | float:
    if isinstance(given, int | float):
        return given
    try:
        return int(given)
    except (TypeError, ValueError):
        return float(given)


def _list(given: Any) -> list[Any]:
    if not isinstance(given, list | tuple):
        raise ValueError(f'"{given!r}" is not a list')
    return list(given)


def _dict(given: Any) -> dict[str, Any]:
    if not isinstance(given, Mapping):
        raise ValueError(f'"{given}" is not a map')
    return dict(given)


_CONVERTERS: Mapping[str, Callable[[Any], Any]] = {
    "string": _string,
    "integer": _integer,
    "number": _number,
    "boolean": _boolean,
    "list": _list,
    "map": _dict,
    "any": lambda given: given,
}
