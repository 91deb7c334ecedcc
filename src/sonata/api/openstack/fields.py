"""Fields of resources, declared once: their name on the wire, how they are read, checked and shown."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import field
from datetime import UTC, datetime
from functools import lru_cache
from ipaddress import IPv4Address, ip_address, ip_network
from typing import Any

from sonata._lib.ip import Address, Prefix
from sonata._lib.values import dataclass
from sonata.emulator.cloud import Cloud
from sonata.errors import Diagnostic, InvalidInput

LONGEST_TEXT = 255


@dataclass(frozen=True, slots=True)
class Kind:
    """A type of values: `read` checks one from the wire and raises ValueError, `show` turns it back.

    Args:
        schema: JSON Schema of what `read` takes, for the description of the API; empty for anything.
    """

    read: Callable[[Any], Any]
    show: Callable[[Any], Any] = lambda value: value
    schema: Mapping[str, Any] = field(default_factory=dict)


def _read_text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(f"'{value}' is not a valid string.")
    if len(value) > LONGEST_TEXT:
        raise ValueError(f"'{value[:20]}...' exceeds maximum length of {LONGEST_TEXT}.")
    return value


def _read_flag(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    known = {"true": True, "false": False, "1": True, "0": False}
    try:
        return known[str(value).lower()]
    except KeyError:
        raise ValueError(f"'{value}' cannot be converted to boolean") from None


def _read_address(value: Any) -> Address:
    try:
        return ip_address(str(value))
    except ValueError:
        raise ValueError(f"'{value}' is not a valid IP address.") from None


def _read_ipv4_address(value: Any) -> IPv4Address:
    try:
        return IPv4Address(value)
    except ValueError:
        raise ValueError(f"'{value}' is not a valid IPv4 address.") from None


def _read_cidr(value: Any) -> Prefix:
    try:
        return ip_network(str(value), strict=False)
    except ValueError:
        raise ValueError(f"'{value}' is not a valid IP subnet.") from None


def _read_mac(value: Any) -> str:
    if not isinstance(value, str) or not re.fullmatch(r"(?i)[0-9a-f]{2}([:-][0-9a-f]{2}){5}", value):
        raise ValueError(f"'{value}' is not a valid MAC address.")
    if int(value[:2], 16) & 1:
        raise ValueError(f"'{value}' is a multicast MAC address.")
    return value.lower().replace("-", ":")


def _read_texts(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list):
        raise ValueError(f"'{value}' is not a list.")
    return tuple(map(_read_text, value))


def _read_tags(value: Any) -> tuple[str, ...]:
    tags = _read_texts(value)
    if too_long := [tag for tag in tags if not 0 < len(tag) <= 255]:
        raise ValueError(f"'{too_long[0]}' is no tag: 1 to 255 characters are needed.")
    return tuple(dict.fromkeys(tags))


def _read_object(value: Any) -> dict[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise ValueError(f"'{value}' is not a dictionary.")
    return value


def integer(low: int, high: int) -> Kind:
    """Whole numbers from `low` to `high`."""

    def read(value: Any) -> int:
        try:
            number = int(value)
        except (TypeError, ValueError):
            raise ValueError(f"'{value}' is not an integer.") from None
        if isinstance(value, bool | float) or not low <= number <= high:
            raise ValueError(f"'{value}' is not in valid range {low}..{high}.")
        return number

    return Kind(read, schema={"type": "integer", "minimum": low, "maximum": high})


def _read_ip_version(value: Any) -> int:
    if str(value) not in ("4", "6"):
        raise ValueError(f"'{value}' is not in [4, 6].")
    return int(value)


def one_of(*choices: str) -> Kind:
    """One of a few words, in any case."""

    def read(value: Any) -> str:
        for choice in choices:
            if str(value).lower() == choice.lower():
                return choice
        raise ValueError(f"'{value}' is not in {list(choices)}.")

    return Kind(read, schema={"type": "string", "enum": list(choices)})


def or_none(kind: Kind, empty: Any = None) -> Kind:
    """A kind, or null; inside null is `empty`."""
    return Kind(
        read=lambda value: empty if value is None else kind.read(value),
        show=lambda value: None if value == empty else kind.show(value),
        schema={"anyOf": [kind.schema, {"type": "null"}]} if kind.schema else {},
    )


def as_is(value: Any) -> Any:
    """Any value."""
    return value


TEXT_SCHEMA = {"type": "string", "maxLength": LONGEST_TEXT}
TEXT = Kind(_read_text, schema=TEXT_SCHEMA)
FLAG = Kind(_read_flag, schema={"type": "boolean"})
IP_VERSION = Kind(_read_ip_version, schema={"enum": [4, 6]})
IPV4_ADDRESS = Kind(_read_ipv4_address, str, {"type": "string", "format": "ipv4"})
ADDRESS = Kind(_read_address, str, {"type": "string", "format": "ip"})
CIDR = Kind(_read_cidr, str, {"type": "string", "format": "cidr"})
MAC = Kind(_read_mac, schema={"type": "string", "format": "mac"})
TEXTS = Kind(_read_texts, list, {"type": "array", "items": TEXT_SCHEMA})
TAGS = Kind(_read_tags, list, {"type": "array", "items": {**TEXT_SCHEMA, "minLength": 1}})
OBJECT = Kind(_read_object, dict, {"type": "object"})
ANYTHING = Kind(as_is)


@lru_cache(maxsize=2048)  # two for each of a thousand servers; more would be old ones by and by
def timestamp(seconds: float) -> str:
    """Unix time as OpenStack writes it; lists ask again and again for the same ones."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


