"""The data plane of an emulation as the emulator sees it.

One `Fabric` has seven parts. All calls are synchronous, come from one thread, are batched where the argument is a
sequence, and are idempotent: adding what stands already with the same specification does nothing, removing what does
not stand does nothing. Failures raise `sonata.errors.AdapterError`; what the kernel cannot do raises
`sonata.errors.Unsupported` and never leaves a silently unimpaired link.

Between PoPs everything is IPv4; inside of a PoP's networks, the external one included, IPv6 is there for those
interfaces that have an IPv6 address, and for no other.

Addressing (decided by the emulator): PoP number i (0-based) owns the external network 100.64.0.0/10,
i-th /24; its router holds `.1` there, which is also its VXLAN tunnel address. Links between PoPs are /31s of
198.18.0.0/15.
"""

from __future__ import annotations

import socket
from collections.abc import Collection, Mapping, Sequence
from dataclasses import field, replace
from ipaddress import IPv4Address, IPv4Interface, IPv4Network, IPv6Address, IPv6Interface
from typing import Literal, Protocol

from sonata._lib.ip import Address, Interface, Prefix
from sonata._lib.values import dataclass
from sonata.model.topology import CLEAN, Impairment, both_ways
from sonata.ports.metering import Metering
from sonata.ports.probing import LinkProbe

EXTERNAL = "external"
"""Network id of the external network that every PoP has from the start."""


@dataclass(frozen=True, slots=True)
class PopSpec:
    """A PoP's network: a namespace with a router and the external bridge.

    Args:
        external: address of the PoP's router on its external network.
    """

    name: str
    external: IPv4Interface


@dataclass(frozen=True, slots=True)
class LinkSpec:
    """A routed underlay link (MTU 1600) between two PoPs, with one address at each end.

    Args:
        impairment: from `a` to `b`, and back unless `reverse` says otherwise.
    """

    name: str
    a: str
    b: str
    address_a: IPv4Interface
    address_b: IPv4Interface
    impairment: Impairment = CLEAN
    reverse: Impairment | None = None


@dataclass(frozen=True, slots=True)
class LinkStatus:
    """What a link really does now.

    Args:
        impairment: from its first end to its second, and back unless `reverse` says otherwise.
        mechanism: what carries it: `veth`, `tbf`, `htb`, `netem`, `wire`, joined by `+`; `macvlan` for a direct port.
        up: whether packets may pass.
        overruns: packets that a wire had to drop since its queue was full, both directions.
        dropped: packets lost on purpose, both directions.
        forwarded: packets passed by a wire, both directions; 0 for other mechanisms.
    """

    name: str
    impairment: Impairment
    mechanism: str
    up: bool
    overruns: int = 0
    dropped: int = 0
    forwarded: int = 0
    reverse: Impairment | None = None

    @property
    def directions(self) -> tuple[Impairment, Impairment]:
        """There and back."""
        return both_ways(self.impairment, self.reverse)


@dataclass(frozen=True, slots=True)
class Reservation:
    """What a span may send over a link in one direction: layer 2 bits per second there, its tunnels' headers included.

    Args:
        rate_bps: kept free for it; what it leaves idle is for all.
        most_bps: the most that passes, at least `rate_bps`; None for as much as the link has left.
    """

    rate_bps: float
    most_bps: float | None = None


