"""Chains through several PoPs of one site: what each PoP steers of them, and which ones cannot be.

As in chains over PoPs with clouds of their own, a function elsewhere is handed packets by its MAC address on a network
that stands in both PoPs. So neighbours of a chain in different PoPs share a network. Packets without a source port are
taken, and returning ones met, at the edge of the site's own PoP, where its routers are.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from ipaddress import ip_network

from sonata._lib.values import dataclass
from sonata.emulator.cloud.causes import ChainAcrossZones
from sonata.emulator.cloud.entities.chaining import PortChain, PortPair
from sonata.emulator.cloud.network.sharing import is_sticky
from sonata.emulator.cloud.tables import Tables
from sonata.ports.fabric import ChainSpec, Classifier, Hop, HopPort

Places = Mapping[str, str]
"""PoPs by port id; empty where nobody can know."""


def parts(tables: Tables, chain: ChainSpec, places: Places, own: str) -> tuple[ChainSpec, ...]:
    """A chain as each of the PoPs that it leads through is to steer it."""
    pops = dict.fromkeys(pop for pop in places.values() if pop)
    if len(pops) <= 1:
        return (replace(chain, pop=next(iter(pops), own)),)
    return tuple(_part(tables, chain, places, pop, takes_edge=pop == own) for pop in pops)


def _part(tables: Tables, chain: ChainSpec, places: Places, pop: str, *, takes_edge: bool) -> ChainSpec:
    seen = [found for one in chain.classifiers for found in _seen_from(tables, one, places, pop, takes_edge=takes_edge)]
    hops = tuple(_hop_from(hop, places, pop) for hop in chain.hops)
    return replace(chain, id=f"{chain.id}@{pop}", pop=pop, classifiers=tuple(seen), hops=hops)


def _seen_from(
    tables: Tables, classifier: Classifier, places: Places, pop: str, *, takes_edge: bool
) -> Iterator[Classifier]:
    """A classifier in one of the PoPs: what enters elsewhere is known there by its source."""
    source_port = classifier.source_port_id
    if not source_port:
        yield replace(classifier, enters=takes_edge)
    elif places.get(source_port) == pop:
        yield classifier
    elif classifier.source:
        yield replace(classifier, source_port_id="", enters=False)
    else:
        for fixed in tables.ports.get(source_port).fixed_ips:
            if fixed.address.version == classifier.ip_version:
                yield replace(classifier, source_port_id="", enters=False, source=ip_network(fixed.address))


def _hop_from(hop: Hop, places: Places, pop: str) -> Hop:
    def seen(port: HopPort) -> HopPort:
        return port if places.get(port.port_id) == pop else replace(port, port_id="")

    others = tuple(_hop_from(other, places, pop) for other in hop.alternatives)
    return replace(hop, ingress=seen(hop.ingress), egress=seen(hop.egress), alternatives=others)


def check_zones(tables: Tables, chain: PortChain, places: Places, own: str) -> None:
    """Refuse a chain that its PoPs could not steer.

    Raises:
        ChainAcrossZones: telling what would have to be otherwise.
    """
    pops = sorted({pop for pop in places.values() if pop})
    _check_edge(tables, chain, places, own)
    if len(pops) > 1:
        _Crossing(tables, chain, places, own).check(", ".join(pops))


def check_graph(chain: PortChain, places: Sequence[Places]) -> None:
    """Refuse a service graph in several PoPs: what leaves a chain is looked at again where it leaves.

    Given are the places of each chain of the graph, or of the chain alone where it is in none.

    Raises:
        ChainAcrossZones: naming the PoPs.
    """
    pops = {pop for known in places for pop in known.values()} - {""}
    if len(places) > 1 and len(pops) > 1:
        raise ChainAcrossZones(
            f"Port chain {chain.id} would be in a service graph whose ports are in several PoPs: "
            f"{', '.join(sorted(pops))}. The chains of a service graph lie in one PoP."
        )


def _check_edge(tables: Tables, chain: PortChain, places: Places, own: str) -> None:
    """What is taken at the edge meets its first functions there."""
    if all(tables.flow_classifiers.get(one).logical_source_port for one in chain.classifiers) or not chain.groups:
        return
    first = _pairs(tables, chain.groups[0])
    for pop in {places.get(pair.ingress, "") for pair in first} - {own, ""}:
        raise ChainAcrossZones(
            f"Port chain {chain.id} would take packets at the edge of PoP {own}, while its first ports are in {pop}: "
            "its flow classifiers need a logical_source_port there."
        )


def _pairs(tables: Tables, group_id: str) -> list[PortPair]:
    return [tables.port_pairs.get(one) for one in tables.port_pair_groups.get(group_id).port_pairs]


@dataclass(frozen=True, slots=True)
class _Crossing:
    """A chain that leads through several PoPs."""

    tables: Tables
    chain: PortChain
    places: Places
    own: str

    def check(self, pops: str) -> None:
        """Refuse what cannot be steered there."""
        groups = [self.tables.port_pair_groups.get(one) for one in self.chain.groups]
        if any(is_sticky(group) for group in groups):
            raise self._refusal(pops, "groups that keep their flows (`sticky`, `lb_pool_id`) remember them in one PoP")
        ends = {pair.egress for pair in _pairs(self.tables, self.chain.groups[-1])} if groups else set()
        if self.chain.symmetric and any(self.places.get(end) != self.own for end in ends):
            raise self._refusal(pops, f"a symmetric chain ends in {self.own}, where packets return")
        for one, other in self._neighbours():
            if self._is_apart(one, other):
                raise self._refusal(pops, f"ports {one} and {other} are in different PoPs, and on different networks")

    def _neighbours(self) -> Iterator[tuple[str, str]]:
        """Ports that hand packets to one another."""
        found = [self.tables.flow_classifiers.get(one).logical_source_port for one in self.chain.classifiers]
        before: Sequence[str] = [port_id for port_id in found if port_id]
        for group_id in self.chain.groups:
            pairs = _pairs(self.tables, group_id)
            yield from ((one, pair.ingress) for one in before for pair in pairs)
            before = [pair.egress for pair in pairs]

    def _is_apart(self, one: str, other: str) -> bool:
        here, there = self.places.get(one, ""), self.places.get(other, "")
        networks = {self.tables.ports.get(port_id).network_id for port_id in (one, other)}
        return bool(here and there and here != there) and len(networks) > 1

    def _refusal(self, pops: str, why: str) -> ChainAcrossZones:
        return ChainAcrossZones(f"Port chain {self.chain.id} would lead through ports in several PoPs, {pops}: {why}.")
