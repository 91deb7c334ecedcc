"""Cards: where the direct ports of a network are plugged in, beside its bridge.

A card is made like a network card with virtual functions and a switch of its own (SR-IOV, VEB): one side of a veth pair
is a port of the bridge, and each direct port is a macvlan on the other side. Direct ports of a PoP exchange frames
inside of the card, in one step instead of three, and meet everybody else over the bridge. A card is there
while a direct port is.
"""

from __future__ import annotations

from collections.abc import Iterable

import sonata.adapters.fabric_linux.requests as requests
from sonata.adapters.fabric_linux.undoing import undone_by
from sonata.adapters.fabric_linux.world import Bridge, Card, World


class Cards:
    """The cards of all networks."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._unused: set[tuple[str, str]] = set()

    def insert(self, pop: str, network: str) -> Card:
        """The card of a network in a PoP; it is made with the first port."""
        cards = self._world.pop(pop).cards
        if network not in cards:
            cards[network] = self._make(pop, self._world.bridge(pop, network))
        return cards[network]

    def resize(self, bridge: Bridge) -> None:
        """Let a bridge's card take packets as large as the bridge does."""
        pop = self._world.pop(bridge.spec.pop)
        if card := pop.cards.get(bridge.spec.id):
            pop.netspace.apply([requests.set_mtu(*end, bridge.spec.mtu) for end in (card.outer, card.inner)])

    def drop_unused(self, networks: Iterable[tuple[str, str]]) -> None:
        """Take out the cards of these networks, given as (pop, network id), in which no port is left."""
        used = {(port.spec.pop, port.spec.network) for port in self._world.ports.values() if port.spec.direct}
        self._unused = (self._unused | {*networks}) - used
        for name, network in tuple(self._unused):
            pop = self._world.pops.get(name)
            if pop and (card := pop.cards.get(network)):
                pop.netspace.apply(requests.delete_links([card.outer[0]]))
                del pop.cards[network]
            self._unused.discard((name, network))

    def _make(self, name: str, bridge: Bridge) -> Card:
        pop, outer, inner = self._world.pop(name), self._world.new_index(), self._world.new_index()
        card = Card((outer, f"c{outer}"), (inner, f"v{outer}"))
        with undone_by(lambda: pop.netspace.apply(requests.delete_links([outer]))):
            pop.netspace.apply(
                [
                    requests.veth(*card.outer, *card.inner, pop.netspace.descriptor, mtu=bridge.spec.mtu),
                    requests.enslave(*card.outer, bridge.index),
                    *(requests.set_up(*end) for end in (card.outer, card.inner)),
                ]
            )
        for ifname in (card.outer[1], card.inner[1], bridge.ifname):
            pop.netspace.synchronise(ifname)
        return card