class Underlay(Protocol):
    """PoPs, the links between them, and the routes over them."""

    def add_pops(self, pops: Sequence[PopSpec]) -> None:
        """Create namespaces with router, external bridge, forwarding on, IPv6 off."""

    def remove_pops(self, names: Sequence[str]) -> None:
        """Drop PoPs and all that is in them."""

    def add_links(self, links: Sequence[LinkSpec]) -> None:
        """Create links; packets pass with the declared impairment at return."""

    def set_link(
        self, name: str, impairment: Impairment, reverse: Impairment | None = None, *, up: bool = True
    ) -> None:
        """Change a link while packets flow; also takes the id of an impaired port's access link."""

    def reserve(self, link: str, there: Mapping[int, Reservation], back: Mapping[int, Reservation]) -> None:
        """Keep this much of a link between PoPs free for spans, by VNI, while packets flow; others have nothing kept.

        What is not reserved, and what is left idle, is shared by all. It stays through changes of the link.

        Raises:
            NotFound: no such link.
        """

    def remove_links(self, names: Sequence[str]) -> None:
        """Drop links."""

    def set_routes(self, pop: str, routes: Mapping[IPv4Network, IPv4Address]) -> None:
        """Make these the PoP's routes to the other PoPs: destination network to next hop address."""

    def set_outside(self, pop: str, addresses: Sequence[IPv6Interface], routes: Mapping[Prefix, Address]) -> None:
        """Give the PoP's router these IPv6 addresses on its external network, and these routes over routers there."""

    def set_guests(self, pop: str, guests: Mapping[IPv4Address, str], *, answers: bool) -> None:
        """Make these the addresses of other PoPs' external networks that are in this PoP's, with their ports.

        Args:
            pop: which.
            guests: what comes from them is forwarded, and what goes to them; routes in other PoPs are set apart.
            answers: whether the PoP's router answers ARP requests on its external network for addresses that it
                reaches over links: for what is a guest elsewhere, and for the gateways that guests here know.
        """

    def packet_socket(self, link: str) -> socket.socket:
        """A packet socket (packet(7), all protocols) that sees both directions of a link, taken where it leaves its
        PoP `a`, or of a port by its id, taken in its PoP; the caller closes it.
        """

    def probe(self, link: str) -> LinkProbe:
        """Stand at both ends of a link, or of the access link of a port by its id, to measure it."""

    def link_status(self) -> Sequence[LinkStatus]:
        """Status of all links and of all impaired access links, by name."""


@dataclass(frozen=True, slots=True)
class Route:
    """A way to a network over a neighbour."""

    destination: Prefix
    via: Address


@dataclass(frozen=True, slots=True)
class PortSpec:
    """A network interface of a machine, plugged into a network of a PoP.

    Args:
        id: unique in the emulation; for Neutron ports their UUID.
        machine: machine that it belongs to.
        ifname: its name in the machine, `eth0`, `eth1`, ...
        mac: lower case, colon separated.
        addresses: addresses with prefix length, of either version of IP.
        gateway: IPv4 gateway of its subnet, or None; `gateway6` so for IPv6. The first interface with a gateway
            provides the default route. Where a machine has several interfaces, each with a gateway also gets a
            routing table of its own, 1000 + its index, with a default route over its gateway, and a rule for packets
            from its addresses.
        impairment: of the access link towards the machine, and back unless `reverse` says otherwise; anything else
            than clean makes the port's link visible under the port's id.
        routes: further routes of the machine over this interface.
        up: whether packets may pass.
        direct: whether it goes around the network's bridge to the other direct ports of the network in its PoP: faster,
            but nothing is filtered, shaped, impaired or steered there, and it cannot be moved. While it is down or
            held, its machine sees it down.
    """

    id: str
    pop: str
    network: str
    machine: str
    ifname: str
    mac: str
    addresses: tuple[Interface, ...] = ()
    gateway: IPv4Address | None = None
    mtu: int = 1500
    impairment: Impairment = CLEAN
    gateway6: IPv6Address | None = None
    routes: tuple[Route, ...] = ()
    up: bool = True
    direct: bool = False
    reverse: Impairment | None = None


@dataclass(frozen=True, slots=True)
class PortCounters:
    """Counters of an interface, seen from the machine: `rx` is what the machine received."""

    rx_packets: int
    rx_bytes: int
    tx_packets: int
    tx_bytes: int


