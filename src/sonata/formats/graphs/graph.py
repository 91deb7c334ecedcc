"""A topology as nodes and edges, with what a running emulation tells of its links."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import field
from typing import Literal

from sonata._lib.quantities import format_duration, format_rate, format_share
from sonata._lib.values import dataclass
from sonata.model.topology import Endpoint, Impairment, Link, Pop, ServerSeed, Topology, both_ways

Kind = Literal["pop", "endpoint", "server"]


@dataclass(frozen=True, slots=True)
class LinkState:
    """What a link does at this moment."""

    impairment: Impairment
    is_up: bool
    reverse: Impairment | None = None


@dataclass(frozen=True, slots=True)
class GraphNode:
    """A PoP, an endpoint or a server; `pop` is None for the latter two."""

    name: str
    kind: Kind
    pop: Pop | None = None


@dataclass(frozen=True, slots=True)
class GraphEdge:
    """A link between PoPs, or what joins a machine with its PoP.

    Args:
        a, b: ids of its ends, see `Graph.nodes`.
        impairment: from `a` to `b`, and back unless `reverse` says otherwise.
        is_up: None where nothing runs, unless it begins down.
    """

    name: str
    a: str
    b: str
    impairment: Impairment = field(default_factory=Impairment)
    is_up: bool | None = None
    is_access: bool = False
    reverse: Impairment | None = None

    @property
    def text(self) -> str:
        """What it does, for people, e.g. `20ms ±2ms, 100Mbit`; empty when packets pass untouched."""
        there, back = both_ways(self.impairment, self.reverse)
        does = _written(there) if there == back else f"there {_written(there) or '0'}, back {_written(back) or '0'}"
        return ", ".join(filter(None, ["down" if self.is_up is False else "", does]))


@dataclass(frozen=True, slots=True)
class Graph:
    """Nodes by id, and edges.

    A PoP's id is its name; a server's is `POP/NAME` and an endpoint's its name, as `sonata emu exec` calls them.
    """

    name: str
    nodes: Mapping[str, GraphNode]
    edges: tuple[GraphEdge, ...]


def graph_of(topology: Topology, states: Mapping[str, LinkState] | None = None) -> Graph:
    """The graph of a topology; of a running one with the states of its links by name."""
    nodes = {name: GraphNode(name, "pop", pop) for name, pop in topology.pops.items()}
    nodes |= {name: GraphNode(name, "endpoint") for name in topology.endpoints}
    nodes |= {_server_id(seed): GraphNode(name, "server") for name, seed in topology.servers.items()}
    edges = [*_links(topology, states), *map(_access, topology.endpoints.values())]
    edges += map(_port, topology.servers.values())
    return Graph(topology.name, nodes, tuple(edges))


def _links(topology: Topology, states: Mapping[str, LinkState] | None) -> Iterator[GraphEdge]:
    for link in topology.links:
        state = (states or {}).get(link.name)
        told = state or link
        is_up = state.is_up if state else _declared(link)
        yield GraphEdge(link.name, link.a, link.b, told.impairment, is_up, reverse=told.reverse)


def _access(endpoint: Endpoint) -> GraphEdge:
    ends = (endpoint.attach, endpoint.name)
    is_up = _declared(endpoint)
    return GraphEdge(endpoint.name, *ends, endpoint.impairment, is_up, is_access=True, reverse=endpoint.reverse)


def _declared(what: Link | Endpoint) -> bool | None:
    """A link that begins down is shown so; of others nothing is known before they run."""
    return None if what.up else False


def _port(seed: ServerSeed) -> GraphEdge:
    return GraphEdge(seed.name, seed.pop, _server_id(seed), is_access=True)


def _server_id(seed: ServerSeed) -> str:
    return f"{seed.pop}/{seed.name}"


def _written(does: Impairment) -> str:
    jitter = f" ±{format_duration(does.jitter_s)}" if does.jitter_s else ""
    parts = [
        format_duration(does.delay_s) + jitter if does.delay_s else "",
        f"{format_share(does.loss)} loss" if does.loss else "",
        f"{format_share(does.duplicate)} twice" if does.duplicate else "",
        f"{format_share(does.reorder)} ahead" if does.reorder else "",
        format_rate(does.rate_bps) if does.rate_bps else "",
    ]
    return ", ".join(filter(None, parts))
