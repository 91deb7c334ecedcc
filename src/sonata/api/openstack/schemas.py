"""JSON Schemas of request bodies in a few words, for routes that no `Resource` declares.

They describe what clients send; the handlers read and refuse bodies themselves, in the words of their service. A
`format` names what JSON Schema has no words for: `cidr`, `ip` (of version 4 or 6), `mac`, `template-version`, ...
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

Schema = dict[str, Any]
Properties = Mapping[str, Schema]

WORDS: Schema = {"type": "string", "maxLength": 255}
NAME: Schema = {**WORDS, "minLength": 1}
ANY_TEXT: Schema = {"type": "string"}
ZONE: Schema = {"type": "string", "format": "availability-zone"}
ADDRESS: Schema = {"type": "string", "format": "ip"}
ID: Schema = {**WORDS, "minLength": 1}
SWITCH: Schema = {"type": "boolean"}
TEXTS: Schema = {"type": "object", "additionalProperties": WORDS}
SOME_WORDS: Schema = {"type": "array", "items": {**WORDS, "minLength": 1}}
ANYTHING: Schema = {"type": "object"}
NOTHING: Schema = {"type": "null"}


def number(low: int, high: int = 2**31 - 1) -> Schema:
    """Whole numbers from `low` to `high`."""
    return {"type": "integer", "minimum": low, "maximum": high}


def choice(*words: str) -> Schema:
    """One of a few words."""
    return {"type": "string", "enum": list(words)}


def many(one: Schema) -> Schema:
    """A list of something."""
    return {"type": "array", "items": one}


def either(*schemas: Schema) -> Schema:
    """One of several forms."""
    return {"anyOf": list(schemas)}


def maybe(schema: Schema) -> Schema:
    """Something, or null."""
    return either(schema, NOTHING)


def record(properties: Properties, required: Iterable[str] = ()) -> Schema:
    """An object with these properties and no others."""
    return {
        "type": "object",
        "properties": dict(properties),
        "required": list(required),
        "additionalProperties": False,
    }


def member(name: str, properties: Properties, required: Iterable[str] = ()) -> Schema:
    """A body with one object under its name, as most of OpenStack's are."""
    return record({name: record(properties, required)}, [name])


def action(actions: Properties) -> Schema:
    """A body that names exactly one action, with its arguments."""
    return {"anyOf": [record({name: arguments}, [name]) for name, arguments in actions.items()]}


def limits(name: str, quotas: Iterable[str], further: Properties | None = None) -> Schema:
    """A body of quotas by name; -1 is no limit."""
    return member(name, {**{quota: number(-1) for quota in quotas}, **(further or {})})