class Machines(Protocol):
    """Network namespaces of machines and their interfaces."""

    def add_machines(self, names: Sequence[str]) -> None:
        """Create namespaces with loopback up and IPv6 off."""

    def remove_machines(self, names: Sequence[str]) -> None:
        """Drop namespaces and the interfaces in them."""

    def netns_path(self, name: str) -> str:
        """A path that the runtime may open to enter the machine's namespace, valid in the keeper's namespaces."""

    def add_ports(self, ports: Sequence[PortSpec]) -> None:
        """Create interfaces with addresses and routes; packets pass at return."""

    def change_ports(self, ports: Sequence[PortSpec]) -> None:
        """Bring addresses, gateways, routes and state of standing interfaces in line; the interfaces stay.

        Raises:
            NotFound: one does not stand.
            Conflict: it is to change otherwise: its machine, network, name, MAC address, MTU or impairment.
        """

    def move_ports(self, ports: Sequence[PortSpec]) -> None:
        """Plug standing interfaces into networks of other PoPs.

        The interfaces stay in their machines, with their addresses, routes and counters, so that connections live on.
        Filters that the other PoP has for them hold from the first packet, and those of the PoP that they leave go;
        rates go along; held ports stay held. Spans and chains are to be told. When it fails, all are where they were.

        Raises:
            NotFound: a port does not stand, or its network not in the other PoP.
            Conflict: anything else than PoP and network of a port is to change.
            Unsupported: a port is direct.
        """

    def remove_ports(self, ids: Sequence[str]) -> None:
        """Unplug interfaces."""

    def hold_ports(self, ids: Sequence[str], *, held: bool) -> None:
        """Let no packet pass at interfaces, or let them pass again; addresses and routes stay; unknown ids: nothing."""

    def counters(self, ids: Sequence[str]) -> Mapping[str, PortCounters]:
        """Counters by port id; unknown ids are left out."""


@dataclass(frozen=True, slots=True)
class NetworkSpec:
    """A layer 2 network inside of one PoP: one bridge, no STP. Packets pass while it is `up`."""

    id: str
    pop: str
    mtu: int = 1500
    up: bool = True


@dataclass(frozen=True, slots=True)
class SpanSpec:
    """Networks of several PoPs joined into one layer 2 network by VXLAN with learning off.

    Args:
        vni: 1..16777215.
        members: network id by PoP.
        stations: MAC addresses of the ports (routers included) by PoP; the fabric keeps forwarding entries for them.
    """

    id: str
    vni: int
    members: Mapping[str, str]
    stations: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class PortRate:
    """The most that may pass in one direction: layer 2 bits per second, and bytes that may pass at once.

    Args:
        rate_bps: at least 8,000.
        burst_bytes: 0 for a few milliseconds' worth.
    """

    rate_bps: float
    burst_bytes: int = 0


@dataclass(frozen=True, slots=True)
class PortShape:
    """What a port's machine, or whoever has an address, may send (`egress`) and receive; None is unlimited.

    Args:
        dscp: mark (RFC 2474) that all IP packets have which the machine sends; None leaves its own.
    """

    egress: PortRate | None = None
    ingress: PortRate | None = None
    dscp: int | None = None


@dataclass(frozen=True, slots=True)
class RouterInterface:
    """A router's leg into an inner network; `further` addresses besides the first.

    Args:
        scopes: address scopes of its network for IPv4 and for IPv6; empty for none.
    """

    port_id: str
    network: str
    address: Interface
    mac: str
    further: tuple[Interface, ...] = ()
    scopes: tuple[str, str] = ("", "")

    @property
    def addresses(self) -> tuple[Interface, ...]:
        """All its addresses."""
        return (self.address, *self.further)


@dataclass(frozen=True, slots=True)
class Forwarding:
    """Ports of an outer address that lead to ports of an inner one; both ranges are equally long, ends included."""

    outer: IPv4Address
    outer_ports: tuple[int, int]
    protocol: Literal["tcp", "udp"]
    inner: IPv4Address
    inner_ports: tuple[int, int]


