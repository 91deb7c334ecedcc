"""What of a change cannot be done to this running emulation: asked before anything is changed, told all at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from sonata.emulator.addressing import MAX_LINKS, MAX_POPS, endpoint_address, external_network
from sonata.emulator.cloud import Cloud
from sonata.emulator.cloud.compute.capacity import Usage, host_usage
from sonata.emulator.cloud.compute.flavors import DEFAULTS
from sonata.emulator.crowding import overcrowded
from sonata.emulator.definition import difference
from sonata.emulator.emulation import Emulation
from sonata.emulator.numbering import Numbers
from sonata.emulator.outlets import outlets_of
from sonata.errors import NotFound, QuotaExceeded
from sonata.model.topology import Endpoint, Link, Pop, ServerSeed, Topology
from sonata.model.topology_changes import Action, Change, Kind, impossible

_SHARES = (("vcpus", "vCPUs"), ("memory_mib", "MiB of memory"), ("disk_gib", "GiB of disk"))


class Feasibility:
    """Judges one plan for one emulation."""

    def __init__(self, emulation: Emulation, wanted: Topology, plan: tuple[Change, ...], numbers: Numbers) -> None:
        self._emulation = emulation
        self._wanted = wanted
        self._plan = plan
        self._numbers = numbers

    def refusals(self) -> Iterator[str]:
        """All reasons why the plan cannot be carried out."""
        yield from impossible(self._emulation.topology, self._wanted)
        yield from self._exhausted()
        judges: Mapping[tuple[Action, Kind], Callable[[Change], Iterator[str]]] = {
            (Action.CHANGE, Kind.POP): self._shrinking,
            (Action.CHANGE, Kind.LINK): self._promised,
            (Action.REMOVE, Kind.POP): self._leaving,
            (Action.REMOVE, Kind.ENDPOINT): self._joined,
            (Action.ADD, Kind.ENDPOINT): self._unknown_image,
            (Action.ADD, Kind.SERVER): self._impossible_server,
        }
        for change in self._plan:
            if judge := judges.get((change.action, change.kind)):
                yield from judge(change)
        yield from overcrowded(self._emulation, self._wanted, self._plan)

    def _exhausted(self) -> Iterator[str]:
        for what, known, most in (("PoPs", self._numbers.pops, MAX_POPS), ("links", self._numbers.links, MAX_LINKS)):
            if max(known.values(), default=0) >= most:
                yield f"an emulation has at most {most} {what}: use several emulations"
        for pop, known in self._numbers.endpoints.items():
            try:
                endpoint_address(external_network(0), max(known.values(), default=0))
            except QuotaExceeded as error:
                yield f"PoP `{pop}`: {error.message}: {error.hint}"
            if held := self._emulation.sites.held_by_others(pop, known):
                yield f"{held}: delete what has them, or declare fewer endpoints"

    def _shrinking(self, change: Change) -> Iterator[str]:
        """A PoP's hosts must hold what is on them."""
        pop = change.after
        if not isinstance(pop, Pop) or not isinstance(change.before, Pop):
            return
        cloud = self._emulation.sites.of(pop.name)
        left = {host.name: host for host in pop.hypervisors}
        for host in change.before.hypervisors:
            used = host_usage(change.before, host, cloud.tables)
            if host.name in left:
                yield from _overfull(pop.name, host.name, host_usage(pop, left[host.name], cloud.tables))
            elif used.servers:
                yield f"host `{host.name}` of PoP `{pop.name}` cannot go: {used.servers} servers are on it"

    def _promised(self, change: Change) -> Iterator[str]:
        """What connections have reserved of a link stays; those of sites that go do not count."""
        before, after = change.before, change.after
        if isinstance(before, Link) and isinstance(after, Link):
            leaving = [name for name in self._emulation.topology.pops if name not in self._wanted.pops]
            for reason in self._emulation.wan.broken_promises(before, after, leaving):
                yield f"{reason}: remove or change these connections first"

    def _leaving(self, change: Change) -> Iterator[str]:
        """A zone goes only when no network asks for it; a site goes with all it has."""
        pop = change.before
        if not isinstance(pop, Pop) or not pop.managed_by or pop.managed_by not in self._wanted.pops:
            return
        cloud = self._emulation.sites.of(pop.name)
        for network in cloud.tables.networks:
            if pop.name in network.zone_hints:
                yield (
                    f"PoP `{pop.name}` cannot go: network `{network.name or network.id}` of `{pop.managed_by}` asks "
                    "for this availability zone: delete the network first"
                )

    def _joined(self, change: Change) -> Iterator[str]:
        """What a layer 2 gateway joins to a network stays."""
        endpoint = change.before
        if not isinstance(endpoint, Endpoint) or endpoint.attach not in self._wanted.pops:
            return
        cloud = self._emulation.sites.of(endpoint.attach)
        for outlet in outlets_of([endpoint]):
            if network_id := cloud.l2_gateways.network_of(outlet):
                yield (
                    f"endpoint `{endpoint.name}` cannot go: its {outlet.interface} is joined to network {network_id} "
                    f"of PoP `{outlet.pop}`: delete the layer 2 gateway connection first"
                )

    def _unknown_image(self, change: Change) -> Iterator[str]:
        endpoint = change.after
        if isinstance(endpoint, Endpoint):
            yield from self._missing(endpoint.image, f"endpoint `{endpoint.name}`")

    def _impossible_server(self, change: Change) -> Iterator[str]:
        seed = change.after
        if not isinstance(seed, ServerSeed):
            return
        who = f"server `{seed.name}`"
        site = self._wanted.site_of(seed.pop)
        cloud = self._emulation.clouds.get(site)
        if cloud is None:
            yield from self._missing(seed.image, who)
            if seed.flavor not in [flavor[0] for flavor in DEFAULTS]:
                yield f"{who} asks for flavor `{seed.flavor}`, which the new PoP `{site}` does not have"
            return
        try:
            cloud.images.find(seed.image)
        except NotFound:
            yield from self._missing(seed.image, who)
        if seed.flavor not in [flavor.name for flavor in cloud.tables.flavors]:
            yield f"{who} asks for flavor `{seed.flavor}`, which PoP `{site}` does not have"
        yield from self._foreign(cloud, seed)

    def _foreign(self, cloud: Cloud, seed: ServerSeed) -> Iterator[str]:
        """A server that somebody else has made is not replaced."""
        server = cloud.seeds.find(seed.name)
        if server and seed.name not in self._emulation.topology.servers:
            yield (
                f"PoP `{cloud.pop.name}` has a server `{seed.name}` that is not the topology's "
                f"({difference(cloud, server, seed)}): rename or delete it, or declare it as it is"
            )

    def _missing(self, image: str, who: str) -> Iterator[str]:
        try:
            self._emulation.images.get(image)
        except NotFound as error:
            yield f"{who}: {error.message}" + (f": {error.hint}" if error.hint else "")


def _overfull(pop: str, host: str, usage: Usage) -> Iterator[str]:
    for field, unit in _SHARES:
        total, used = getattr(usage, field), getattr(usage, f"{field}_used")
        if used > total:
            yield f"host `{host}` of PoP `{pop}` cannot shrink to {total:g} {unit}: its servers have {used:g}"
