"""Mermaid flow charts, which GitHub, GitLab and many editors draw."""

from __future__ import annotations

from sonata.formats.graphs.graph import Graph, GraphEdge

MAX_MERMAID_EDGES = 500
"""More are refused by Mermaid unless whoever embeds it has configured `maxEdges`."""

_SHAPES = {"pop": '{id}["{label}"]', "endpoint": '{id}(["{label}"])', "server": '{id}("{label}")'}


def mermaid_of(graph: Graph) -> str:
    """The text of a flow chart: PoPs as boxes, machines with round corners, links that are down dotted and red."""
    ids = {key: f"n{index}" for index, key in enumerate(graph.nodes)}
    lines = ["---", f"title: {_quoted(graph.name)}", "---", "flowchart LR"]
    for key, node in graph.nodes.items():
        lines.append("    " + _SHAPES[node.kind].format(id=ids[key], label=_escaped(node.name)))
    lines += [f"    {ids[edge.a]} {_arrow(edge)} {ids[edge.b]}" for edge in graph.edges]
    down = [str(index) for index, edge in enumerate(graph.edges) if edge.is_up is False]
    if down:
        lines.append(f"    linkStyle {','.join(down)} stroke:#c00,color:#c00")
    return "\n".join(lines) + "\n"


def _arrow(edge: GraphEdge) -> str:
    stroke = "-.-" if edge.is_up is False or edge.is_access else "---"
    return f'{stroke}|"{_escaped(edge.text)}"|' if edge.text else stroke


def _escaped(text: str) -> str:
    """Text within quotes of a flow chart, whose own escapes begin with `#`."""
    return text.replace("#", "#35;").replace('"', "#quot;").replace("\n", " ")


def _quoted(text: str) -> str:
    """Text as YAML of the front matter."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
