"""Service function chains in PoPs; they follow when interfaces come, change and go."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from ipaddress import ip_network

import sonata.adapters.fabric_linux.chain_rules as chain_rules
from sonata.adapters.fabric_linux.nftables import Nftables
from sonata.adapters.fabric_linux.world import World
from sonata.errors import InvalidInput, NotFound, SonataError
from sonata.ports.fabric import EXTERNAL, ChainSpec

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class _Chain:
    number: int
    spec: ChainSpec
    rules: str


class LinuxSteering:
    """Implements `ports.fabric.Steering`.

    `on_sources_changed` is told of a PoP before chains take packets from other ports of it, and after they do so.
    """

    def __init__(self, world: World, nftables: Nftables) -> None:
        self._world = world
        self._nftables = nftables
        self._chains: dict[str, _Chain] = {}
        self._sources: dict[str, tuple[str, frozenset[str]]] = {}
        self.on_sources_changed: Callable[[str], None] = _nobody

    def set_chain(self, chain: ChainSpec) -> None:
        """Steer, or change to this specification; other chains are untouched."""
        self._check(chain)
        standing = self._chains.get(chain.id)
        if standing and standing.spec.pop != chain.pop:
            self.remove_chain(chain.id)
            standing = None
        number = standing.number if standing else self._world.new_index()
        # Senders are secured before the first of their packets is steered.
        self._sources[chain.id] = (chain.pop, _sources_of(chain))
        try:
            self.on_sources_changed(chain.pop)
            around = self._surroundings(chain.pop)
            rules = chain_rules.render(number, chain, around, standing.rules if standing else "")
            self._nftables.load(self._world.pop(chain.pop).netspace, rules)
        except SonataError:
            self._forget_sources(chain.id, standing)
            raise
        self._chains[chain.id] = _Chain(number, chain, rules)

    def remove_chain(self, chain_id: str) -> None:
        """Undo exactly what `set_chain` did."""
        if chain := self._chains.pop(chain_id, None):
            netspace = self._world.pop(chain.spec.pop).netspace
            self._nftables.load(netspace, chain_rules.remove(chain.number) + "\n")
            self._forget_sources(chain_id, None)

    def sources(self, pop: str) -> set[str]:
        """Ids of the ports of a PoP that chains take packets from."""
        return {port_id for name, known in self._sources.values() if name == pop for port_id in known}

    def _forget_sources(self, chain_id: str, standing: _Chain | None) -> None:
        """Have the sources of a chain be those that it had; none where it did not stand."""
        pop, _ = self._sources.pop(chain_id)
        if standing:
            self._sources[chain_id] = (standing.spec.pop, _sources_of(standing.spec))
        self.on_sources_changed(pop)

    def refresh(self, pop: str) -> None:
        """Bring a PoP's chains in line with its interfaces."""
        chains = [chain for chain in self._chains.values() if chain.spec.pop == pop]
        if not chains:
            return
        around = self._surroundings(pop)
        for chain in chains:
            # Always loaded: an interface that was replaced has taken its rules along, under the same name or not.
            chain.rules = chain_rules.render(chain.number, chain.spec, around, chain.rules)
        self._nftables.load(self._world.pop(pop).netspace, "".join(chain.rules for chain in chains))
        logger.debug("chains follow the interfaces", extra={"pop": pop, "chains": len(chains)})

    def drop_contents(self, pops: Sequence[str]) -> None:
        """Forget the chains of PoPs that are about to go."""
        for chain_id in [name for name, chain in self._chains.items() if chain.spec.pop in pops]:
            del self._chains[chain_id]
            del self._sources[chain_id]

    def _check(self, chain: ChainSpec) -> None:
        self._world.pop(chain.pop)
        if not chain.hops or not chain.classifiers:
            raise InvalidInput(f"chain `{chain.id}` needs at least one hop and one classifier")
        places = [*chain.hops, *(before.hops[-1] for before in chain.after)]
        hops = [hop for place in places for hop in place.all]
        named = {port.port_id for hop in hops for port in (hop.ingress, hop.egress)}
        named |= {classifier.source_port_id for classifier in chain.classifiers}
        for port in sorted(named - {""}):
            standing = self._world.ports.get(port)
            if standing is None or standing.spec.pop != chain.pop:
                raise NotFound(f"chain `{chain.id}` names port `{port}`, which is not in PoP `{chain.pop}`")
            standing.require_bridged("steered from or to")

    def _surroundings(self, pop: str) -> chain_rules.Surroundings:
        known = self._world.ports.items()
        ports = {name: port for name, port in known if port.spec.pop == pop and not port.spec.direct}
        links = [link.cable.a.ifname for link in self._world.links.values() if pop in (link.spec.a, link.spec.b)]
        access = [port.cable.a.ifname for port in ports.values() if port.spec.network == EXTERNAL]
        return chain_rules.Surroundings(
            interfaces={name: port.steered_name for name, port in ports.items()},
            addresses={name: [ip_network(value.ip) for value in port.spec.addresses] for name, port in ports.items()},
            edge=[*links, *access],
        )


def _sources_of(chain: ChainSpec) -> frozenset[str]:
    """Ids of the ports that a chain takes packets from."""
    return frozenset(one.source_port_id for one in chain.classifiers if one.source_port_id)


def _nobody(_pop: str) -> None:
    pass
