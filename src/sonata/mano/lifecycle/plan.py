"""What a placed service needs in each PoP: networks, ports, servers, chains. Pure: the same input, the same plan.

Every virtual link becomes one network in each PoP that one of its VNFs is in. A link over several PoPs is one subnet
with disjoint address pools and one gateway per PoP (`.1` in the first, `.2` in the second, ...), the PoP's router:
so each leg of each VNF has a gateway that answers in its own PoP.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import field
from ipaddress import IPv4Network
from itertools import pairwise
from typing import Literal

from sonata._lib.values import dataclass
from sonata.errors import InvalidInput, QuotaExceeded
from sonata.model.descriptors import (
    CpRef,
    ForwardingGraph,
    ForwardingPath,
    NetworkServiceDescriptor,
    Vdu,
    VirtualLink,
    VnfDescriptor,
)

LINK_PREFIX = 24
_FIRST_HOST = 10
"""Offset of the first address given to ports in a spanned subnet; below are the gateways."""


@dataclass(frozen=True, slots=True)
class NetworkPlan:
    """The part of a virtual link in one PoP; `gateway_address` is empty for the default, the first address."""

    key: str
    link: str
    pop: str
    cidr: str
    pool: tuple[str, str] | None = None
    gateway_address: str = ""


@dataclass(frozen=True, slots=True)
class PortPlan:
    """A network interface.

    Args:
        vnf: the VNF that it belongs to, `cp` which of its connection points.
        network: key of the network that it is in.
        address: address that the descriptor asks for, empty for any.
        is_public: whether users reach it from outside: its link has an external or management connection point of the
            service, and no forwarding path leads packets over it.
    """

    key: str
    vnf: str
    cp: str
    pop: str
    network: str
    address: str = ""
    is_public: bool = False


@dataclass(frozen=True, slots=True)
class ServerPlan:
    """A server of a VNF with its ports (keys), in the order of its interfaces."""

    key: str
    vnf: str
    pop: str
    vdu: Vdu
    ports: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class RemotePort:
    """A stand-in for the port `port` of another PoP, in this PoP's part (`network`) of a spanned link."""

    key: str
    port: str
    network: str