@dataclass(frozen=True, slots=True)
class RouterSpec:
    """A Neutron router: a namespace of its own that forwards between its legs.

    Args:
        external: its address on the PoP's external network, or None without a gateway; sources in its inner subnets
            are masqueraded towards it, other sources are forwarded untouched, and so are those in the external
            network's own address scope. IPv6 is never translated.
        external_gateway: the PoP's router there; so `external_gateway6` for IPv6.
        external_scopes: address scopes of the external network. Between scopes only what is translated passes.
        external_further: further addresses there.
        floating: inner address by floating address; both directions are translated.
        forwardings: ports of floating addresses that lead inside.
        snat: whether inner sources are masqueraded at all.
        routes: further routes, each over a neighbour on one of its legs.
        shapes: what is held at its external leg for single addresses that it has there.
    """

    id: str
    pop: str
    interfaces: tuple[RouterInterface, ...] = ()
    external: IPv4Interface | None = None
    external_mac: str = ""
    external_gateway: IPv4Address | None = None
    floating: Mapping[IPv4Address, IPv4Address] = field(default_factory=dict)
    external_further: tuple[Interface, ...] = ()
    forwardings: tuple[Forwarding, ...] = ()
    snat: bool = True
    routes: tuple[Route, ...] = ()
    shapes: Mapping[IPv4Address, PortShape] = field(default_factory=dict)
    external_gateway6: IPv6Address | None = None
    external_scopes: tuple[str, str] = ("", "")


@dataclass(frozen=True, slots=True)
class PatchSpec:
    """Two networks of one PoP joined into one layer 2 network.

    Args:
        tag: the VLAN of the second network that the first one is joined to, which has its frames without the tag;
            frames of other VLANs and of none do not pass then. 0 for all frames as they are.
    """

    id: str
    pop: str
    networks: tuple[str, str]
    tag: int = 0


class Networks(Protocol):
    """Tenant networks of PoPs, spans between PoPs, patches inside of them, and routers."""

    def add_networks(self, networks: Sequence[NetworkSpec]) -> None:
        """Create bridges."""

    def change_network(self, network: NetworkSpec) -> None:
        """Change MTU or state of a bridge and of what is plugged into it, while packets flow."""

    def remove_networks(self, networks: Sequence[tuple[str, str]]) -> None:
        """Drop bridges, given as (pop, network id)."""

    def listen(self, pop: str, network: str, addresses: Collection[Address]) -> socket.socket:
        """A packet socket that hears who on a network looks for somebody who is not there yet; the caller closes it.

        Heard is who asks which station has one of these addresses (ARP, neighbour solicitations of IPv6), and who asks
        for DHCP or for routers, in whole frames. A frame that is sent back goes to everybody on the network.

        Raises:
            NotFound: no such network stands there.
        """

    def set_span(self, span: SpanSpec) -> None:
        """Create a span, or bring its members and stations up to date."""

    def remove_span(self, span_id: str) -> None:
        """Drop a span; the networks stay."""

    def set_patch(self, patch: PatchSpec) -> None:
        """Join two networks; packets pass between them at return.

        Raises:
            Unsupported: the patch has a tag, and the kernel knows none.
        """

    def remove_patch(self, patch_id: str) -> None:
        """Take them apart again; the networks stay."""

    def set_router(self, router: RouterSpec) -> None:
        """Create a router, or change it to this specification."""

    def remove_router(self, router_id: str) -> None:
        """Drop a router."""

    @property
    def missing_routers(self) -> Mapping[str, str]:
        """Routers that should stand and could not be made, with the reason, until they are; any thread may look."""


