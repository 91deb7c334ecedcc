"""Service function chaining: port pairs, groups, classifiers, and chains that really steer packets.

Vocabulary and rules of networking-sfc. A port that is bound to nothing here stands for one in another PoP on a spanned
network; the data plane hands packets over to its MAC address. A chain is steered while every port of it that is bound
here is plugged in, and not otherwise: a stopped function black-holes its chain, as in OpenStack.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from sonata.emulator.cloud.entities.chaining import NSH, FlowClassifier, PortChain, PortPair, PortPairGroup
from sonata.emulator.cloud.network.causes import (
    InconsistentCorrelations,
    PortChainInconsistentCorrelations,
    ServiceGraphPortChainInUse,
)
from sonata.emulator.cloud.network.sharing import check_parameters, pool_of, weight_of
from sonata.emulator.cloud.network.steering import Steering, classifier_spec
from sonata.emulator.cloud.rollback import undone_on_failure
from sonata.emulator.cloud.site import Site
from sonata.errors import Conflict, InvalidInput


class Chaining:
    """The four tables of networking-sfc and their way to the data plane."""

    def __init__(self, site: Site, steering: Steering) -> None:
        self._quotas = site.quotas
        self._tables = site.tables
        self._plane = site.plane
        self._steering = steering

    async def create_pair(self, pair: PortPair) -> PortPair:
        """Create a port pair.

        Raises:
            Conflict: another pair has the same ports.
        """
        weight_of(pair.parameters)
        ingress, egress = self._tables.ports.get(pair.ingress), self._tables.ports.get(pair.egress)
        if ingress.device_id != egress.device_id:
            raise InvalidInput(f"Port pair: ingress {ingress.id} and egress {egress.id} belong to different servers")
        for other in self._tables.port_pairs:
            if (other.ingress, other.egress) == (pair.ingress, pair.egress):
                raise Conflict(f"Port Pair with ingress port {pair.ingress} and egress port {pair.egress} exists.")
        self._quotas.require(pair.project_id, "port_pair")
        return self._tables.port_pairs.add(pair)

    async def update_pair(self, pair_id: str, **changes: Any) -> PortPair:
        """Change name or description."""
        return self._tables.port_pairs.change(pair_id, **changes)

    async def delete_pair(self, pair_id: str) -> None:
        """Delete a port pair that no group uses."""
        self._tables.port_pairs.get(pair_id)
        _refuse_used("Port Pair", pair_id, (group.port_pairs for group in self._tables.port_pair_groups))
        self._tables.port_pairs.remove(pair_id)

    async def create_group(self, group: PortPairGroup) -> PortPairGroup:
        """Create a port pair group.

        Raises:
            InvalidInput: a parameter of it means nothing here, or its functions differ in what they take.
            NotFound: there is no such pool to follow.
        """
        check_parameters(group.parameters)
        if pool_id := pool_of(group.parameters):
            self._tables.pools.get(pool_id)
        self._check_pairs(group.port_pairs, but="")
        self._quotas.require(group.project_id, "port_pair_group")
        return self._tables.port_pair_groups.add(group)

    async def update_group(self, group_id: str, **changes: Any) -> PortPairGroup:
        """Change a group; chains through it follow at once."""
        before = self._tables.port_pair_groups.get(group_id)
        pairs = changes.get("port_pairs", before.port_pairs)
        self._check_pairs(pairs, but=group_id)
        group = self._tables.port_pair_groups.change(group_id, **changes)
        with undone_on_failure(lambda: self._tables.port_pair_groups.put_back(before, changes)):
            chains = [chain for chain in self._tables.port_chains if group_id in chain.groups]
            for chain in chains:
                self._check_correlations(chain)
                self._steering.check(chain)
            await self._steering.follow(chains)
        return group

    async def delete_group(self, group_id: str) -> None:
        """Delete a group that no chain uses."""
        self._tables.port_pair_groups.get(group_id)
        _refuse_used("Port Pair Group", group_id, (chain.groups for chain in self._tables.port_chains))
        self._tables.port_pair_groups.remove(group_id)

    async def create_classifier(self, classifier: FlowClassifier) -> FlowClassifier:
        """Create a flow classifier."""
        if classifier.logical_source_port:
            self._tables.ports.get(classifier.logical_source_port)
        classifier_spec(classifier)
        prefixes = [prefix for prefix in (classifier.source, classifier.destination) if prefix]
        if any(prefix.version != classifier.ip_version for prefix in prefixes):
            raise InvalidInput(f"Flow classifier: a prefix is not of the ethertype IPv{classifier.ip_version}")
        self._quotas.require(classifier.project_id, "flow_classifier")
        return self._tables.flow_classifiers.add(classifier)

    async def update_classifier(self, classifier_id: str, **changes: Any) -> FlowClassifier:
        """Change name or description."""
        return self._tables.flow_classifiers.change(classifier_id, **changes)

    async def delete_classifier(self, classifier_id: str) -> None:
        """Delete a classifier that no chain uses."""
        self._tables.flow_classifiers.get(classifier_id)
        _refuse_used("Flow Classifier", classifier_id, (chain.classifiers for chain in self._tables.port_chains))
        self._tables.flow_classifiers.remove(classifier_id)

    async def create_chain(self, chain: PortChain) -> PortChain:
        """Create a port chain; packets are steered at return when its functions run.

        Raises:
            PortChainInconsistentCorrelations: its functions take packets that it does not have.
            Unsupported: it is to have network service headers, which cannot be made here.
        """
        self._check_chain(chain)
        if chain.correlation == NSH:
            await self._plane.run(lambda fabric: fabric.steering.require_nsh())
        numbered = replace(chain, chain_id=self._chain_number(chain.chain_id))
        self._quotas.require(chain.project_id, "port_chain")
        self._tables.port_chains.add(numbered)
        with undone_on_failure(lambda: self._tables.port_chains.remove(chain.id)):
            await self._steering.follow([numbered])
        return numbered

    async def update_chain(self, chain_id: str, **changes: Any) -> PortChain:
        """Change a chain; packets follow at once, and on failure it stays as it was."""
        before = self._tables.port_chains.get(chain_id)
        if not changes.keys().isdisjoint(("groups", "classifiers")):
            self._refuse_in_graph(chain_id)
        self._check_chain(replace(before, **changes))
        after = self._tables.port_chains.change(chain_id, **changes)
        with undone_on_failure(lambda: self._tables.port_chains.put_back(before, changes)):
            await self._steering.follow([after])
        return after

    async def delete_chain(self, chain_id: str) -> None:
        """Delete a chain: its packets go their ordinary way at return."""
        chain = self._tables.port_chains.get(chain_id)
        self._refuse_in_graph(chain_id)
        self._tables.port_chains.remove(chain_id)
        await self._steering.follow([chain])

    def _refuse_in_graph(self, chain_id: str) -> None:
        if any(chain_id in graph.chains for graph in self._tables.service_graphs):
            raise ServiceGraphPortChainInUse(f"Port Chain {chain_id} in use.")

    def _check_pairs(self, pair_ids: Iterable[str], *, but: str) -> None:
        others = [group for group in self._tables.port_pair_groups if group.id != but]
        if len({self._tables.port_pairs.get(pair_id).correlation for pair_id in pair_ids}) > 1:
            raise InconsistentCorrelations("The port pairs of a Port Pair Group have one correlation, or none.")
        for pair_id in pair_ids:
            _refuse_used("Port Pair", pair_id, (group.port_pairs for group in others))

    def _check_chain(self, chain: PortChain) -> None:
        for group_id in chain.groups:
            self._tables.port_pair_groups.get(group_id)
        others = [other for other in self._tables.port_chains if other.id != chain.id]
        for classifier_id in chain.classifiers:
            self._tables.flow_classifiers.get(classifier_id)
            _refuse_used("Flow Classifier", classifier_id, (other.classifiers for other in others))
        self._check_correlations(chain)
        self._steering.check(chain)

    def _check_correlations(self, chain: PortChain) -> None:
        for group in map(self._tables.port_pair_groups.get, chain.groups):
            for pair in map(self._tables.port_pairs.get, group.port_pairs):
                if pair.correlation not in (None, chain.correlation):
                    raise PortChainInconsistentCorrelations(
                        f"Port Pair Group {group.id} has the correlation {pair.correlation}, and the Port Chain "
                        f"{chain.correlation}: give the chain the chain_parameters correlation={pair.correlation}."
                    )

    def _chain_number(self, asked: int) -> int:
        taken = {chain.chain_id for chain in self._tables.port_chains}
        if asked in taken:
            raise Conflict(f"Port Chain with chain_id {asked} already exists.")
        return asked or next(number for number in range(1, len(taken) + 2) if number not in taken)


def _refuse_used(kind: str, wanted: str, users: Iterable[Iterable[str]]) -> None:
    if any(wanted in members for members in users):
        raise Conflict(f"{kind} {wanted} is in use.")
