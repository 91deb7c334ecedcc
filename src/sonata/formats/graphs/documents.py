"""Graph files that other programs read, networkx among them, and `sonata emu import` too: node-link JSON and GraphML.

An import brings PoPs with place, capacity and labels, and links with what they do; machines are in the files to be
seen, but are not imported.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from sonata.formats.graphs.graph import Graph, GraphEdge, GraphNode
from sonata.model.topology import Impairment

_XMLNS = "http://graphml.graphdrawing.org/xmlns"
_TYPES = {bool: "boolean", int: "long", float: "double", str: "string"}
_NOT_IN_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
Attributes = dict[str, Any]


def node_link_of(graph: Graph) -> dict[str, Any]:
    """The document that `networkx.node_link_graph(document, edges="edges")` reads."""
    return {
        "directed": False,
        "multigraph": False,
        "graph": {"name": graph.name},
        "nodes": [{"id": key, **_of_node(node)} for key, node in graph.nodes.items()],
        "edges": [{"source": edge.a, "target": edge.b, **_of_edge(edge)} for edge in graph.edges],
    }


def graphml_of(graph: Graph) -> str:
    """A GraphML document."""
    nodes = [(key, _flat(_of_node(node))) for key, node in graph.nodes.items()]
    edges = [(edge, _of_edge(edge)) for edge in graph.edges]
    keys = _Keys([("node", each) for _, each in nodes] + [("edge", each) for _, each in edges])
    lines = ['<?xml version="1.0" encoding="UTF-8"?>', f'<graphml xmlns="{_XMLNS}">', *keys.declared()]
    lines.append('  <key id="name" for="graph" attr.name="name" attr.type="string"/>')
    lines.append(f'  <graph id="{escaped(graph.name)}" edgedefault="undirected">')
    lines.append(f'    <data key="name">{escaped(graph.name)}</data>')
    for key, values in nodes:
        lines += [f'    <node id="{escaped(key)}">', *keys.data("node", values), "    </node>"]
    for edge, values in edges:
        ends = f'source="{escaped(edge.a)}" target="{escaped(edge.b)}"'
        lines += [f"    <edge {ends}>", *keys.data("edge", values), "    </edge>"]
    return "\n".join([*lines, "  </graph>", "</graphml>"]) + "\n"


def escaped(text: str) -> str:
    """Text for XML, in elements and attributes; what XML cannot have becomes a replacement character."""
    return html.escape(_NOT_IN_XML.sub("\ufffd", text))


def _of_node(node: GraphNode) -> Attributes:
    values: Attributes = {"name": node.name, "kind": node.kind}
    if pop := node.pop:
        values |= {"location": list(pop.location)} if pop.location else {}
        values |= {"cpus": float(pop.cpus), "memory_bytes": pop.memory_bytes, "disk_bytes": pop.disk_bytes}
        values |= {"managed_by": pop.managed_by} if pop.managed_by else {}
        values |= {"labels": dict(pop.labels)} if pop.labels else {}
    return values


def _of_edge(edge: GraphEdge) -> Attributes:
    values: Attributes = {"name": edge.name, "kind": "access" if edge.is_access else "link"}
    values |= _of_direction(edge.impairment, "")
    values |= _of_direction(edge.reverse, "reverse_") if edge.reverse else {}
    return values | ({} if edge.is_up is None else {"up": edge.is_up})


def _of_direction(does: Impairment, prefix: str) -> Attributes:
    """The delay in any case, and whatever else it does."""
    fields = {key: value for key, value in asdict(does).items() if value or key == "delay_s"}
    return {prefix + key: float(value) for key, value in fields.items()}


def _flat(values: Attributes) -> Attributes:
    """Attributes without lists and mappings, which GraphML has no types for; places as in the Topology Zoo."""
    flat = {key: value for key, value in values.items() if key not in ("location", "labels")}
    if location := values.get("location"):
        flat |= {"Latitude": float(location[0]), "Longitude": float(location[1])}
    return flat | {f"labels.{key}": value for key, value in values.get("labels", {}).items()}


class _Keys:
    """The attributes that a GraphML document declares before it uses them."""

    def __init__(self, used: Sequence[tuple[str, Attributes]]) -> None:
        self._types: dict[tuple[str, str], str] = {}
        for what, values in used:
            for name, value in values.items():
                self._types[what, name] = _TYPES[type(value)]
        self._ids: Mapping[tuple[str, str], str] = {pair: f"d{index}" for index, pair in enumerate(self._types)}

    def declared(self) -> Iterator[str]:
        """Lines that declare them."""
        for (what, name), kind in self._types.items():
            head = f'<key id="{self._ids[what, name]}" for="{what}"'
            yield f'  {head} attr.name="{escaped(name)}" attr.type="{kind}"/>'

    def data(self, what: str, values: Attributes) -> Iterator[str]:
        """Lines with the values of one node or edge."""
        for name, value in values.items():
            text = str(value).lower() if isinstance(value, bool) else str(value)
            yield f'      <data key="{self._ids[what, name]}">{escaped(text)}</data>'
