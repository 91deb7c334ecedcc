"""Where the PoPs of a picture are: on the map if most have a location, else where springs between them settle."""

from __future__ import annotations

import math
from collections.abc import Mapping
from statistics import fmean

import rustworkx as rx

from sonata.formats.graphs.graph import Graph
from sonata.model.geography import Location

Point = tuple[float, float]
_SEED = 1
_GOLDEN_ANGLE = math.pi * (3 - math.sqrt(5))


def placed(graph: Graph) -> dict[str, Point]:
    """Points of all PoPs, x to the right and y down, in any unit; equal graphs give equal points."""
    pops = {key: node.pop.location for key, node in graph.nodes.items() if node.pop}
    located = {key: location for key, location in pops.items() if location}
    if len(located) * 2 < len(pops) or len(set(located.values())) < 2:
        return _sprung(graph, list(pops))
    on_map = _projected(located)
    return {key: on_map.get(key) or _beside(key, graph, on_map, index) for index, key in enumerate(pops)}


def _projected(locations: Mapping[str, Location]) -> dict[str, Point]:
    """Longitudes are shortened as at the mean latitude, and begin behind the widest gap around the earth."""
    west = _western_edge([longitude for _, longitude in locations.values()])
    shrink = math.cos(math.radians(fmean(latitude for latitude, _ in locations.values())))
    return {key: ((longitude - west) % 360 * shrink, -latitude) for key, (latitude, longitude) in locations.items()}


def _western_edge(longitudes: list[float]) -> float:
    ordered = sorted(set(longitudes))
    before = [ordered[-1] - 360, *ordered]
    gaps = [longitude - previous for previous, longitude in zip(before, ordered, strict=False)]
    return ordered[gaps.index(max(gaps))]


def _beside(key: str, graph: Graph, on_map: Mapping[str, Point], index: int) -> Point:
    """A PoP without a location: near the middle of its neighbours, or of all; each off in a direction of its own."""
    ends = [(edge.a, edge.b) for edge in graph.edges if key in (edge.a, edge.b)]
    neighbours = [on_map[other] for pair in ends for other in pair if other in on_map] or list(on_map.values())
    xs, ys = zip(*on_map.values(), strict=True)
    off = 0.08 * max(max(xs) - min(xs), max(ys) - min(ys))
    angle = index * _GOLDEN_ANGLE
    x, y = (fmean(each) for each in zip(*neighbours, strict=True))
    return x + off * math.cos(angle), y + off * math.sin(angle)


def _sprung(graph: Graph, pops: list[str]) -> dict[str, Point]:
    index = {key: number for number, key in enumerate(pops)}
    net: rx.PyGraph = rx.PyGraph()
    net.add_nodes_from(pops)
    net.add_edges_from_no_data([(index[edge.a], index[edge.b]) for edge in graph.edges if not edge.is_access])
    circle = rx.circular_layout(net)
    if all(net.degree(number) == 2 for number in index.values()) or len(pops) < 3:
        return {key: (circle[number][0], circle[number][1]) for key, number in index.items()}
    settled = rx.spring_layout(net, pos=dict(circle), num_iter=300, seed=_SEED)
    return {key: (settled[number][0], settled[number][1]) for key, number in index.items()}