@dataclass(frozen=True, slots=True)
class Classifier:
    """Which packets enter a chain (networking-sfc flow classifier). None or empty means any.

    Args:
        source_port_id: port at which the packets enter (`logical_source_port`); without it they are taken at the
            PoP's edge: its underlay links and the access links of its endpoints.
        enters: whether the packets enter the chain in this PoP; else they come from the chain's part in another one.
    """

    protocol: Literal["tcp", "udp", "icmp"] | None = None
    source: Prefix | None = None
    destination: Prefix | None = None
    source_ports: tuple[int, int] | None = None
    destination_ports: tuple[int, int] | None = None
    source_port_id: str = ""
    ip_version: Literal[4, 6] = 4
    enters: bool = True

    def common(self, other: Classifier) -> Classifier | None:
        """What both match, None when no packet does; the packets enter where they do for this one."""
        if self.ip_version != other.ip_version or (
            self.protocol and other.protocol and self.protocol != other.protocol
        ):
            return None
        try:
            return replace(
                self,
                protocol=self.protocol or other.protocol,
                source=_narrower(self.source, other.source),
                destination=_narrower(self.destination, other.destination),
                source_ports=_shared(self.source_ports, other.source_ports),
                destination_ports=_shared(self.destination_ports, other.destination_ports),
            )
        except _Apart:
            return None


class _Apart(Exception):
    """Two conditions exclude one another."""


def _narrower(one: Prefix | None, other: Prefix | None) -> Prefix | None:
    if one is None or other is None:
        return one or other
    if not one.overlaps(other):
        raise _Apart
    return max(one, other, key=lambda prefix: prefix.prefixlen)


def _shared(one: tuple[int, int] | None, other: tuple[int, int] | None) -> tuple[int, int] | None:
    if one is None or other is None:
        return one or other
    low, high = max(one[0], other[0]), min(one[1], other[1])
    if low > high:
        raise _Apart
    return low, high


@dataclass(frozen=True, slots=True)
class HopPort:
    """One side of a service function. `port_id` is empty when the port is in another PoP on a spanned network."""

    mac: str
    network: str
    port_id: str = ""


@dataclass(frozen=True, slots=True)
class Hop:
    """A service function: packets go in at `ingress` and come back at `egress` (may be the same port).

    Args:
        weight: its share of the new flows, relative to its alternatives'; 0 gives it none.
        alternatives: functions that share the flows with it; each flow takes the same one in both directions.
        hash_by: what tells flows apart: of `ip_src`, `ip_dst`, `sport`, `dport`; empty for all of them.
        sticky: a name of letters and digits under which flows are remembered: each stays with its function when
            others come and go, and with one of weight 0; empty where a hash alone decides.
        knows_nsh: whether the function takes packets with a network service header (RFC 8300), and gives them back so.
    """

    ingress: HopPort
    egress: HopPort
    weight: int = 1
    alternatives: tuple[Hop, ...] = ()
    hash_by: tuple[str, ...] = ()
    sticky: str = ""
    knows_nsh: bool = False

    @property
    def all(self) -> tuple[Hop, ...]:
        """It and its alternatives."""
        return (self, *self.alternatives)


@dataclass(frozen=True, slots=True)
class ChainSpec:
    """The part of a service function path that lies in one PoP.

    Args:
        hops: in forward order. A first or last hop in another PoP stands for the neighbour on a spanned network:
            packets are handed to it by its MAC address, and it is neither classified for nor steered from.
        symmetric: return packets are steered too: between hops in reverse order, and at the PoP's edge back into
            the last hop when they come from the classifier's destination to its source.
        after: chains of the same PoP that branch off into this one: packets that leave their last functions here and
            match a classifier enter it, and no others do, wherever the classifiers take packets otherwise. Where
            chains want the same return packets, the one furthest from the start has them.
        renderer: name of what steers it; empty for the fabric's own choice.
        with_nsh: whether packets are to have a network service header between functions, whatever renderer is usual.

    Forward packets enter the first local hop by the full classifier; from then on the destination side of the
    classifier alone is matched at each hop's egress port, so that functions may change the source. Return packets
    are matched by the mirror image. After the last hop packets go where their destination address leads.
    """

    id: str
    pop: str
    classifiers: tuple[Classifier, ...]
    hops: tuple[Hop, ...]
    symmetric: bool = True
    after: tuple[ChainSpec, ...] = ()
    renderer: str = ""
    with_nsh: bool = False


