"""Types of resources as data: their properties, constraints and attributes (`schemas/*.yaml`)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import field
from functools import lru_cache
from importlib.resources import files
from typing import Any

from sonata._lib.values import dataclass
from sonata.formats.yaml_nodes import parse_yaml

SERVICES = ("nova", "neutron", "cinder", "octavia", "keystone", "heat")


@dataclass(frozen=True, slots=True)
class Property:
    """A property of a resource type, or a key in one.

    Args:
        kind: `string`, `integer`, `number`, `boolean`, `list`, `map` or `any`.
        update: whether a change needs no replacement.
        immutable: whether a change is refused.
        allowed: the only values; empty for any.
        low, high: limits of the value; `shortest`, `longest` those of its length.
        custom: kind of object to which the value, a name or an id, must lead.
        items: of a list.
        keys: of a map; empty for any.
        converts: whether text may stand for a list or a map, as in parameters.
        same_as: the property that it is an old name of; it is taken, but not shown.
    """

    kind: str
    required: bool = False
    default: Any = None
    update: bool = False
    immutable: bool = False
    allowed: tuple[Any, ...] = ()
    low: float | None = None
    high: float | None = None
    shortest: int | None = None
    longest: int | None = None
    pattern: str = ""
    custom: str = ""
    items: Property | None = None
    keys: Mapping[str, Property] = field(default_factory=dict)
    converts: bool = False
    same_as: str = ""


@dataclass(frozen=True, slots=True)
class TypeSchema:
    """A resource type.

    Args:
        name: as templates call it.
        properties: by name.
        attributes: their types by name; `hidden` ones are given, but not shown.
        checked: whether the check of a stack looks at it; of others Heat tells that it does not.
    """

    name: str
    properties: Mapping[str, Property]
    attributes: Mapping[str, str]
    checked: bool = False

    @property
    def shown_attributes(self) -> dict[str, str]:
        """The attributes that users are told of."""
        return {name: kind for name, kind in {**self.attributes, "show": "map"}.items() if kind != "hidden"}


@lru_cache(maxsize=1)
def type_schemas() -> Mapping[str, TypeSchema]:
    """All types in the files, by name."""
    return {schema.name: schema for service in SERVICES for schema in _of_service(service)}


def _of_service(service: str) -> Iterator[TypeSchema]:
    file = files("sonata.emulator.cloud.orchestration") / "schemas" / f"{service}.yaml"
    for name, document in parse_yaml(file.read_text("utf-8"), f"{service}.yaml").data.items():
        properties = {key: _property(one) for key, one in document["properties"].items()}
        yield TypeSchema(name, properties, document.get("attributes") or {}, document.get("checked", False))


def _property(one: Mapping[str, Any]) -> Property:
    low, high = one.get("range", (None, None))
    shortest, longest = one.get("length", (None, None))
    return Property(
        kind=one["type"],
        required=one.get("required", False),
        default=one.get("default"),
        update=one.get("update", False),
        immutable=one.get("immutable", False),
        allowed=tuple(_numbered(one.get("allowed", ()))),
        low=low,
        high=high,
        shortest=shortest,
        longest=longest,
        pattern=one.get("pattern", ""),
        custom=one.get("custom", ""),
        items=_property(one["items"]) if "items" in one else None,
        keys={key: _property(inner) for key, inner in one.get("keys", {}).items()},
        same_as=one.get("same_as", ""),
    )


def _numbered(allowed: Iterable[Any]) -> Iterator[Any]:
    """Allowed values, of which `0..255` are all these numbers."""
    for one in allowed:
        first, dots, last = str(one).partition("..")
        if dots:
            yield from range(int(first), int(last) + 1)
        else:
            yield one


def shown_all(properties: Mapping[str, Property]) -> dict[str, Any]:
    """Properties as the API shows them, without old names."""
    return {name: shown(one) for name, one in properties.items() if not one.same_as}


def shown(one: Property) -> dict[str, Any]:
    """A property as the API shows it (`resource_types/{type}`)."""
    document: dict[str, Any] = {
        "type": one.kind,
        "required": one.required,
        "update_allowed": one.update,
        "immutable": one.immutable,
    }
    if one.default is not None:
        document["default"] = one.default
    if constraints := _constraints(one):
        document["constraints"] = constraints
    if one.items:
        document["schema"] = {"*": shown(one.items)}
    if one.keys:
        document["schema"] = shown_all(one.keys)
    return document


def _constraints(one: Property) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    if one.allowed:
        found.append({"allowed_values": list(one.allowed)})
    if one.low is not None or one.high is not None:
        found.append({"range": _limits(one.low, one.high)})
    if one.shortest is not None or one.longest is not None:
        found.append({"length": _limits(one.shortest, one.longest)})
    if one.pattern:
        found.append({"allowed_pattern": one.pattern})
    if one.custom:
        found.append({"custom_constraint": one.custom})
    return found


def _limits(low: float | None, high: float | None) -> dict[str, float]:
    return {key: limit for key, limit in (("min", low), ("max", high)) if limit is not None}
