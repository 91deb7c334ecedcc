"""GraphML: of the Internet Topology Zoo, of networkx, and what `sonata emu graph -o graphml` writes.

Attributes of nodes that are understood, by name: `label` or `name`; `Latitude`, `Longitude`; `Internal` (0 is a network
of somebody else), `hyperedge` (1 is a medium that several share); `cpus`, `memory_bytes`, `disk_bytes`, `labels.*`;
`kind`, of which only `pop` is read. Of links: `LinkSpeedRaw` (bit/s), or `LinkSpeed` with `LinkSpeedUnits`;
`length_km`, `name`, and the fields of `Impairment`, with `reverse_` before those of the way back. Of the graph:
`Network`, `label` or `name`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from sonata.formats.networks.network import (
    REVERSE,
    Edge,
    Findings,
    Network,
    Node,
    check_references,
    told_impairment,
)
from sonata.formats.networks.xml_tree import Element

_UNITS = {"": 1.0, "K": 1e3, "M": 1e6, "G": 1e9, "T": 1e12}
_OWN_LABELS = "labels."
Values = Mapping[str, str]


def read_graphml(root: Element, findings: Findings) -> Network:
    """The network of a GraphML document; what is wrong with it goes to the findings."""
    graph = _only_graph(root, findings)
    attributes = _Attributes(root)
    values = attributes.of(graph, "graph")
    shown = [(each, attributes.of(each, "node")) for each in graph.all("node")]
    others = [each.attributes.get("id", "") for each, found in shown if found.get("kind", "pop") != "pop"]
    nodes = tuple(_node(each, found, findings) for each, found in shown if found.get("kind", "pop") == "pop")
    edges = tuple(
        _edge(each, attributes.of(each, "edge"), findings)
        for each in graph.all("edge")
        if not {each.attributes.get("source"), each.attributes.get("target")} & set(others)
    )
    for each in graph.all("hyperedge"):
        findings.add("NET-0009", "a hyperedge joins any number of nodes, a link two", each.place, "draw a node for it")
    check_references(nodes, edges, findings)
    name = next((values[key] for key in ("Network", "label", "name") if values.get(key)), "")
    notes = (f"left out: {len(others)} nodes that are no sites, and their links",) if others else ()
    return Network(name, nodes, edges, graph.attributes.get("edgedefault") == "directed", notes)


def _only_graph(root: Element, findings: Findings) -> Element:
    graphs = list(root.all("graph"))
    if not graphs:
        raise findings.fail("NET-0004", "there is no `graph` in the document", root.place)
    for further in graphs[1:]:
        findings.add("NET-0004", "there is more than one graph", further.place, "keep one of them in the file")
    for node in graphs[0].all("node"):
        for inner in node.all("graph"):
            findings.add("NET-0009", "a graph within a node has no equal in topologies", inner.place, "draw it flat")
    return graphs[0]


class _Attributes:
    """The declared attributes of a document: names, and defaults, by what they are for."""

    def __init__(self, root: Element) -> None:
        self._names: dict[str, str] = {}
        self._defaults: dict[str, dict[str, str]] = {"graph": {}, "node": {}, "edge": {}}
        for key in root.all("key"):
            name = key.attributes.get("attr.name", key.attributes.get("id", ""))
            self._names[key.attributes.get("id", "")] = name
            if (default := key.text_of("default")) is not None:
                self._set_default(key.attributes.get("for", "all"), name, default)

    def of(self, element: Element, what: str) -> Values:
        """Attributes of an element by their names."""
        own = {self._names.get(data.attributes.get("key", ""), ""): data.text for data in element.all("data")}
        return {**self._defaults[what], **own}

    def _set_default(self, what: str, name: str, value: str) -> None:
        for kind in self._defaults if what == "all" else [what] if what in self._defaults else []:
            self._defaults[kind][name] = value


def _node(element: Element, values: Values, findings: Findings) -> Node:
    key, place = element.attributes.get("id", ""), element.place
    if not key:
        findings.add("NET-0005", "a node has no id", place)
    memory = findings.positive(values.get("memory_bytes"), "memory_bytes", place)
    disk = findings.positive(values.get("disk_bytes"), "disk_bytes", place)
    return Node(
        key=key,
        label=values.get("label") or values.get("name") or key,
        place=place,
        location=findings.location(values.get("Latitude"), values.get("Longitude"), place),
        labels=dict(_labels(values)),
        cpus=findings.positive(values.get("cpus"), "cpus", place),
        memory_bytes=int(memory) if memory else None,
        disk_bytes=int(disk) if disk else None,
    )


def _labels(values: Values) -> Iterator[tuple[str, str]]:
    if values.get("Internal") == "0":
        yield "role", "external"
    if values.get("hyperedge") == "1":
        yield "role", "hyperedge"
    for name, value in values.items():
        if name.startswith(_OWN_LABELS):
            yield name.removeprefix(_OWN_LABELS), value


def _edge(element: Element, values: Values, findings: Findings) -> Edge:
    place = element.place
    a, b = (element.attributes.get(side, "") for side in ("source", "target"))
    if not a or not b:
        findings.add("NET-0006", "a link has not two ends", place, "give it `source` and `target`")
    return Edge(
        a,
        b,
        place,
        name=values.get("name", ""),
        rate_bps=_rate(values, findings, element),
        length_km=findings.positive(values.get("length_km"), "length_km", place),
        does=told_impairment(values, findings, place),
        reverse=told_impairment(values, findings, place, REVERSE),
    )


def _rate(values: Values, findings: Findings, element: Element) -> float | None:
    for key in ("rate_bps", "LinkSpeedRaw"):
        if key in values:
            return findings.positive(values[key], key, element.place)
    speed, unit = values.get("LinkSpeed", ""), values.get("LinkSpeedUnits", "").strip().upper().removesuffix("BPS")
    if not re.fullmatch(r"\s*\d+(\.\d+)?\s*", speed) or unit not in _UNITS:
        return None  # free text of whoever drew it, such as `<100`
    return float(speed) * _UNITS[unit] or None
