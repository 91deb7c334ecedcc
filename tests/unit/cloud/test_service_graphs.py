"""Service graphs: what leaves a chain enters another one; loops and ambiguities are refused; all of it is undone."""

from __future__ import annotations

from ipaddress import IPv4Network

import pytest
from tests.unit.cloud.conftest import World

from sonata.emulator.cloud.compute.nics import NicWish
from sonata.emulator.cloud.entities.chaining import FlowClassifier, PortChain, PortPair, PortPairGroup, ServiceGraph
from sonata.emulator.cloud.network.causes import (
    PortPairEgressNoHost,
    ServiceGraphFlowClassifierInConflict,
    ServiceGraphInvalidPortChains,
    ServiceGraphLoopDetected,
    ServiceGraphPortChainInConflict,
    ServiceGraphPortChainInUse,
)

pytestmark = pytest.mark.anyio


class Chains:
    """Chains of one function each, all on one network."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.network = ""

    async def add(self, name: str, *, port: int = 0, bound: bool = True) -> PortChain:
        """A chain for TCP to a port, or for everything to 10.9.0.0/24, through a function of its own."""
        chaining = self.world.cloud.chaining
        if not self.network:
            self.network = (await self.world.network())[0].id
        if bound:
            server = await self.world.up(NicWish(network_id=self.network), name=name)
            end = server.nics[0].port_id
        else:
            end = self.world.port(self.world.cloud.tables.networks.get(self.network)).id
        pair = await chaining.create_pair(PortPair(ingress=end, egress=end))
        group = await chaining.create_group(PortPairGroup(port_pairs=(pair.id,)))
        wanted = FlowClassifier(
            protocol="tcp" if port else None,
            destination=IPv4Network("10.9.0.0/24"),
            destination_port_min=port or None,
        )
        classifier = await chaining.create_classifier(wanted)
        return await chaining.create_chain(PortChain(name=name, groups=(group.id,), classifiers=(classifier.id,)))

    async def link(self, **ways: tuple[PortChain, ...]) -> ServiceGraph:
        """A graph, by the names of its source chains."""
        named = {chain.name: chain.id for chain in self.world.cloud.tables.port_chains}
        port_chains = {named[source]: tuple(one.id for one in chains) for source, chains in ways.items()}
        return await self.world.cloud.service_graphs.create(ServiceGraph(port_chains=port_chains))


@pytest.fixture
def chains(world: World) -> Chains:
    return Chains(world)


async def test_what_leaves_a_chain_enters_its_branches_until_the_graph_goes(chains: Chains) -> None:
    steered = chains.world.fabric.steering.chains
    first, web, names = await chains.add("first"), await chains.add("web", port=80), await chains.add("names", port=53)
    last = await chains.add("last", port=80)
    graph = await chains.link(first=(web, names), web=(last,))
    assert steered[web.id].after == steered[names.id].after == (steered[first.id],)
    assert steered[last.id].after == (steered[web.id],)
    assert steered[first.id].after == ()
    renamed = await chains.world.cloud.service_graphs.update(graph.id, name="tree")
    assert renamed.name == "tree"
    await chains.world.cloud.service_graphs.delete(graph.id)
    assert all(spec.after == () for spec in steered.values())
    await chains.world.cloud.chaining.delete_chain(first.id)


async def test_branches_end_while_the_function_before_them_does_not_run(chains: Chains) -> None:
    steered = chains.world.fabric.steering.chains
    first, web = await chains.add("first"), await chains.add("web", port=80)
    await chains.link(first=(web,))
    server = next(one for one in chains.world.cloud.tables.servers if one.name == "first")
    chains.world.cloud.servers.stop(server.id)
    await chains.world.settled(server)
    assert set(steered) == set()
    chains.world.cloud.servers.start(server.id)
    await chains.world.settled(server)
    assert set(steered) == {first.id, web.id}


async def test_chains_of_a_graph_are_in_use(chains: Chains) -> None:
    first, web = await chains.add("first"), await chains.add("web", port=80)
    await chains.link(first=(web,))
    chaining = chains.world.cloud.chaining
    for refused in (
        chaining.delete_chain(web.id),
        chaining.delete_chain(first.id),
        chaining.update_chain(web.id, classifiers=()),
        chaining.update_chain(first.id, groups=web.groups),
    ):
        with pytest.raises(ServiceGraphPortChainInUse):
            await refused
    assert (await chaining.update_chain(web.id, name="renamed")).name == "renamed"
    with pytest.raises(ServiceGraphInvalidPortChains):
        await chains.link(renamed=(first,))


async def test_what_cannot_be_told_apart_or_never_ends_is_refused(chains: Chains) -> None:
    first, web, same = await chains.add("first"), await chains.add("web", port=80), await chains.add("same", port=80)
    with pytest.raises(ServiceGraphLoopDetected):
        await chains.link(first=(web,), web=(first,))
    with pytest.raises(ServiceGraphLoopDetected):
        await chains.link(first=(first,))
    with pytest.raises(ServiceGraphPortChainInConflict):
        await chains.link(first=(web, web))
    with pytest.raises(ServiceGraphFlowClassifierInConflict):
        await chains.link(first=(web, same))
    assert len(chains.world.cloud.tables.service_graphs) == 0
    assert all(spec.after == () for spec in chains.world.fabric.steering.chains.values())


async def test_a_chain_cannot_branch_where_nothing_comes_back(chains: Chains) -> None:
    web = await chains.add("web", port=80)
    await chains.add("away", bound=False)
    with pytest.raises(PortPairEgressNoHost):
        await chains.link(away=(web,))
    assert len(chains.world.cloud.tables.service_graphs) == 0
    assert chains.world.fabric.steering.chains[web.id].after == ()