TIME = Kind(as_is, timestamp)

Computed = Callable[[Cloud, Any], Any]


@dataclass(frozen=True, slots=True)
class Field:
    """A field of a resource.

    Args:
        name: on the wire.
        kind: how it is read and shown.
        attr: attribute of the entity, the name when empty.
        access: `c` may be given at creation, `u` in an update; empty for read only.
        required: must be given at creation.
        computed: how it is found out where no attribute holds it.
        hidden: is read, but not shown.
        admin: only administrators see it, or give it.
    """

    name: str
    kind: Kind = ANYTHING
    attr: str = ""
    access: str = ""
    required: bool = False
    computed: Computed | None = None
    hidden: bool = False
    admin: bool = False

    @property
    def key(self) -> str:
        """The entity's attribute."""
        return self.attr or self.name

    def show(self, cloud: Cloud, entity: Any) -> Any:
        """The field's value in a document."""
        if self.computed:
            return self.computed(cloud, entity)
        return self.kind.show(getattr(entity, self.key))


def computed(name: str, how: Computed) -> Field:
    """A read-only field that is found out."""
    return Field(name, computed=how)


def constant(name: str, value: Any) -> Field:
    """A read-only field that is always the same here."""
    return Field(name, computed=lambda _cloud, _entity: value)


def read_fields(fields: Iterable[Field], body: Mapping[str, Any], mode: str) -> dict[str, Any]:
    """The values of a request body by attribute.

    In `mode` `c` (creation) or `u` (update) only the fields that may be given then are taken.

    Raises:
        InvalidInput: with all findings: unknown, read-only, missing or ill-formed fields.
    """
    by_name = {field.name: field for field in fields}
    findings: list[str] = []
    values: dict[str, Any] = {}
    for name, value in body.items():
        field = by_name.get(name)
        if field is None:
            findings.append(f"Unrecognized attribute(s) '{name}'")
        elif mode not in field.access:
            findings.append(_not_allowed(name, mode))
        else:
            _read_one(field, value, values, findings)
    if mode == "c":
        missing = [field.name for field in by_name.values() if field.required and field.name not in body]
        findings += [f"Failed to parse request. Required attribute '{name}' not specified" for name in missing]
    if findings:
        raise InvalidInput("; ".join(findings), diagnostics=[Diagnostic("error", "OS-0001", text) for text in findings])
    return values


def schema_of(fields: Iterable[Field], mode: str) -> dict[str, Any]:
    """The JSON Schema of what `read_fields` takes in a mode."""
    taken = [field for field in fields if mode in field.access]
    return {
        "type": "object",
        "properties": {field.name: dict(field.kind.schema) for field in taken},
        "required": [field.name for field in taken if field.required and mode == "c"],
        "additionalProperties": False,
    }


def _not_allowed(name: str, mode: str) -> str:
    return f"Cannot update read-only attribute {name}" if mode == "u" else f"Attribute '{name}' not allowed in POST"


def _read_one(field: Field, value: Any, values: dict[str, Any], findings: list[str]) -> None:
    try:
        values[field.key] = field.kind.read(value)
    except ValueError as error:
        findings.append(f"Invalid input for {field.name}. Reason: {error}")