@dataclass(frozen=True, slots=True)
class ChainPlan:
    """The part of a forwarding path that lies in one PoP.

    Args:
        pairs: ingress and egress port of each hop; keys of ports or of stand-ins.
        remote: stand-ins that it needs.
    """

    key: str
    pop: str
    pairs: tuple[tuple[str, str], ...]
    remote: tuple[RemotePort, ...]
    protocol: Literal["tcp", "udp"] | None
    destination_port: int | None


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything that a service needs, by key."""

    networks: Mapping[str, NetworkPlan] = field(default_factory=dict)
    ports: Mapping[str, PortPlan] = field(default_factory=dict)
    servers: Mapping[str, ServerPlan] = field(default_factory=dict)
    chains: Mapping[str, ChainPlan] = field(default_factory=dict)

    @property
    def pops(self) -> tuple[str, ...]:
        """PoPs in use, sorted."""
        return tuple(sorted({server.pop for server in self.servers.values()}))

    def networks_in(self, pop: str) -> list[NetworkPlan]:
        """Networks of one PoP, in order."""
        return [network for network in self.networks.values() if network.pop == pop]

    @property
    def spans(self) -> dict[str, dict[str, str]]:
        """For each virtual link over several PoPs its network key by PoP."""
        members: defaultdict[str, dict[str, str]] = defaultdict(dict)
        for network in self.networks.values():
            members[network.link][network.pop] = network.key
        return {link: pops for link, pops in members.items() if len(pops) > 1}


def make_plan(
    nsd: NetworkServiceDescriptor, vnfds: Mapping[str, VnfDescriptor], mapping: Mapping[str, str], block: str
) -> Plan:
    """Plan a service whose VNFs are placed.

    Args:
        nsd: the service.
        vnfds: VNF descriptors by `vnf_id`.
        mapping: PoP by `vnf_id`.
        block: address block for networks without an address range of their own.

    Raises:
        QuotaExceeded: the block, or a link's own range, is too small.
        InvalidInput: a forwarding path joins what no virtual link joins.
    """
    wiring = Wiring(nsd, vnfds)
    networks = _networks(wiring, mapping, block)
    servers, ports = _servers(wiring, mapping)
    chains = _chains(wiring, mapping, ports)
    return Plan({net.key: net for net in networks}, ports, servers, {chain.key: chain for chain in chains})


class Wiring:
    """Which interface of which VDU is on which link; links inside of a VNF are named `<vnf>.<link>`."""

    def __init__(self, nsd: NetworkServiceDescriptor, vnfds: Mapping[str, VnfDescriptor]) -> None:
        self.nsd, self.vnfds = nsd, vnfds
        self._outer = {(m.unit, m.cp): link.id for link in nsd.virtual_links for m in link.members if m.unit}
        self._interfaces: dict[tuple[str, str, str], tuple[str, str]] = {}
        for vnf_id, vnfd in vnfds.items():
            for vdu in vnfd.vdus:
                self._wire(vnf_id, vnfd, vdu)

    def _wire(self, vnf_id: str, vnfd: VnfDescriptor, vdu: Vdu) -> None:
        for cp in vdu.connection_points:
            inner = _link_of(vnfd, CpRef(vdu.id, cp.id))
            outer = next((m.cp for m in inner.members if not m.unit), "") if inner else cp.id
            if link := self._outer.get((vnf_id, outer), ""):
                self._interfaces[(vnf_id, vdu.id, cp.id)] = (link, outer)
            elif inner is not None and len([m for m in inner.members if m.unit]) > 1:
                self._interfaces[(vnf_id, vdu.id, cp.id)] = (f"{vnf_id}.{inner.id}", outer or cp.id)

    def interface(self, vnf_id: str, vdu_id: str, cp_id: str) -> tuple[str, str] | None:
        """Link, and connection point of the VNF, of an interface; None when nothing is connected to it."""
        return self._interfaces.get((vnf_id, vdu_id, cp_id))

    def link_of(self, ref: CpRef) -> str:
        """The service's virtual link at a connection point of a VNF, empty when there is none."""
        return self._outer.get((ref.unit, ref.cp), "")

    @property
    def links(self) -> dict[str, list[str]]:
        """VNFs by link: those of the service in order, then those inside of VNFs."""
        found: dict[str, list[str]] = {link.id: [] for link in self.nsd.virtual_links}
        for (vnf_id, _, _), (link, _) in self._interfaces.items():
            found.setdefault(link, []).append(vnf_id)
        return {link: list(dict.fromkeys(vnfs)) for link, vnfs in found.items() if vnfs}

    def cidr_of(self, link: str) -> str | None:
        """The address range that the service's descriptor asks for, by itself or by the address of a member."""
        found = next((each for each in self.nsd.virtual_links if each.id == link), None)
        if found is None or found.cidr:
            return found.cidr if found else None
        asked = [self.address_of(member.unit, member.cp) for member in found.members if member.unit]
        address = next(filter(None, asked), "")
        return str(IPv4Network((address, LINK_PREFIX), strict=False)) if address else None

    def address_of(self, vnf: str, cp: str) -> str:
        """The address that the service, or else the VNF, asks for at a connection point; empty for any."""
        wanted = str(CpRef(vnf, cp))
        asked = [each.addresses[wanted] for each in self.nsd.virtual_links if wanted in each.addresses]
        asked += [point.address for point in self.vnfds[vnf].connection_points if point.id == cp]
        return next(filter(None, asked), "")

    @property
    def public_links(self) -> frozenset[str]:
        """Links over which users reach VNFs by an address, instead of being led through them by a forwarding path."""
        outside = {cp.id for cp in self.nsd.connection_points if cp.type in ("external", "management")}
        steered = {point for graph in self.nsd.forwarding_graphs for path in graph.paths for point in path.points}
        return frozenset(
            link.id
            for link in self.nsd.virtual_links
            if not steered.intersection(link.members) and any(not m.unit and m.cp in outside for m in link.members)
        )


def _link_of(vnfd: VnfDescriptor, ref: CpRef) -> VirtualLink | None:
    return next((link for link in vnfd.virtual_links if ref in link.members), None)


def _networks(wiring: Wiring, mapping: Mapping[str, str], block: str) -> list[NetworkPlan]:
    subnets = IPv4Network(block).subnets(new_prefix=LINK_PREFIX)
    found: list[NetworkPlan] = []
    for link, vnfs in wiring.links.items():
        cidr = wiring.cidr_of(link) or str(next(subnets, ""))
        if not cidr:
            raise QuotaExceeded(f"address block {block} is too small for the virtual links of `{wiring.nsd.id}`")
        found += _parts(link, cidr, list(dict.fromkeys(mapping[vnf] for vnf in vnfs)))
    return found


def _parts(link: str, cidr: str, pops: Sequence[str]) -> list[NetworkPlan]:
    if len(pops) == 1:
        return [NetworkPlan(f"{link}@{pops[0]}", link, pops[0], cidr)]
    pools, gateways = split(IPv4Network(cidr), len(pops))
    return [
        NetworkPlan(f"{link}@{pop}", link, pop, cidr, pools[index], gateways[index]) for index, pop in enumerate(pops)
    ]


def split(subnet: IPv4Network, parts: int) -> tuple[list[tuple[str, str]], list[str]]:
    """Disjoint address pools and gateways for the parts of a spanned subnet.

    Raises:
        QuotaExceeded: it is too small.
    """
    first = max(_FIRST_HOST, parts + 1)
    size = (subnet.num_addresses - 1 - first) // parts
    if size < 1:
        raise QuotaExceeded(f"subnet {subnet} is too small to be shared by {parts} PoPs")
    starts = [first + index * size for index in range(parts)]
    pools = [(str(subnet[start]), str(subnet[start + size - 1])) for start in starts]
    return pools, [str(subnet[index + 1]) for index in range(parts)]


