"""Topologies of well-known shapes, of any size; the same arguments always give the same topology.

Example:
    >>> from sonata.model import shapes
    >>> tree = shapes.tree(depth=3, fanout=2, kit=shapes.Kit(endpoints_per_pop=2))
    >>> len(tree.pops), len(tree.links), len(tree.endpoints)
    (7, 6, 8)
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import combinations, pairwise

from sonata._lib.values import dataclass
from sonata.errors import InvalidInput
from sonata.model.geography import fibre_delay_s, great_circle_km
from sonata.model.topology import Endpoint, Impairment, Link, Pop, ServerSeed, Topology

MAX_ENDPOINTS_PER_POP = 229
MAX_SERVERS_PER_POP = 200
_TINY_BYTES = 64 * 1024**2
_KM_PER_DEGREE = 111.195
_DENSITY = 1.5
"""Factor over the radius at which a random geometric graph becomes connected as it grows."""

Pair = tuple[str, str]
Point = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Kit:
    """What every link and every PoP of a shape gets.

    Args:
        delay_s: one-way delay of each link; None is that of a fibre where both ends have a location, else none.
        rate_bps: of each link, None for unlimited.
        servers_per_pop: idle servers on the default network of each PoP that has machines; at most 200.
        endpoints_per_pop: idle hosts outside of it, which reach each other over all PoPs; at most 229.
        image: of both.
    """

    delay_s: float | None = None
    rate_bps: float | None = None
    servers_per_pop: int = 0
    endpoints_per_pop: int = 0
    image: str = "host"


PLAIN = Kit()


def single(*, name: str = "single", kit: Kit = PLAIN) -> Topology:
    """One PoP."""
    return _assembled(name, _pops(1), (), kit)


def line(pops: int, *, name: str = "line", kit: Kit = PLAIN) -> Topology:
    """PoPs in a row, each linked with the next."""
    sites = _pops(pops)
    return _assembled(name, sites, pairwise(sites), kit)


def ring(pops: int, *, name: str = "ring", kit: Kit = PLAIN) -> Topology:
    """A row whose last PoP is linked with the first; at least three."""
    _at_least(3, pops, "PoPs of a ring")
    sites = _pops(pops)
    first, *_, last = sites
    return _assembled(name, sites, [*pairwise(sites), (last, first)], kit)


def star(pops: int, *, name: str = "star", kit: Kit = PLAIN) -> Topology:
    """The first PoP linked with each other one; at least two."""
    _at_least(2, pops, "PoPs of a star")
    sites = _pops(pops)
    hub, *others = sites
    return _assembled(name, sites, [(hub, other) for other in others], kit)


def tree(depth: int, fanout: int, *, name: str = "tree", kit: Kit = PLAIN) -> Topology:
    """Levels of PoPs, each linked with `fanout` of the next level; machines are at the lowest one alone.

    Args:
        depth: levels of PoPs, at least 1.
        fanout: PoPs below each one, at least 1.
        name: of the topology.
        kit: of links and of PoPs of the lowest level.
    """
    _at_least(1, depth, "levels of a tree")
    _at_least(1, fanout, "PoPs below each one of a tree")
    levels = [["t"]]
    for _ in range(depth - 1):
        levels.append([f"{above}-{number}" for above in levels[-1] for number in range(1, fanout + 1)])
    sites = {pop: Pop(pop, labels={"level": str(level)}) for level, row in enumerate(levels) for pop in row}
    pairs = [(pop.rpartition("-")[0], pop) for row in levels[1:] for pop in row]
    return _assembled(name, sites, pairs, kit, levels[-1])


def fat_tree(k: int, *, name: str = "fat-tree", kit: Kit = PLAIN) -> Topology:
    """The fat tree of Al-Fares, Loukissas and Vahdat (2008): k pods between (k/2)² core PoPs.

    A pod has k/2 edge PoPs, each linked with all of its k/2 aggregation PoPs; aggregation PoP number i of every pod is
    linked with the i-th k/2 of the core. Machines are at the edge alone; the paper has k/2 of them at each PoP there.

    Args:
        k: pods, and links of each PoP; even, at least 2.
        name: of the topology.
        kit: of links and of PoPs at the edge.
    """
    _at_least(2, k, "pods of a fat tree")
    if k % 2:
        raise InvalidInput(f"a fat tree of {k} pods is not possible: the number must be even")
    half, pods = range(1, k // 2 + 1), range(1, k + 1)
    core = {(i, j): f"core-{i}-{j}" for i in half for j in half}
    aggregation = {(pod, i): f"agg-{pod}-{i}" for pod in pods for i in half}
    edge = {(pod, i): f"edge-{pod}-{i}" for pod in pods for i in half}
    tiers = {"core": core, "aggregation": aggregation, "edge": edge}
    sites = {pop: Pop(pop, labels={"tier": tier}) for tier, those in tiers.items() for pop in those.values()}
    up = [(aggregation[pod, i], core[i, j]) for pod in pods for i in half for j in half]
    down = [(edge[pod, j], aggregation[pod, i]) for pod in pods for i in half for j in half]
    return _assembled(name, sites, [*up, *down], kit, list(edge.values()))


def random_geometric(
    pops: int,
    *,
    seed: int = 0,
    radius: float | None = None,
    side_km: float = 1000.0,
    name: str = "random-geometric",
    kit: Kit = PLAIN,
) -> Topology:
    """PoPs at random places of a square, linked when they are near; parts that are apart are joined where nearest.

    Links are as long as the fibre between their ends, unless the kit has a delay.

    Args:
        pops: how many.
        seed: of the places.
        radius: what is near, as a share of the square's side; by default a little more than what usually connects all.
        side_km: side of the square, whose south-western corner is at 0° N 0° E.
        name: of the topology.
        kit: of links and PoPs.
    """
    _at_least(1, pops, "PoPs")
    points = _points(pops, seed)
    near = radius if radius is not None else _connecting_radius(pops)
    pairs = [(a, b) for a, b in combinations(points, 2) if math.dist(points[a], points[b]) <= near]
    return _scattered(name, points, pairs, side_km, kit)


def waxman(
    pops: int,
    *,
    seed: int = 0,
    alpha: float = 0.15,
    beta: float = 0.4,
    side_km: float = 1000.0,
    name: str = "waxman",
    kit: Kit = PLAIN,
) -> Topology:
    """PoPs at random places of a square, linked with probability beta * exp(-distance / (alpha * greatest distance)).

    As Waxman (1988); parts that are apart are joined where they are nearest.

    Args:
        pops: how many.
        seed: of places and links.
        alpha: how much long links are favoured, above 0.
        beta: how many links there are, 0..1.
        side_km: side of the square, whose south-western corner is at 0° N 0° E.
        name: of the topology.
        kit: of links and PoPs.
    """
    _at_least(1, pops, "PoPs")
    if alpha <= 0 or not 0 <= beta <= 1:
        raise InvalidInput(f"alpha {alpha} must be above 0 and beta {beta} within 0..1")
    points = _points(pops, seed)
    chance = _chance(f"links {seed}")
    apart = {(a, b): math.dist(points[a], points[b]) for a, b in combinations(points, 2)}
    greatest = max(apart.values(), default=1.0)
    pairs = [pair for pair, far in apart.items() if chance.random() < beta * math.exp(-far / (alpha * greatest))]
    return _scattered(name, points, pairs, side_km, kit)


def _pops(count: int) -> dict[str, Pop]:
    _at_least(1, count, "PoPs")
    return {f"p{number}": Pop(f"p{number}") for number in range(1, count + 1)}


def _at_least(least: int, value: int, what: str) -> None:
    if value < least:
        raise InvalidInput(f"{value} {what} are too few, at least {least} are needed")


def _assembled(
    name: str, sites: Mapping[str, Pop], pairs: Iterable[Pair], kit: Kit, with_machines: Sequence[str] | None = None
) -> Topology:
    links = tuple(Link(f"{a}-{b}", a, b, _impairment(sites[a], sites[b], kit)) for a, b in pairs)
    hosts = list(sites) if with_machines is None else with_machines
    places = set(hosts)
    roomy = {pop: _with_room(site, kit) if pop in places else site for pop, site in sites.items()}
    return Topology(name, roomy, links, _endpoints(hosts, kit), _servers(hosts, kit))


def _with_room(pop: Pop, kit: Kit) -> Pop:
    """The PoP, with capacity for its servers, which are of the smallest flavor: one virtual core and 64 MiB each."""
    cpus, memory = max(pop.cpus, kit.servers_per_pop), max(pop.memory_bytes, kit.servers_per_pop * _TINY_BYTES)
    return replace(pop, cpus=float(cpus), memory_bytes=memory)


def _impairment(a: Pop, b: Pop, kit: Kit) -> Impairment:
    delay = kit.delay_s
    if delay is None:
        delay = fibre_delay_s(great_circle_km(a.location, b.location)) if a.location and b.location else 0.0
    return Impairment(delay, rate_bps=kit.rate_bps)


def _endpoints(pops: Sequence[str], kit: Kit) -> dict[str, Endpoint]:
    if kit.endpoints_per_pop > MAX_ENDPOINTS_PER_POP:
        raise InvalidInput(
            f"{kit.endpoints_per_pop} endpoints per PoP are too many: its external network has room for "
            f"{MAX_ENDPOINTS_PER_POP}",
            hint="use servers, which are on networks of their own",
        )
    names = _numbered(pops, "e", kit.endpoints_per_pop)
    return {name: Endpoint(name, pop, kit.image) for name, pop in names}


def _servers(pops: Sequence[str], kit: Kit) -> dict[str, ServerSeed]:
    if kit.servers_per_pop > MAX_SERVERS_PER_POP:
        raise InvalidInput(
            f"{kit.servers_per_pop} servers per PoP are too many: the network `default` of each has room for "
            f"{MAX_SERVERS_PER_POP}",
            hint="use more PoPs",
        )
    return {name: ServerSeed(name, pop, kit.image) for name, pop in _numbered(pops, "s", kit.servers_per_pop)}


def _numbered(pops: Sequence[str], kind: str, count: int) -> Iterator[Pair]:
    for pop in pops:
        for number in range(1, count + 1):
            yield f"{pop}-{kind}{number}", pop


def _chance(seed: str) -> random.Random:
    return random.Random(seed)  # noqa: S311  # nosec B311  # a shape is no secret


def _points(pops: int, seed: int) -> dict[str, Point]:
    """Random places in a square of side 1, as x and y."""
    chance = _chance(f"places {seed}")
    return {name: (chance.random(), chance.random()) for name in _pops(pops)}


def _connecting_radius(pops: int) -> float:
    return _DENSITY * math.sqrt(math.log(pops) / (math.pi * pops)) if pops > 1 else 0.0


def _scattered(name: str, points: Mapping[str, Point], pairs: list[Pair], side_km: float, kit: Kit) -> Topology:
    degrees = side_km / _KM_PER_DEGREE
    if not 0 < degrees <= 90:
        raise InvalidInput(f"a square of {side_km:g} km does not fit between equator and pole")
    sites = {pop: Pop(pop, location=(round(y * degrees, 5), round(x * degrees, 5))) for pop, (x, y) in points.items()}
    return _assembled(name, sites, [*pairs, *_bridges(points, pairs)], kit)


def _bridges(points: Mapping[str, Point], pairs: Iterable[Pair]) -> Iterator[Pair]:
    """The shortest further links that make everything connected: Kruskal's tree over the parts."""
    part = {pop: pop for pop in points}

    def root(pop: str) -> str:
        while part[pop] != pop:
            part[pop] = pop = part[part[pop]]
        return pop

    for a, b in pairs:
        part[root(a)] = root(b)
    if len({root(pop) for pop in points}) == 1:
        return
    for a, b in sorted(combinations(points, 2), key=lambda pair: math.dist(points[pair[0]], points[pair[1]])):
        if root(a) != root(b):
            part[root(a)] = root(b)
            yield a, b