class Steering(Protocol):
    """Service function chaining inside of a PoP."""

    def require_nsh(self) -> None:
        """Refuse chains with network service headers where they cannot be made.

        Raises:
            Unsupported: tells why.
        """

    def set_chain(self, chain: ChainSpec) -> None:
        """Steer, or change to this specification; other chains are untouched."""

    def remove_chain(self, chain_id: str) -> None:
        """Undo exactly what `set_chain` did."""


@dataclass(frozen=True, slots=True)
class AllowedSource:
    """Addresses that a port may send from: a prefix, and the MAC address that goes with it."""

    mac: str
    network: Prefix


@dataclass(frozen=True, slots=True)
class FilterRule:
    """Packets that may pass a port. None or empty means any.

    Args:
        direction: `egress` is what the machine sends.
        version: of IP.
        protocol: number of the protocol above IP.
        ports: first and last destination port; for ICMP its type and code, code -1 for any.
        remote: addresses of the other side.
        members: name of a set of addresses, as in `Filtering.set_filters`, that holds the other side's.
    """

    direction: Literal["egress", "ingress"]
    version: Literal[4, 6] = 4
    protocol: int | None = None
    ports: tuple[int, int] | None = None
    remote: Prefix | None = None
    members: str = ""


@dataclass(frozen=True, slots=True)
class PortFilter:
    """What may pass a port; everything else is dropped, but for what an interface needs to find its addresses.

    The machine may send from `sources` only, never as a DHCP server or IPv6 router.

    Args:
        port_id: the port; it need not be plugged in yet.
        stateful: whether answers to what a rule lets pass, and errors about it, pass too.
    """

    port_id: str
    sources: tuple[AllowedSource, ...]
    rules: tuple[FilterRule, ...]
    stateful: bool = True


class Filtering(Protocol):
    """Packet filters of ports, enforced outside of the machines. A port without one is not filtered."""

    def set_filters(self, pop: str, filters: Sequence[PortFilter], members: Mapping[str, Sequence[Prefix]]) -> None:
        """Filter ports of a PoP from now on, also those that are plugged in later; others stay as they are.

        Args:
            pop: where the ports are.
            filters: each replaces the one that its port has in this PoP; it goes when the port is unplugged there.
            members: sets of addresses by name; each replaces the one of this name. Sets that are not named stay.
        """

    def remove_filters(self, pop: str, ids: Sequence[str]) -> None:
        """Let everything pass these ports."""


class Shaping(Protocol):
    """Rates and marks of ports, held outside of the machines."""

    def set_shapes(self, shapes: Mapping[str, PortShape]) -> None:
        """Hold these rates at ports that stand, by their ids, while packets flow; they go with the port.

        What chains take from a port, or hand to it, counts.

        Raises:
            NotFound: a port does not stand.
        """


class Fabric(Protocol):
    """The whole data plane."""

    @property
    def underlay(self) -> Underlay:
        """PoPs and links."""

    @property
    def machines(self) -> Machines:
        """Machines and ports."""

    @property
    def networks(self) -> Networks:
        """Tenant networks, spans, routers."""

    @property
    def steering(self) -> Steering:
        """Chains."""

    @property
    def filtering(self) -> Filtering:
        """Packet filters of ports."""

    @property
    def shaping(self) -> Shaping:
        """Rates of ports."""

    @property
    def metering(self) -> Metering:
        """Counters of ports and links."""

    @property
    def calls(self) -> int:
        """A descriptor that is readable while somebody calls what is made only then; negative where there is none."""

    def answer_calls(self) -> None:
        """Make what is called.

        Raises:
            AdapterError: something could not be made; the next call has it tried again.
        """

    def expect(self, *, machines: int, routers: int) -> None:
        """Prepare for so many of them to be added soon; zero of both ends it, and drops what was prepared in vain."""

    def mend(self) -> Sequence[str]:
        """Set going again what has ended by itself, and tell it; to be called every now and then.

        Raises:
            AdapterError: tells what does not work for the time being, and why.
        """

    def close(self) -> None:
        """Drop everything, end the wire process."""
