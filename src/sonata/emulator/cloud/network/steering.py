"""Bringing port chains to the data plane, and keeping them true while functions come and go."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import replace

from sonata.emulator.cloud.entities.chaining import NSH, FlowClassifier, PortChain, PortPair, PortPairGroup
from sonata.emulator.cloud.entities.network import Port
from sonata.emulator.cloud.network.boxes import Boxes
from sonata.emulator.cloud.network.branching import check_branching, companions, sources_of, with_branches
from sonata.emulator.cloud.network.places import Places
from sonata.emulator.cloud.network.sharing import pool_of, shared_place, weight_of
from sonata.emulator.cloud.network.zone_chains import check_graph, check_zones, parts
from sonata.emulator.cloud.site import Site
from sonata.errors import Conflict, InvalidInput
from sonata.ports.fabric import ChainSpec, Classifier, Fabric, Hop, HopPort

NOWHERE: Mapping[str, str] = {}


class Steering:
    """What is steered now. A chain is steered while a function of each of its groups runs; these share its flows."""

    def __init__(self, site: Site, places: Places) -> None:
        self._site = site
        self._places = places
        self._tables = site.tables
        self._steered: dict[str, dict[str, ChainSpec | None]] = {}
        self._turn = asyncio.Lock()
        self.boxes = Boxes(site)

    async def follow(self, chains: Iterable[PortChain]) -> None:
        """Make the data plane steer these chains as they are in the table now; those gone from it are undone."""
        async with self._turn:
            for chain_id in with_branches(self._tables, [chain.id for chain in chains]):
                await self._steer(chain_id)

    async def ports_changed(self, port_ids: Iterable[str]) -> None:
        """Bring the chains through these ports up to date, since ports were plugged, unplugged or bound."""
        changed = set(port_ids)
        await self.follow(chain for chain in self._tables.port_chains if changed & self._ports_of(chain))

    async def pools_changed(self, pool_ids: Iterable[str]) -> None:
        """Bring the chains whose groups follow these pools up to date, since members came, went, or changed."""
        changed = set(pool_ids)
        for chain in tuple(self._tables.port_chains):
            groups = map(self._tables.port_pair_groups.get, chain.groups)
            if changed & {pool_of(group.parameters) for group in groups}:
                await self.follow([chain])

    def check(self, chain: PortChain, expected: Mapping[str, str] = NOWHERE) -> None:
        """Refuse a chain that the data plane could not steer.

        Args:
            chain: as it is, or is to be.
            expected: PoPs of ports that are about to be plugged in there.

        Raises:
            ChainAcrossZones: its ports are in several PoPs that could not steer it, or what it classifies does not
                pass where they are.
            Conflict: one of them is direct, or stands for a VLAN of a box.
        """
        self._refuse_unsteerable(chain)
        check_branching(self._tables, chain)
        together = (chain, *(self._tables.port_chains.get(one) for one in companions(self._tables, chain.id)))
        places = [self._places_of(one, expected) for one in together]
        for one, known in zip(together, places, strict=True):
            check_zones(self._tables, one, known, self._site.pop.name)
        check_graph(chain, places)

    def _places_of(self, chain: PortChain, expected: Mapping[str, str] = NOWHERE) -> dict[str, str]:
        """The PoPs of a chain's ports."""
        return {port_id: self._pop_of(port_id, expected) for port_id in sorted(self._ports_of(chain))}

    def _refuse_unsteerable(self, chain: PortChain) -> None:
        for port in map(self._tables.ports.get, sorted(self._ports_of(chain))):
            self.boxes.refuse_tagged(port)
            if port.is_direct:
                raise Conflict(
                    f"Port chain {chain.id} would lead through port {port.id}, but nothing can be steered at ports of "
                    f"the vNIC type {port.vnic_type}."
                )

    def check_ports(self, expected: Mapping[str, str]) -> None:
        """Refuse to have ports in these PoPs when a chain that they are in forbids it.

        Raises:
            ChainAcrossZones, Conflict: see `check`.
        """
        for chain in self._tables.port_chains:
            if not self._ports_of(chain).isdisjoint(expected):
                self.check(chain, expected)

    def _pop_of(self, port_id: str, expected: Mapping[str, str]) -> str:
        """Where a port is, or is to be; empty while nobody can know."""
        port = self._tables.ports.get(port_id)
        if outlet := self.boxes.outlet_of(port):
            return outlet.pop
        server = self._tables.servers.peek(port.device_id)
        placed = port.device_id and (server is None or server.host)
        return expected.get(port_id) or (self._places.current(port_id) if placed else "")

    async def restore(self) -> None:
        """Steer the saved chains whose functions all run, or are elsewhere."""
        await self.follow(self._tables.port_chains)

    async def _steer(self, chain_id: str) -> None:
        chain = self._tables.port_chains.peek(chain_id)
        wanted = {spec.id: spec for spec in self._parts(chain)} if chain else {}
        standing = self._steered.get(chain_id, {})
        if wanted == standing:
            return
        # Noted before it is made: what fails half-way is made, or undone, with the next change.
        self._steered[chain_id] = dict.fromkeys((*standing, *wanted))

        def run(fabric: Fabric) -> None:
            for part_id in standing.keys() - wanted.keys():
                fabric.steering.remove_chain(part_id)
            for part_id, part in wanted.items():
                if standing.get(part_id) != part:
                    fabric.steering.set_chain(part)

        await self._site.plane.run(run)
        self._steered[chain_id] = dict(wanted)
        if not wanted:
            del self._steered[chain_id]

    def _parts(self, chain: PortChain) -> tuple[ChainSpec, ...]:
        """What the PoPs are to do for a chain; nothing while a source or a function of it does not run."""
        whole = self._spec(chain)
        return parts(self._tables, whole, self._places_of(chain), self._site.pop.name) if whole else ()

    def _spec(self, chain: PortChain) -> ChainSpec | None:
        """What is to be done for a chain in all PoPs, None while a source or a function of the chain does not run."""
        before = [self._tables.port_chains.get(one) for one in sources_of(self._tables, chain.id)]
        after = tuple(spec for one in before if (spec := self._spec(one)))
        if before and not after:
            return None
        classifiers = [classifier_spec(self._tables.flow_classifiers.get(one)) for one in chain.classifiers]
        if before:
            classifiers = [replace(one, source_port_id="") for one in classifiers]
        sources = [one.source_port_id for one in classifiers if one.source_port_id]
        places = [self._place(self._tables.port_pair_groups.get(group_id)) for group_id in chain.groups]
        hops = tuple(place for place in places if place)
        if not classifiers or not hops or len(hops) < len(places) or not all(map(self._is_plugged, sources)):
            return None
        own = self._site.pop.name
        return ChainSpec(
            id=chain.id,
            pop=next((pop for port_id in self._ports_of(chain) if (pop := self._pop_of(port_id, NOWHERE))), own),
            classifiers=tuple(classifiers),
            hops=hops,
            symmetric=chain.symmetric,
            after=after,
            with_nsh=chain.correlation == NSH,
        )

    def _place(self, group: PortPairGroup) -> Hop | None:
        """The functions of a group that run, as one place of a chain; None when none does."""
        pairs = [self._tables.port_pairs.get(pair_id) for pair_id in group.port_pairs]
        running = [pair for pair in pairs if self._passes(pair.ingress) and self._passes(pair.egress)]
        return shared_place(self._tables, group, [(pair, self._hop(pair)) for pair in running])

    def _is_plugged(self, port_id: str) -> bool:
        """Whether packets come in at a port."""
        port = self._tables.ports.peek(port_id)
        return port is not None and port.plugged

    def _passes(self, port_id: str) -> bool:
        """Whether packets pass at a port, or it stands for one in another PoP."""
        port = self._tables.ports.peek(port_id)
        return port is not None and (port.plugged or self.boxes.passes(port))

    def _hop(self, pair: PortPair) -> Hop:
        return Hop(
            self._hop_port(pair.ingress),
            self._hop_port(pair.egress),
            weight_of(pair.parameters),
            knows_nsh=pair.correlation == NSH,
        )

    def _hop_port(self, port_id: str) -> HopPort:
        port = self._tables.ports.get(port_id)
        if outlet := self.boxes.outlet_of(port):
            return HopPort(port.mac, outlet.network, outlet.network)
        network = self._tables.networks.get(port.network_id)
        return HopPort(port.mac, self._site.id_of(network, self._places.current(port_id)), _local_id(port))

    def _pairs_of(self, chain: PortChain) -> list[PortPair]:
        groups = map(self._tables.port_pair_groups.get, chain.groups)
        return [self._tables.port_pairs.get(pair_id) for group in groups for pair_id in group.port_pairs]

    def _ports_of(self, chain: PortChain) -> set[str]:
        ends = {port_id for pair in self._pairs_of(chain) for port_id in (pair.ingress, pair.egress)}
        classifiers = map(self._tables.flow_classifiers.get, chain.classifiers)
        return ends | {found.logical_source_port for found in classifiers if found.logical_source_port}


def classifier_spec(classifier: FlowClassifier) -> Classifier:
    """A flow classifier in the data plane's words.

    Raises:
        InvalidInput: a port range is empty.
    """
    return Classifier(
        protocol=classifier.protocol,
        source=classifier.source,
        destination=classifier.destination,
        source_ports=_port_range("source", classifier.source_port_min, classifier.source_port_max),
        destination_ports=_port_range("destination", classifier.destination_port_min, classifier.destination_port_max),
        source_port_id=classifier.logical_source_port or "",
        ip_version=6 if classifier.ip_version == 6 else 4,
    )


def _local_id(port: Port) -> str:
    return port.id if port.device_id else ""


def _port_range(side: str, low: int | None, high: int | None) -> tuple[int, int] | None:
    if low is None and high is None:
        return None
    first, last = low if low is not None else high, high if high is not None else low
    if first is None or last is None or first > last:
        raise InvalidInput(f"{side} port range {low}..{high} is empty")
    return first, last
