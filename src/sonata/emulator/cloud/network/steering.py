"""Bringing port chains to the data plane, and keeping them true while functions come and go."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import replace

from sonata.emulator.cloud.causes import ChainAcrossZones
from sonata.emulator.cloud.entities.chaining import FlowClassifier, PortChain, PortPair, PortPairGroup
from sonata.emulator.cloud.entities.network import Port
from sonata.emulator.cloud.network.places import Places
from sonata.emulator.cloud.site import Site
from sonata.errors import InvalidInput
from sonata.ports.fabric import ChainSpec, Classifier, Hop, HopPort

NOWHERE: Mapping[str, str] = {}


class Steering:
    """What is steered now. A chain is steered while a function of each of its groups runs; these share its flows."""

    def __init__(self, site: Site, places: Places) -> None:
        self._site = site
        self._places = places
        self._tables = site.tables
        self._steered: dict[str, ChainSpec] = {}
        self._turn = asyncio.Lock()

    async def follow(self, chains: Iterable[PortChain]) -> None:
        """Make the data plane steer these chains as they are in the table now; those gone from it are undone."""
        async with self._turn:
            for chain in tuple(chains):
                await self._steer(chain.id)

    async def ports_changed(self, port_ids: Iterable[str]) -> None:
        """Bring the chains through these ports up to date, since ports were plugged, unplugged or bound."""
        changed = set(port_ids)
        await self.follow(chain for chain in self._tables.port_chains if changed & self._ports_of(chain))

    def check(self, chain: PortChain, expected: Mapping[str, str] = NOWHERE) -> None:
        """Refuse a chain that the data plane could not steer: it lies in one PoP.

        Args:
            chain: as it is, or is to be.
            expected: PoPs of ports that are about to be plugged in there.

        Raises:
            ChainAcrossZones: its ports are in several PoPs, or what it classifies does not pass where they are.
        """
        pops = {self._pop_of(port_id, expected) for port_id in self._ports_of(chain)} - {""}
        if len(pops) > 1:
            raise ChainAcrossZones(
                f"Port chain {chain.id} would lead through ports in several PoPs: {', '.join(sorted(pops))}. A chain "
                "lies in one of them."
            )
        classifiers = map(self._tables.flow_classifiers.get, chain.classifiers)
        if pops - {self._site.pop.name} and not all(one.logical_source_port for one in classifiers):
            raise ChainAcrossZones(
                f"Port chain {chain.id} would take packets at the edge of PoP {self._site.pop.name}, while its ports "
                f"are in {pops.pop()}: its flow classifiers need a logical_source_port there."
            )

    def check_ports(self, expected: Mapping[str, str]) -> None:
        """Refuse to have ports in these PoPs when a chain that they are in forbids it.

        Raises:
            ChainAcrossZones: see `check`.
        """
        for chain in self._tables.port_chains:
            if not self._ports_of(chain).isdisjoint(expected):
                self.check(chain, expected)

    def _pop_of(self, port_id: str, expected: Mapping[str, str]) -> str:
        """Where a port is, or is to be; empty while nobody can know."""
        port = self._tables.ports.get(port_id)
        server = self._tables.servers.peek(port.device_id)
        placed = port.device_id and (server is None or server.host)
        return expected.get(port_id) or (self._places.current(port_id) if placed else "")

    async def restore(self) -> None:
        """Steer the saved chains whose functions all run, or are elsewhere."""
        await self.follow(self._tables.port_chains)

    async def _steer(self, chain_id: str) -> None:
        chain = self._tables.port_chains.peek(chain_id)
        wanted = self._spec(chain) if chain else None
        if wanted == self._steered.get(chain_id):
            return
        if wanted is None:
            await self._site.plane.run(lambda fabric: fabric.steering.remove_chain(chain_id))
            del self._steered[chain_id]
        else:
            await self._site.plane.run(lambda fabric: fabric.steering.set_chain(wanted))
            self._steered[chain_id] = wanted

    def _spec(self, chain: PortChain) -> ChainSpec | None:
        """What the data plane is to do, None while a source or a function of the chain does not run."""
        classifiers = [self._tables.flow_classifiers.get(one) for one in chain.classifiers]
        sources = [one.logical_source_port for one in classifiers if one.logical_source_port]
        places = [self._place(self._tables.port_pair_groups.get(group_id)) for group_id in chain.groups]
        hops = tuple(place for place in places if place)
        if not classifiers or len(hops) < len(places) or not all(map(self._is_plugged, sources)):
            return None
        own = self._site.pop.name
        return ChainSpec(
            id=chain.id,
            pop=next((pop for port_id in self._ports_of(chain) if (pop := self._pop_of(port_id, NOWHERE))), own),
            classifiers=tuple(map(classifier_spec, classifiers)),
            hops=hops,
            symmetric=chain.symmetric,
        )

    def _place(self, group: PortPairGroup) -> Hop | None:
        """The functions of a group that run, as one place of a chain; None when none does."""
        pairs = [self._tables.port_pairs.get(pair_id) for pair_id in group.port_pairs]
        hops = [self._hop(pair) for pair in pairs if self._passes(pair.ingress) and self._passes(pair.egress)]
        if not hops:
            return None
        first, *others = hops
        return replace(first, alternatives=tuple(others), hash_by=hash_fields(group.parameters))

    def _is_plugged(self, port_id: str) -> bool:
        """Whether packets come in at a port."""
        port = self._tables.ports.peek(port_id)
        return port is not None and port.plugged

    def _passes(self, port_id: str) -> bool:
        """Whether packets pass at a port, or it stands for one in another PoP."""
        port = self._tables.ports.peek(port_id)
        return port is not None and (port.plugged or not port.device_id)

    def _hop(self, pair: PortPair) -> Hop:
        return Hop(self._hop_port(pair.ingress), self._hop_port(pair.egress), weight_of(pair.parameters))

    def _hop_port(self, port_id: str) -> HopPort:
        port = self._tables.ports.get(port_id)
        network = self._tables.networks.get(port.network_id)
        return HopPort(port.mac, self._site.id_of(network, self._places.current(port_id)), _local_id(port))

    def _pairs_of(self, chain: PortChain) -> list[PortPair]:
        groups = map(self._tables.port_pair_groups.get, chain.groups)
        return [self._tables.port_pairs.get(pair_id) for group in groups for pair_id in group.port_pairs]

    def _ports_of(self, chain: PortChain) -> set[str]:
        ends = {port_id for pair in self._pairs_of(chain) for port_id in (pair.ingress, pair.egress)}
        classifiers = map(self._tables.flow_classifiers.get, chain.classifiers)
        return ends | {found.logical_source_port for found in classifiers if found.logical_source_port}


HASHED = {
    "ip_src": "ip_src",
    "ip_dst": "ip_dst",
    "tcp_src": "sport",
    "udp_src": "sport",
    "tcp_dst": "dport",
    "udp_dst": "dport",
}
"""What the data plane calls the fields of `lb_fields`."""
HEAVIEST = 255


def hash_fields(parameters: Mapping[str, object]) -> tuple[str, ...]:
    """What tells flows apart in a group: its `lb_fields`, written `ip_src & ip_dst`, also as a list.

    Raises:
        InvalidInput: a field cannot be looked at.
    """
    asked = parameters.get("lb_fields") or []
    texts = [asked] if isinstance(asked, str) else asked
    if not isinstance(texts, list | tuple):
        raise InvalidInput(f"lb_fields '{asked}' is not a list of fields")
    names = [name.strip() for text in texts for name in str(text).split("&")]
    if unknown := [name for name in names if name not in HASHED]:
        raise InvalidInput(f"lb_fields: '{unknown[0]}' cannot be hashed here: use some of {', '.join(HASHED)}")
    return tuple(dict.fromkeys(HASHED[name] for name in names))


def weight_of(parameters: Mapping[str, object]) -> int:
    """A function's share of the flows in its group: its `weight`, 1 when it has none.

    Raises:
        InvalidInput: it is no whole number from 1 to 255.
    """
    asked = parameters.get("weight", 1)
    if not str(asked).isdigit() or not 1 <= int(str(asked)) <= HEAVIEST:
        raise InvalidInput(f"weight '{asked}' of a port pair is not a whole number from 1 to {HEAVIEST}")
    return int(str(asked))


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
