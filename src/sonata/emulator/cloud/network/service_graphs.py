"""Service graphs: port chains that branch into one another, as the API of networking-sfc names them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from graphlib import CycleError, TopologicalSorter
from itertools import combinations
from typing import Any

from sonata.emulator.cloud.entities.chaining import FlowClassifier, ServiceGraph
from sonata.emulator.cloud.network.causes import (
    ServiceGraphFlowClassifierInConflict,
    ServiceGraphInvalidPortChains,
    ServiceGraphLoopDetected,
    ServiceGraphPortChainInConflict,
)
from sonata.emulator.cloud.network.steering import Steering, classifier_spec
from sonata.emulator.cloud.site import Site
from sonata.errors import SonataError
from sonata.ports.fabric import Classifier


class ServiceGraphs:
    """Which chains lead to which."""

    def __init__(self, site: Site, steering: Steering) -> None:
        self._quotas = site.quotas
        self._tables = site.tables
        self._steering = steering

    async def create(self, graph: ServiceGraph) -> ServiceGraph:
        """Link chains; packets branch at return.

        Raises:
            ServiceGraphInvalidPortChains: a chain is in another graph.
            ServiceGraphLoopDetected: chains lead back to themselves.
            ServiceGraphPortChainInConflict: a chain leads to another one twice.
            ServiceGraphFlowClassifierInConflict: a packet could take two ways.
        """
        chains = [self._tables.port_chains.get(one) for one in sorted(graph.chains)]
        self._refuse_taken(graph)
        _refuse_loops(graph.port_chains)
        for destinations in graph.port_chains.values():
            self._refuse_ambiguity(destinations)
        self._quotas.require(graph.project_id, "service_graph")
        self._tables.service_graphs.add(graph)
        try:
            for chain in chains:
                self._steering.check(chain)
            await self._steering.follow(chains)
        except SonataError:
            await self.delete(graph.id)
            raise
        return graph

    async def update(self, graph_id: str, **changes: Any) -> ServiceGraph:
        """Change name or description."""
        return self._tables.service_graphs.change(graph_id, **changes)

    async def delete(self, graph_id: str) -> None:
        """Part the chains: each takes packets where its own classifiers say again."""
        graph = self._tables.service_graphs.get(graph_id)
        self._tables.service_graphs.remove(graph_id)
        await self._steering.follow(self._tables.port_chains.get(one) for one in sorted(graph.chains))

    def _refuse_taken(self, graph: ServiceGraph) -> None:
        if any(not graph.chains.isdisjoint(other.chains) for other in self._tables.service_graphs):
            raise ServiceGraphInvalidPortChains(
                f"Some of the Port Chain(s): {', '.join(sorted(graph.chains))}, are already in use by a Service Graph."
            )

    def _refuse_ambiguity(self, destinations: Sequence[str]) -> None:
        """Refuse chains of one branching point between which a packet would have to choose."""
        for chain_id in destinations:
            if destinations.count(chain_id) > 1:
                raise ServiceGraphPortChainInConflict(
                    f"Port Chain {chain_id} is duplicated on one of the branching points being created."
                )
        chains = map(self._tables.port_chains.get, destinations)
        classifiers = [self._tables.flow_classifiers.get(one) for chain in chains for one in chain.classifiers]
        for one, other in combinations(classifiers, 2):
            if _without_port(one).common(_without_port(other)):
                raise ServiceGraphFlowClassifierInConflict(
                    f"Flow Classifier {one.id} conflicts with Flow Classifier {other.id} on one of the branching "
                    "points being created."
                )


def _without_port(classifier: FlowClassifier) -> Classifier:
    """What a classifier says of a packet: where one branches, its port says nothing."""
    return replace(classifier_spec(classifier), source_port_id="")


def _refuse_loops(port_chains: Mapping[str, Sequence[str]]) -> None:
    try:
        TopologicalSorter(port_chains).prepare()
    except CycleError:
        raise ServiceGraphLoopDetected("Service Graph defined contains at least one port chain loop.") from None
