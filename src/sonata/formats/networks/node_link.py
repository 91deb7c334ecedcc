"""Node-link JSON: of networkx, of TopoHub, and what `sonata emu graph -o json` writes.

Nodes have an `id`, and may have `name` or `label`, `pos` (longitude, latitude), or `location` (latitude, longitude),
`labels`, `cpus`, `memory_bytes`, `disk_bytes`; with a `kind`, only those of kind `pop` are read. `edges` (or `links`)
have `source` and `target`, and may have `name`, `dist` or `length_km` (kilometres), and the fields of `Impairment`,
with `reverse_` before those of the way back.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from sonata.errors import InvalidInput
from sonata.formats.networks.network import (
    DRAWING,
    REVERSE,
    Edge,
    Findings,
    Network,
    Node,
    Place,
    are_on_earth,
    check_references,
    located,
    told_impairment,
)
from sonata.formats.yaml_nodes import YamlDocument, parse_yaml

Entry = Mapping[str, Any]


def read_node_link(text: str, findings: Findings) -> Network:
    """The network of a node-link document."""
    document = _parse(text, findings)
    tree = _tree(text, findings.file)
    entries = _entries(document, "nodes", findings, tree)
    sites = [(node, place) for node, place in entries if node.get("kind", "pop") == "pop"]
    others = {str(node.get("id")) for node, _ in entries} - {str(node.get("id")) for node, _ in sites}
    raw = [_node(node, place, findings) for node, place in sites]
    is_drawing = not are_on_earth(raw)
    nodes = located(raw, findings, is_drawing=is_drawing)
    edges = tuple(
        _edge(edge, place, findings)
        for edge, place in _entries(document, "edges" if "edges" in document else "links", findings, tree)
        if not {str(edge.get("source")), str(edge.get("target"))} & others
    )
    check_references(nodes, edges, findings)
    graph = document.get("graph")
    name = graph.get("name", "") if isinstance(graph, Mapping) else ""
    notes = [DRAWING] if is_drawing else []
    notes += [f"left out: {len(others)} nodes that are no sites, and their links"] if others else []
    kept = tuple(replace(edge, length_km=None) for edge in edges) if is_drawing else edges
    return Network(str(name), nodes, kept, document.get("directed") is True, tuple(notes))


def _parse(text: str, findings: Findings) -> Entry:
    try:
        document = json.loads(text)
    except json.JSONDecodeError as error:
        raise findings.fail("NET-0001", f"no JSON: {error.msg}", (error.lineno, error.colno)) from None
    except (RecursionError, ValueError) as error:  # ValueError: an integer of thousands of digits
        raise findings.fail("NET-0008", f"JSON that is too deep or too long: {error}") from None
    if not isinstance(document, dict) or not isinstance(document.get("nodes"), list):
        raise findings.fail("NET-0004", "there is no list `nodes` in the document", (1, 1))
    return document


def _tree(text: str, file: str) -> YamlDocument | None:
    """The document with its positions; None where this JSON is no YAML that we read, which nearly all is."""
    try:
        return parse_yaml(text, file)
    except InvalidInput:
        return None


def _entries(document: Entry, key: str, findings: Findings, tree: YamlDocument | None) -> list[tuple[Entry, Place]]:
    """The mappings in a list of the document, with their places."""
    found: list[tuple[Entry, Place]] = []
    listed = document.get(key)
    for index, entry in enumerate(listed if isinstance(listed, list) else ()):
        place = tree.position((key, index)) if tree else (0, 0)
        if isinstance(entry, dict):
            found.append((entry, place))
        else:
            findings.add("NET-0001", f"entry {index} of `{key}` is no mapping", place)
    return found


def _node(entry: Entry, place: Place, findings: Findings) -> Node:
    key = _text(entry.get("id"))
    if not key:
        findings.add("NET-0005", "a node has no id", place)
    labels = entry.get("labels")
    memory = findings.positive(entry.get("memory_bytes"), "memory_bytes", place)
    disk = findings.positive(entry.get("disk_bytes"), "disk_bytes", place)
    return Node(
        key=key,
        label=_text(entry.get("name")) or _text(entry.get("label")) or key,
        place=place,
        location=_coordinates(entry, place, findings),
        labels={str(name): str(value) for name, value in labels.items()} if isinstance(labels, dict) else {},
        cpus=findings.positive(entry.get("cpus"), "cpus", place),
        memory_bytes=int(memory) if memory else None,
        disk_bytes=int(disk) if disk else None,
    )


def _coordinates(entry: Entry, place: Place, findings: Findings) -> tuple[float, float] | None:
    """What would be latitude and longitude; None where there are none."""
    for key in ("location", "pos"):
        value = entry.get(key)
        if isinstance(value, list) and len(value) == 2:
            first, second = (findings.number(each, f"`{key}`", place) for each in value)
            if first is None or second is None:
                return None
            return (first, second) if key == "location" else (second, first)
        if value is not None:
            findings.add("NET-0007", f"`{key}` is no list of two numbers", place)
    return None


def _edge(entry: Entry, place: Place, findings: Findings) -> Edge:
    a, b = (_text(entry.get(side)) for side in ("source", "target"))
    if not a or not b:
        findings.add("NET-0006", "a link has not two ends", place, "give it `source` and `target`")
    length = entry.get("length_km", entry.get("dist"))
    return Edge(
        a,
        b,
        place,
        name=_text(entry.get("name")),
        rate_bps=findings.positive(entry.get("rate_bps"), "rate_bps", place),
        length_km=findings.positive(length, "length", place),
        does=told_impairment(entry, findings, place),
        reverse=told_impairment(entry, findings, place, REVERSE),
    )


def _text(value: Any) -> str:
    """An id or a name, which may be a number; empty where there is none."""
    return "" if value is None else str(value)
