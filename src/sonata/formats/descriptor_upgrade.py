"""What descriptors of SONATA's first year wrote differently.

They named connection points with their owner, `ns:input`, `vnf:input`, `vdu01:eth0`, where today's name is `input`, and
referred to a service's or VNF's own ones in the same way. Where the owner in the name is not the id of the unit, links
mean the unit all the same.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from sonata.errors import Diagnostic
from sonata.formats.findings import path_text
from sonata.formats.yaml_nodes import YamlDocument

_OWN_PREFIXES = ("ns", "vnf")
_Place = tuple[list[Any] | dict[str, Any], Any, tuple[str | int, ...]]


def upgrade_point_names(data: Any, source: YamlDocument) -> list[Diagnostic]:
    """Write connection points and references in today's form; returns a warning for each change."""
    findings = []
    owners = _owners(data)
    for holder, key, path in [*_names(data), *_references(data)]:
        old = holder[key]
        new = old.rpartition(":")[2] if key == "id" else _reference(old, owners)
        if new != old:
            holder[key] = new
            summary = f"`{path_text(path)}`: `{old}` is the old form of `{new}`"
            findings.append(source.diagnostic("DESC-0002", summary, path, warning=True))
    return findings


def _owners(data: Any) -> dict[str, str]:
    """Id of the unit by the name under which its connection points mention it."""
    owners = {}
    for unit, _ in _items(data, "virtual_deployment_units"):
        for point, _ in _items(unit, "connection_points"):
            owner = str(point.get("id")).rpartition(":")[0]
            if owner and isinstance(unit.get("id"), str | int):
                owners[owner] = str(unit["id"])
    return owners


def _reference(text: str, owners: dict[str, str]) -> str:
    owner, _, point = text.rpartition(":")
    if owner in _OWN_PREFIXES:
        return point
    return f"{owners[owner]}:{point}" if owner in owners else text


def _names(data: Any) -> Iterator[_Place]:
    yield from _texts(data, "connection_points", "id")
    for unit, path in _items(data, "virtual_deployment_units"):
        yield from _texts(unit, "connection_points", "id", path)


def _references(data: Any) -> Iterator[_Place]:
    for link, path in _items(data, "virtual_links"):
        ends = link.get("connection_points_reference")
        if isinstance(ends, list):
            texts = (index for index, end in enumerate(ends) if isinstance(end, str))
            yield from ((ends, index, (*path, "connection_points_reference", index)) for index in texts)
    for graph, above in _items(data, "forwarding_graphs"):
        for route, path in _items(graph, "network_forwarding_paths", above):
            yield from _texts(route, "connection_points", "connection_point_ref", path)


def _texts(data: Any, where: str, key: str, above: tuple[str | int, ...] = ()) -> Iterator[_Place]:
    for item, path in _items(data, where, above):
        if isinstance(item.get(key), str):
            yield item, key, (*path, key)


def _items(
    data: Any, where: str, above: tuple[str | int, ...] = ()
) -> Iterator[tuple[dict[str, Any], tuple[str | int, ...]]]:
    """Mappings in a list below a key, with their path; nothing where the document has another shape."""
    values = data.get(where) if isinstance(data, dict) else None
    for index, item in enumerate(values if isinstance(values, list) else ()):
        if isinstance(item, dict):
            yield item, (*above, where, index)