def _servers(wiring: Wiring, mapping: Mapping[str, str]) -> tuple[dict[str, ServerPlan], dict[str, PortPlan]]:
    servers: dict[str, ServerPlan] = {}
    ports: dict[str, PortPlan] = {}
    for vnf in wiring.nsd.vnfs:
        for vdu in wiring.vnfds[vnf.vnf_id].vdus:
            for number in range(vdu.instances):
                key = f"{vnf.vnf_id}/{vdu.id}-{number}"
                own = _ports(wiring, vnf.vnf_id, vdu, key, mapping[vnf.vnf_id])
                servers[key] = ServerPlan(key, vnf.vnf_id, mapping[vnf.vnf_id], vdu, tuple(port.key for port in own))
                ports |= {port.key: port for port in own}
    return servers, ports


def _ports(wiring: Wiring, vnf: str, vdu: Vdu, server: str, pop: str) -> list[PortPlan]:
    found = []
    for point in vdu.connection_points:
        if at := wiring.interface(vnf, vdu.id, point.id):
            link, cp = at
            # Of several instances the first one gets the address: a second one could not have it, too.
            address = wiring.address_of(vnf, cp) if server.endswith("-0") else ""
            is_public = link in wiring.public_links
            found.append(PortPlan(f"{server}/{point.id}", vnf, cp, pop, f"{link}@{pop}", address, is_public))
    return found


@dataclass(frozen=True, slots=True)
class _Hop:
    """A visit of a path: the VNF and the connection points at which packets enter and leave it."""

    vnf: str
    pop: str
    ingress: CpRef
    egress: CpRef


def _chains(wiring: Wiring, mapping: Mapping[str, str], ports: Mapping[str, PortPlan]) -> list[ChainPlan]:
    found: list[ChainPlan] = []
    by_cp: dict[tuple[str, str], str] = {}
    for port in ports.values():
        by_cp.setdefault((port.vnf, port.cp), port.key)  # of several instances the first one is in the path
    for graph in wiring.nsd.forwarding_graphs:
        for path in graph.paths:
            hops = _hops(path, mapping)
            _refuse_gaps(wiring, path, hops)
            for number, (start, end) in enumerate(_runs(hops)):
                chain = _Chain(wiring, hops, by_cp, f"{path.id}/{number}")
                found.append(chain.plan(graph, start, end))
    return found


def _hops(path: ForwardingPath, mapping: Mapping[str, str]) -> list[_Hop]:
    hops: list[_Hop] = []
    for point in path.points:
        if not point.unit:
            continue
        if hops and hops[-1].vnf == point.unit and hops[-1].ingress == hops[-1].egress:
            hops[-1] = _Hop(point.unit, hops[-1].pop, hops[-1].ingress, point)
        else:
            hops.append(_Hop(point.unit, mapping[point.unit], point, point))
    return hops


def _refuse_gaps(wiring: Wiring, path: ForwardingPath, hops: Sequence[_Hop]) -> None:
    for before, after in pairwise(hops):
        link = wiring.link_of(before.egress)
        if not link or link != wiring.link_of(after.ingress):
            gap = f"`{before.egress}` to `{after.ingress}`"
            raise InvalidInput(f"forwarding path `{path.id}` goes from {gap}, which share no virtual link")


def _runs(hops: Sequence[_Hop]) -> list[tuple[int, int]]:
    """Stretches of hops within one PoP, as first and last index."""
    starts = [index for index, hop in enumerate(hops) if index == 0 or hops[index - 1].pop != hop.pop]
    return list(zip(starts, [start - 1 for start in starts[1:]] + [len(hops) - 1], strict=True)) if hops else []


@dataclass(frozen=True, slots=True)
class _Chain:
    """The forwarding path of which a PoP's part is planned."""

    wiring: Wiring
    hops: Sequence[_Hop]
    by_cp: Mapping[tuple[str, str], str]
    key: str

    def plan(self, graph: ForwardingGraph, start: int, end: int) -> ChainPlan:
        """The part from hop `start` to hop `end`, with the neighbours in other PoPs before and after it."""
        pop = self.hops[start].pop
        before = [self._stand_in(self.hops[start - 1].egress, pop)] if start > 0 else []
        after = [self._stand_in(self.hops[end + 1].ingress, pop)] if end + 1 < len(self.hops) else []
        local = [(self._port(hop.ingress), self._port(hop.egress)) for hop in self.hops[start : end + 1]]
        pairs = [*((each.key, each.key) for each in before), *local, *((each.key, each.key) for each in after)]
        return ChainPlan(
            self.key, pop, tuple(pairs), (*before, *after), graph.protocol, graph.destination_port
        )  # fmt: skip

    def _port(self, ref: CpRef) -> str:
        return self.by_cp[(ref.unit, ref.cp)]

    def _stand_in(self, ref: CpRef, pop: str) -> RemotePort:
        port = self._port(ref)
        return RemotePort(f"remote/{pop}/{port}", port, f"{self.wiring.link_of(ref)}@{pop}")
