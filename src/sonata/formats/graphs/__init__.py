"""Pictures and graph files of topologies: node-link JSON, GraphML, Mermaid, SVG."""

from sonata.formats.graphs.documents import graphml_of, node_link_of
from sonata.formats.graphs.graph import Graph, GraphEdge, GraphNode, LinkState, graph_of
from sonata.formats.graphs.mermaid import MAX_MERMAID_EDGES, mermaid_of
from sonata.formats.graphs.svg import svg_of

__all__ = [
    "MAX_MERMAID_EDGES",
    "Graph",
    "GraphEdge",
    "GraphNode",
    "LinkState",
    "graph_of",
    "graphml_of",
    "mermaid_of",
    "node_link_of",
    "svg_of",
]
