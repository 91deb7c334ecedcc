"""Networks in the several PoPs of a site.

A network stands in the site's own PoP from the beginning, in another one while a port of it is there. What stands of a
network is one layer 2 network: a span over the links between the PoPs, with all that these do to packets.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

from sonata._lib.values import dataclass
from sonata.emulator.cloud.entities.network import Network
from sonata.emulator.cloud.network.places import Places
from sonata.emulator.cloud.site import Site
from sonata.ports.fabric import Fabric, NetworkSpec, SpanSpec


@dataclass(frozen=True, slots=True)
class _Spread:
    """Where a network stands besides the site's own PoP, and the span that joins it; None while that is made."""

    vni: int
    pops: frozenset[str]
    span: SpanSpec | None = None


class Spreading:
    """The networks of one site in its several PoPs.

    `guests` tells PoPs and MAC addresses of what is joined to a network without being a port of it.
    """

    def __init__(self, site: Site, places: Places) -> None:
        self._site = site
        self._tables = site.tables
        self._places = places
        self._spread: dict[str, _Spread] = {}
        self._turn = asyncio.Lock()
        self.guests: Callable[[str], Iterable[tuple[str, str]]] = _nobody

    def specs(self, network: Network) -> list[NetworkSpec]:
        """What a network is to be like wherever it stands."""
        spread = self._spread.get(network.id)
        return [self._spec(network, pop) for pop in (self._site.pop.name, *sorted(spread.pops if spread else ()))]

    async def follow(self, network_ids: Iterable[str]) -> None:
        """Let networks stand where ports of them are or are expected, as one network, and nowhere else."""
        if not self._site.zones.pops:
            return
        async with self._turn:
            for network_id in network_ids:
                await self._follow(network_id)

    async def _follow(self, network_id: str) -> None:
        standing, wanted = self._spread.get(network_id), self._elsewhere(network_id)
        network = self._tables.networks.peek(network_id)
        if network is None or not (standing or wanted):
            return
        standing = standing or _Spread(self._site.zones.vnis.take(), frozenset())
        span = self._span(network, standing.vni, wanted)
        if span == standing.span:
            return
        new, gone = sorted(wanted - standing.pops), sorted(standing.pops - wanted)
        added = [self._spec(network, pop) for pop in new]
        # Noted before it is made: what fails half-way is taken back, or completed, with the next change.
        self._spread[network_id] = _Spread(standing.vni, standing.pops | wanted)

        def run(fabric: Fabric) -> None:
            fabric.networks.add_networks(added)
            if wanted:
                fabric.networks.set_span(span)
            else:
                fabric.networks.remove_span(span.id)
            fabric.networks.remove_networks([(pop, network_id) for pop in gone])

        await self._site.plane.run(run)
        if wanted:
            self._spread[network_id] = _Spread(standing.vni, wanted, span)
        else:
            del self._spread[network_id]
            self._site.zones.vnis.release(standing.vni)

    def _elsewhere(self, network_id: str) -> frozenset[str]:
        """The PoPs besides the site's own in which a network has to stand."""
        found = {pop for port_id, pops in self._places if self._is_on(port_id, network_id) for pop in pops}
        found |= {pop for pop, _mac in self.guests(network_id)}
        return frozenset(found - {self._site.pop.name})

    def _span(self, network: Network, vni: int, elsewhere: frozenset[str]) -> SpanSpec:
        pops = (self._site.pop.name, *sorted(elsewhere))
        stations: dict[str, list[str]] = {pop: [] for pop in pops}
        for port in self._tables.ports:
            if port.network_id == network.id and (port.plugged or port.id in self._places):
                stations[self._places.current(port.id)].append(port.mac)
        for pop, mac in self.guests(network.id):
            stations[pop].append(mac)
        return SpanSpec(
            id=f"zones-{network.id}",
            vni=vni,
            members={pop: self._site.id_of(network, pop) for pop in pops},
            stations={pop: tuple(macs) for pop, macs in stations.items()},
        )

    def _spec(self, network: Network, pop: str) -> NetworkSpec:
        return NetworkSpec(self._site.id_of(network, pop), pop, network.mtu, network.admin_state_up)

    def _is_on(self, port_id: str, network_id: str) -> bool:
        port = self._tables.ports.peek(port_id)
        return port is not None and port.network_id == network_id


def _nobody(_network_id: str) -> Iterable[tuple[str, str]]:
    return ()
