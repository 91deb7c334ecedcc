"""Service function chains in PoPs; they follow when interfaces come, change and go."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence

from sonata._lib.values import dataclass
from sonata.adapters.fabric_linux.chain_sites import ChainSites
from sonata.adapters.fabric_linux.chain_steps import ChainSteps
from sonata.adapters.fabric_linux.flow_switches import FlowSwitches
from sonata.adapters.fabric_linux.guards import Guards
from sonata.adapters.fabric_linux.nftables import Nftables
from sonata.adapters.fabric_linux.renderers import made
from sonata.adapters.fabric_linux.undoing import undone_by
from sonata.adapters.fabric_linux.world import World
from sonata.errors import InvalidInput, NotFound, SonataError, Unsupported
from sonata.ports.chain_rendering import DEFAULT_RENDERER, NSH_RENDERER, ChainRenderer, Rendering
from sonata.ports.fabric import ChainSpec, Hop

logger = logging.getLogger(__name__)

_NOTHING = Rendering("")


@dataclass(slots=True)
class _Chain:
    number: int
    spec: ChainSpec
    renderer: ChainRenderer
    rendering: Rendering


class LinuxSteering:
    """Implements `ports.fabric.Steering` with what renderers make of chains.

    `on_sources_changed` is told of a PoP before chains take packets from other ports of it, and after they do so,
    `before_chains` of one in which a chain is to be.

    Args:
        default: name of the renderer of chains that ask for none.
    """

    def __init__(
        self,
        world: World,
        nftables: Nftables,
        switches: FlowSwitches,
        guards: Guards,
        default: str = DEFAULT_RENDERER,
    ) -> None:
        self._world = world
        self._nftables = nftables
        self._guards = guards
        self._sites = ChainSites(world)
        self._steps = ChainSteps(world, switches)
        self._default = default
        self._renderers: dict[str, ChainRenderer] = {}
        self._chains: dict[str, _Chain] = {}
        self._sources: dict[str, tuple[str, frozenset[str]]] = {}
        self.on_sources_changed: Callable[[str], None] = _nobody
        self.before_chains: Callable[[str], None] = _nobody
        self._renderer(default)

    def set_chain(self, chain: ChainSpec) -> None:
        """Steer, or change to this specification; other chains are untouched."""
        self._check(chain)
        renderer = self._renderer_of(chain)
        check_abilities(renderer, chain)
        self._check_branches(renderer, chain)
        self.before_chains(chain.pop)
        standing = self._chains.get(chain.id)
        if standing and (standing.spec.pop != chain.pop or standing.renderer is not renderer):
            self.remove_chain(chain.id)
            standing = None
        number = standing.number if standing else self._world.new_index()
        # Senders are secured before the first of their packets is steered.
        self._sources[chain.id] = (chain.pop, _sources_of(chain))
        before = standing.rendering if standing else _NOTHING
        made = _Chain(number, chain, renderer, before)
        with undone_by(lambda: self._put_back(made, standing)):
            self.on_sources_changed(chain.pop)
            self._guards.lead_chains(chain.pop)
            self._render(made)
            self._chains[chain.id] = made
            self._tell_companions(made.rendering.companions | before.companions)

    def _put_back(self, failed: _Chain, before: _Chain | None) -> None:
        """Have a chain be what it was, however far a change of it has come."""
        chain_id = failed.spec.id
        if before is None:
            self._chains[chain_id] = failed
            self.remove_chain(chain_id)
            return
        self._chains[chain_id] = again = _Chain(failed.number, before.spec, before.renderer, failed.rendering)
        self._forget_sources(chain_id, before)
        self._render(again)
        self._tell_companions(failed.rendering.companions | again.rendering.companions)

    def remove_chain(self, chain_id: str) -> None:
        """Undo exactly what `set_chain` did."""
        chain = self._chains.get(chain_id)
        if chain is None:
            self._world.interfaces_changed()
            return
        netspace = self._world.pop(chain.spec.pop).netspace
        self._nftables.load(netspace, chain.renderer.remove(chain.number))
        rendering, chain.rendering = chain.rendering, _NOTHING
        self._steps.undo(rendering.steps)
        if not any(one.spec.pop == chain.spec.pop for one in self._chains.values() if one is not chain):
            self._guards.lead_nothing(chain.spec.pop)
        del self._chains[chain_id]
        self._forget_sources(chain_id, None)
        self._tell_companions(rendering.companions)

    def sources(self, pop: str) -> set[str]:
        """Ids of the ports of a PoP that chains take packets from."""
        return {port_id for name, known in self._sources.values() if name == pop for port_id in known}

    def _forget_sources(self, chain_id: str, standing: _Chain | None) -> None:
        """Have the sources of a chain be those that it had; none where it did not stand."""
        pop, _ = self._sources.pop(chain_id)
        if standing:
            self._sources[chain_id] = (standing.spec.pop, _sources_of(standing.spec))
        with undone_by(lambda: self._world.unsettle(pop)):
            self.on_sources_changed(pop)

    def refresh(self, pop: str) -> None:
        """Bring the chains that depend on a PoP's interfaces in line with them."""
        chains = [one for one in self._chains.values() if one.spec.pop == pop or one.rendering.depends_on_others]
        self._render_again(chains)
        if chains:
            logger.debug("chains follow the interfaces", extra={"pop": pop, "chains": len(chains)})

    def refresh_ways(self) -> None:
        """Bring the chains that lead to other PoPs in line with the ways there."""
        self._render_again([one for one in self._chains.values() if one.rendering.depends_on_others])

    def drop_contents(self, pops: Sequence[str]) -> None:
        """Forget the chains of PoPs that are about to go."""
        for chain_id in [name for name, chain in self._chains.items() if chain.spec.pop in pops]:
            chain = self._chains.pop(chain_id)
            chain.renderer.remove(chain.number)
            self._steps.undo(chain.rendering.steps)
            del self._sources[chain_id]
        self._steps.forget(pops)

    def require_nsh(self) -> None:
        """Refuse chains with network service headers where no renderer can make them."""
        self._renderer_with_nsh()

    def _renderer_of(self, chain: ChainSpec) -> ChainRenderer:
        """What a chain names, else what the fabric has; where this knows no NSH, and the chain wants it, what does."""
        if chain.with_nsh and not chain.renderer:
            return self._renderer_with_nsh()
        return self._renderer(chain.renderer)

    def _renderer_with_nsh(self) -> ChainRenderer:
        usual = self._renderer("")
        return usual if usual.abilities.nsh else self._renderer(NSH_RENDERER)

    def _renderer(self, name: str) -> ChainRenderer:
        wanted = name or self._default
        if wanted not in self._renderers:
            self._renderers[wanted] = made(wanted)
        return self._renderers[wanted]

    def _check_branches(self, renderer: ChainRenderer, chain: ChainSpec) -> None:
        if any(self._renderer_of(before) is not renderer for before in chain.after):
            raise Unsupported(
                f"chain `{chain.id}` branches off a chain of another renderer than its own, `{renderer.name}`",
                hint="let both have the same renderer",
            )

    def _render(self, chain: _Chain) -> None:
        """Put a chain as it is to be in place of what stands of it: first what it needs, then its rules."""
        before, pop = chain.rendering, chain.spec.pop
        after = chain.renderer.render(chain.number, chain.spec, self._sites.around(pop), before.rules)
        self._steps.take(after.steps)
        try:
            self._nftables.load(self._world.pop(pop).netspace, after.rules)
        except SonataError:
            self._steps.undo(after.steps)
            raise
        # Those of before that are still needed have a further user now.
        self._steps.undo(before.steps)
        chain.rendering = after

    def _render_again(self, chains: Sequence[_Chain]) -> None:
        # Always loaded: an interface that was replaced has taken its rules along, under the same name or not.
        for chain in chains:
            self._render(chain)

    def _tell_companions(self, names: Iterable[str]) -> None:
        """Bring the chains that are parts of the same way in line with one that came, changed or went."""
        self._render_again([self._chains[name] for name in sorted(names) if name in self._chains])

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


