"""Bringing port chains to the data plane, and keeping them true while functions come and go."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from sonata.emulator.cloud.entities.chaining import FlowClassifier, PortChain, PortPair
from sonata.emulator.cloud.entities.network import Port
from sonata.emulator.cloud.site import Site
from sonata.errors import InvalidInput
from sonata.ports.fabric import ChainSpec, Classifier, Hop, HopPort


class Steering:
    """What is steered now. A chain is steered while every port of it that is bound here is plugged in."""

    def __init__(self, site: Site) -> None:
        self._site = site
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
        """What the data plane is to do, None while a function of the chain does not run."""
        ports = [self._tables.ports.peek(port_id) for port_id in self._ports_of(chain)]
        if not chain.classifiers or any(port is None or (port.device_id and not port.plugged) for port in ports):
            return None
        classifiers = map(self._tables.flow_classifiers.get, chain.classifiers)
        return ChainSpec(
            id=chain.id,
            pop=self._site.pop.name,
            classifiers=tuple(map(classifier_spec, classifiers)),
            hops=tuple(self._hop(pair) for pair in self._pairs_of(chain)),
            symmetric=chain.symmetric,
        )

    def _hop(self, pair: PortPair) -> Hop:
        return Hop(self._hop_port(pair.ingress), self._hop_port(pair.egress))

    def _hop_port(self, port_id: str) -> HopPort:
        port = self._tables.ports.get(port_id)
        network = self._tables.networks.get(port.network_id)
        return HopPort(port.mac, network.fabric_id, _local_id(port))

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