def check_abilities(renderer: ChainRenderer, chain: ChainSpec) -> None:
    """Refuse a chain that a renderer cannot make.

    Raises:
        Unsupported: telling what about it.
    """
    able = renderer.abilities
    places = [*chain.hops, *(before.hops[-1] for before in chain.after)]
    wants = {
        "takes IPv6 packets": not able.ipv6 and any(one.ip_version == 6 for one in chain.classifiers),
        "is symmetric": not able.symmetric and chain.symmetric,
        "has groups that keep their flows": not able.sticky and any(place.sticky for place in places),
        "branches off another chain": not able.branching and bool(chain.after),
        "leads through several PoPs": not able.across_pops and any(map(_is_elsewhere, places)),
        "wants network service headers": not able.nsh and chain.with_nsh,
        "has functions that know NSH": not able.nsh and any(hop.knows_nsh for place in places for hop in place.all),
    }
    if refused := [what for what, is_refused in wants.items() if is_refused]:
        raise Unsupported(
            f"chain `{chain.id}` {' and '.join(refused)}: the chain renderer `{renderer.name}` cannot do that",
            hint=f"use the renderer `{NSH_RENDERER if _wants_nsh(chain) else DEFAULT_RENDERER}`, which can",
        )


def _wants_nsh(chain: ChainSpec) -> bool:
    return chain.with_nsh or any(hop.knows_nsh for place in chain.hops for hop in place.all)


def _is_elsewhere(place: Hop) -> bool:
    return any(not port.port_id for hop in place.all for port in (hop.ingress, hop.egress))


def _sources_of(chain: ChainSpec) -> frozenset[str]:
    """Ids of the ports that a chain takes packets from."""
    return frozenset(one.source_port_id for one in chain.classifiers if one.source_port_id)


def _nobody(_pop: str) -> None:
    pass
