"""Requests to rtnetlink: links, addresses, routes, rules, neighbours, queueing disciplines.

Interface indexes are chosen by us, so a batch can create a link and use it without asking for its index in between.
Numbers are those of linux/{rtnetlink,if_link,neighbour,fib_rules,pkt_sched}.h.
"""

from __future__ import annotations

import errno
import struct
from collections.abc import Iterator, Sequence
from functools import cache
from ipaddress import IPv4Address, IPv4Network
from math import ceil
from statistics import NormalDist, pstdev

from sonata._lib import netlink
from sonata._lib.ip import Address, Interface, Prefix
from sonata._lib.netlink import (
    NLM_F_APPEND,
    NLM_F_CREATE,
    NLM_F_EXCL,
    NLM_F_REPLACE,
    Request,
    attribute,
    nested,
    text,
    u8,
    u16,
    u16_network,
    u32,
    u64,
)
from sonata.model.topology import Impairment

_AF_UNSPEC, _AF_INET, _AF_BRIDGE, _AF_INET6 = 0, 2, 7, 10
_IFF_UP, _IFF_NOARP = 1, 0x80
(
    _RTM_NEWLINK,
    _RTM_DELLINK,
    _RTM_SETLINK,
    _RTM_NEWADDR,
    _RTM_DELADDR,
    _RTM_NEWROUTE,
    _RTM_DELROUTE,
    _RTM_NEWNEIGH,
    _RTM_DELNEIGH,
    _RTM_NEWRULE,
    _RTM_DELRULE,
    _RTM_NEWQDISC,
    _RTM_DELQDISC,
) = (16, 17, 19, 20, 21, 24, 25, 28, 29, 32, 33, 36, 37)
_RTM_GETSTATS = 94
_RTM_GETQDISC = 38

_IFLA_ADDRESS, _IFLA_IFNAME, _IFLA_MTU, _IFLA_MASTER, _IFLA_TXQLEN = 1, 3, 4, 10, 13
_IFLA_LINK, _IFLA_MACVLAN_MODE, _MACVLAN_BRIDGE = 5, 1, 4
_IFLA_VLAN_ID, _IFLA_INFO_SLAVE_KIND, _IFLA_INFO_SLAVE_DATA, _IFLA_BRPORT_LEARNING = 1, 4, 5, 8
_IFLA_LINKINFO, _IFLA_GROUP, _IFLA_NET_NS_FD = 18, 27, 28
_IFLA_NUM_TX_QUEUES, _IFLA_NUM_RX_QUEUES = 31, 32
_IFLA_INFO_KIND, _IFLA_INFO_DATA, _VETH_INFO_PEER = 1, 2, 1
_IFLA_BR_FORWARD_DELAY, _IFLA_BR_STP_STATE, _IFLA_BR_MCAST_SNOOPING = 1, 5, 23
_IFLA_BR_NF_CALL_IPTABLES, _IFLA_BR_NF_CALL_IP6TABLES = 36, 37
_IFLA_VXLAN_ID, _IFLA_VXLAN_LOCAL, _IFLA_VXLAN_LEARNING, _IFLA_VXLAN_PORT, _IFLA_VXLAN_UDP_CSUM = 1, 4, 7, 15, 18
_IFA_ADDRESS, _IFA_LOCAL = 1, 2
_IFA_F_NODAD = 0x02
_RTA_DST, _RTA_OIF, _RTA_GATEWAY, _RTA_TABLE = 1, 4, 5, 15
_RT_TABLE_UNSPEC, _RT_TABLE_MAIN, _RTPROT_STATIC, _RTN_UNICAST = 0, 254, 4, 1
_SCOPE_UNIVERSE, _SCOPE_LINK = 0, 253
_RTNH_F_ONLINK = 4
_FRA_DST, _FRA_IIFNAME = 1, 3
_FRA_SRC, _FRA_PRIORITY, _FRA_FWMARK, _FRA_TABLE, _FR_ACT_TO_TBL = 2, 6, 10, 15, 1
_FRA_FWMASK, _CHAIN_MARK_BITS = 16, 0xF000FFFF
_UNMARKED, _MARKED = 490, 500
_NDA_DST, _NDA_LLADDR = 1, 2
_NTF_SELF, _NTF_MASTER = 2, 4
_NUD_STALE, _NUD_NOARP, _NUD_PERMANENT = 0x04, 0x40, 0x80
_TC_ROOT, _TC_HANDLE, _NETEM_HANDLE, _QUEUE_HANDLE = 0xFFFFFFFF, 1 << 16, 2 << 16, 3 << 16
_TCA_KIND, _TCA_OPTIONS = 1, 2
_TCA_STATS2, _TCA_STATS_QUEUE = 7, 3
_QUEUE_STATS = struct.Struct("=5I")
_NO_QUEUE = b"noqueue\0"
_TCA_TBF_PARMS, _TCA_TBF_RATE64, _TCA_TBF_BURST = 1, 4, 6
_TCA_NETEM_DELAY_DIST, _TCA_NETEM_RATE, _TCA_NETEM_RATE64 = 2, 6, 8
_TCA_NETEM_LATENCY64, _TCA_NETEM_JITTER64 = 10, 11
_LINKLAYER_ETHERNET = 1
_STATS_LINK_64 = 1

_IFINFO = struct.Struct("=BxHiII")
_IFADDR = struct.Struct("=BBBBi")
_RTMSG = struct.Struct("=BBBBBBBBI")
_NDMSG = struct.Struct("=BxxxiHBB")
_TCMSG = struct.Struct("=BxxxiIII")
_ROUTE_VIA = struct.Struct("=BBBBBBBBIHH4sHH4s")

VXLAN_PORT, VXLAN_GPE_PORT = 4789, 4790
_DOOMED = 0x50A7A
_LARGEST = 65_535
_TBF_BURST_S = 0.004
_TBF_QUEUE_S = 0.05
_FRAME = 1618
_HUGE_RATE_BYTES = 1 << 40
_NETEM_QUEUE = 100_000
_NETEM_SCALE, _NETEM_PLACES = 8192, 512
MOST_NETEM_JITTER_S = 2.0
"""The kernel keeps the standard deviation of delays in 31 bits of nanoseconds, and cuts off what is above."""
UNDER_NETEM = _NETEM_HANDLE | 1
"""The parent of a discipline that has the packets after their delay."""


def bridge(index: int, name: str, *, mtu: int, mac: str = "") -> Request:
    """A bridge that forwards at once: no spanning tree, no multicast snooping; up from the start."""
    data = (u32(_IFLA_BR_FORWARD_DELAY, 0), u32(_IFLA_BR_STP_STATE, 0), u8(_IFLA_BR_MCAST_SNOOPING, 0))
    own = (u32(_IFLA_MTU, mtu), *_mac(mac))
    return _new_link(index, name, "bridge", nested(_IFLA_INFO_DATA, *data), own, up=True)


def anchor(index: int, name: str) -> Request:
    """A bridge without ports, for addresses and routes to belong to; one that stands is no mistake."""
    return bridge(index, name, mtu=_LARGEST)._replace(tolerate=(errno.EEXIST,))


def inspect_bridged(index: int, name: str, *, wanted: bool) -> Request:
    """Let the IP layer's packet filters, connection tracking among them, see what a bridge forwards, or not."""
    flags = (u8(_IFLA_BR_NF_CALL_IPTABLES, wanted), u8(_IFLA_BR_NF_CALL_IP6TABLES, wanted))
    info = nested(_IFLA_LINKINFO, text(_IFLA_INFO_KIND, "bridge"), nested(_IFLA_INFO_DATA, *flags))
    return Request(_RTM_NEWLINK, 0, _link(index) + info, f"inspection of bridge {name}")


def veth(
    index: int,
    name: str,
    peer_index: int,
    peer_name: str,
    peer_netns: int,
    *,
    mtu: int,
    mac: str = "",
    peer_mac: str = "",
) -> Request:
    """A pair of interfaces whose peer is made in place, in the namespace of descriptor `peer_netns`.

    Both get the one queue that is used: otherwise the kernel makes one per core, and waits for a grace period of its
    readers at each end before it puts the others out of use again.
    """
    both = (u32(_IFLA_MTU, mtu), u32(_IFLA_NUM_TX_QUEUES, 1), u32(_IFLA_NUM_RX_QUEUES, 1))
    peer = _IFINFO.pack(_AF_UNSPEC, 0, peer_index, 0, 0) + b"".join(
        (text(_IFLA_IFNAME, peer_name), u32(_IFLA_NET_NS_FD, peer_netns), *both, *_mac(peer_mac))
    )
    data = nested(_IFLA_INFO_DATA, attribute(_VETH_INFO_PEER, peer))
    return _new_link(index, name, "veth", data, (*both, *_mac(mac)))


def macvlan(index: int, name: str, netns: int, *, lower: int, mtu: int, mac: str) -> Request:
    """An interface of its own MAC address on another one, made in place, in the namespace of descriptor `netns`.

    It exchanges frames with others on the same one (`lower`) directly.
    """
    data = nested(_IFLA_INFO_DATA, u32(_IFLA_MACVLAN_MODE, _MACVLAN_BRIDGE))
    own = (u32(_IFLA_LINK, lower), u32(_IFLA_NET_NS_FD, netns), u32(_IFLA_MTU, mtu), *_mac(mac))
    return _new_link(index, name, "macvlan", data, own)


def vlan(index: int, name: str, *, lower: int, tag: int, mtu: int, master: int) -> Request:
    """What has this tag on another interface (`lower`), without it; a port of the bridge `master`."""
    data = nested(_IFLA_INFO_DATA, u16(_IFLA_VLAN_ID, tag))
    own = (u32(_IFLA_LINK, lower), u32(_IFLA_MTU, mtu), u32(_IFLA_MASTER, master))
    return _new_link(index, name, "vlan", data, own)._replace(subject=f"VLAN {tag}")


def vxlan(index: int, name: str, *, vni: int, local: IPv4Address, mtu: int, master: int) -> Request:
    """A tunnel end point that knows its peers from us alone; a port of the bridge `master`."""
    data = (
        u32(_IFLA_VXLAN_ID, vni),
        attribute(_IFLA_VXLAN_LOCAL, local.packed),
        u8(_IFLA_VXLAN_LEARNING, 0),
        u16_network(_IFLA_VXLAN_PORT, VXLAN_PORT),
        u8(_IFLA_VXLAN_UDP_CSUM, 1),
    )
    own = (u32(_IFLA_MTU, mtu), u32(_IFLA_MASTER, master))
    return _new_link(index, name, "vxlan", nested(_IFLA_INFO_DATA, *data), own, up=True)


def dress_link(index: int, name: str, *, mtu: int, mac: str = "", queue: int = 10_000) -> Request:
    """Give a TAP its MTU, address and queue length."""
    body = (u32(_IFLA_MTU, mtu), u32(_IFLA_TXQLEN, queue), *_mac(mac))
    return Request(_RTM_SETLINK, 0, _link(index) + b"".join(body), f"interface {name}")


def enslave(index: int, name: str, master: int) -> Request:
    """Make an interface a port of a bridge."""
    return Request(_RTM_SETLINK, 0, _link(index) + u32(_IFLA_MASTER, master), f"bridge port {name}")


def forget_senders(index: int, name: str) -> Request:
    """Let a bridge not remember who sends behind a port of it: what is for them goes to all ports."""
    data = nested(_IFLA_INFO_SLAVE_DATA, u8(_IFLA_BRPORT_LEARNING, 0))
    info = nested(_IFLA_LINKINFO, text(_IFLA_INFO_SLAVE_KIND, "bridge"), data)
    return Request(_RTM_NEWLINK, 0, _link(index) + info, f"learning at bridge port {name}")


def set_up(index: int, name: str, *, up: bool = True) -> Request:
    """Bring an interface up or down."""
    body = _IFINFO.pack(_AF_UNSPEC, 0, index, _IFF_UP if up else 0, _IFF_UP)
    return Request(_RTM_SETLINK, 0, body, f"state of interface {name}")


def forget_neighbours(index: int, name: str) -> list[Request]:
    """Let an interface forget whom it knows: the kernel drops its table of neighbours when ARP is switched."""
    return [
        Request(_RTM_SETLINK, 0, _IFINFO.pack(_AF_UNSPEC, 0, index, flag, _IFF_NOARP), f"ARP of interface {name}")
        for flag in (_IFF_NOARP, 0)
    ]


def keep_silent(index: int, name: str) -> Request:
    """Let an interface answer nobody who asks for addresses of its namespace."""
    body = _IFINFO.pack(_AF_UNSPEC, 0, index, _IFF_NOARP, _IFF_NOARP)
    return Request(_RTM_SETLINK, 0, body, f"ARP of interface {name}")


def move_link(index: int, name: str, netns: int) -> Request:
    """Take an interface into the namespace of descriptor `netns`; it leaves its bridge, and is down there."""
    return Request(_RTM_SETLINK, 0, _link(index) + u32(_IFLA_NET_NS_FD, netns), f"move of interface {name}")


def set_mtu(index: int, name: str, mtu: int) -> Request:
    """Change the largest packet of an interface."""
    return Request(_RTM_SETLINK, 0, _link(index) + u32(_IFLA_MTU, mtu), f"MTU of interface {name}")


def loopback_up() -> Request:
    """Bring the loopback interface up."""
    return set_up(1, "lo")


def delete_links(indexes: Sequence[int]) -> list[Request]:
    """Delete interfaces at once: each deletion by itself would wait for the kernel's grace period.

    Interfaces that are gone are no mistake.
    """
    if not indexes:
        return []
    if len(indexes) == 1:
        return [Request(_RTM_DELLINK, 0, _link(indexes[0]), f"interface {indexes[0]}", (errno.ENODEV,))]
    doomed = [
        Request(_RTM_SETLINK, 0, _link(index) + u32(_IFLA_GROUP, _DOOMED), f"interface {index}", (errno.ENODEV,))
        for index in indexes
    ]
    group = Request(_RTM_DELLINK, 0, _link(0) + u32(_IFLA_GROUP, _DOOMED), "interfaces", (errno.ENODEV,))
    return [*doomed, group]


def address(index: int, name: str, value: Interface) -> Request:
    """Give an interface an address; an IPv6 address works at once, since nobody is asked whether it is taken."""
    flags = _IFA_F_NODAD if value.version == 6 else 0
    body = _IFADDR.pack(_family(value), value.network.prefixlen, flags, _SCOPE_UNIVERSE, index)
    packed = value.ip.packed
    return Request(
        _RTM_NEWADDR,
        NLM_F_CREATE | NLM_F_REPLACE,
        body + attribute(_IFA_LOCAL, packed) + attribute(_IFA_ADDRESS, packed),
        f"address {value} of {name}",
    )


def delete_address(index: int, name: str, value: Interface) -> Request:
    """Take an address from an interface."""
    body = _IFADDR.pack(_family(value), value.network.prefixlen, 0, _SCOPE_UNIVERSE, index)
    body += attribute(_IFA_LOCAL, value.ip.packed)
    return Request(_RTM_DELADDR, 0, body, f"address {value} of {name}", (errno.EADDRNOTAVAIL, errno.ENODEV))


def route_via(destination: Prefix, gateway: Address) -> Request:
    """A route of the main table to a network over a neighbour; replaces one to the same network."""
    flags = NLM_F_CREATE | NLM_F_REPLACE
    return Request(_RTM_NEWROUTE, flags, _via(destination, gateway), "route to", about=destination)


def delete_route_via(destination: Prefix, gateway: Address) -> Request:
    """Drop such a route."""
    return Request(_RTM_DELROUTE, 0, _via(destination, gateway), "route to", (errno.ESRCH,), destination)


def device_route(
    destination: Prefix, index: int, *, gateway: Address | None = None, table: int = 0, on_link: bool = False
) -> bytes:
    """Body of a route over an interface; without a gateway the network is on the link. Table 0 is the main table."""
    scope = _SCOPE_UNIVERSE if gateway else _SCOPE_LINK
    number = _RT_TABLE_UNSPEC if table else _RT_TABLE_MAIN
    flags = _RTNH_F_ONLINK if on_link else 0
    body = _RTMSG.pack(
        _family(destination), destination.prefixlen, 0, 0, number, _RTPROT_STATIC, scope, _RTN_UNICAST, flags
    )
    body += attribute(_RTA_DST, destination.network_address.packed) + u32(_RTA_OIF, index)
    if gateway:
        body += attribute(_RTA_GATEWAY, gateway.packed)
    return body + (u32(_RTA_TABLE, table) if table else b"")


def add_route(body: bytes, subject: str) -> Request:
    """Add, or replace, the route of a body made by `device_route`."""
    return Request(_RTM_NEWROUTE, NLM_F_CREATE | NLM_F_REPLACE, body, subject)


def delete_route(body: bytes, subject: str) -> Request:
    """Drop the route of a body made by `device_route`; one that is gone is no mistake."""
    return Request(_RTM_DELROUTE, 0, body, subject, (errno.ESRCH, errno.ENODEV))


def source_rule(source: Address, table: int) -> bytes:
    """Body of a rule: packets from an address look into a table; its number is also the rule's priority."""
    body = _RTMSG.pack(_family(source), 0, source.max_prefixlen, 0, _RT_TABLE_UNSPEC, 0, 0, _FR_ACT_TO_TBL, 0)
    return body + attribute(_FRA_SRC, source.packed) + u32(_FRA_PRIORITY, table) + u32(_FRA_TABLE, table)


def add_rule(body: bytes, subject: str) -> Request:
    """Add a rule; one that stands is no mistake."""
    return Request(_RTM_NEWRULE, NLM_F_CREATE | NLM_F_EXCL, body, subject, (errno.EEXIST,))


def delete_rule(body: bytes, subject: str) -> Request:
    """Drop a rule; one that is gone is no mistake."""
    return Request(_RTM_DELRULE, 0, body, subject, (errno.ENOENT,))


def mark_rule(mark: int) -> bytes:
    """Body of a rule: IPv4 packets with the mark of a chain look into the table of the same number first."""
    body = _RTMSG.pack(_AF_INET, 0, 0, 0, _RT_TABLE_UNSPEC, 0, 0, _FR_ACT_TO_TBL, 0)
    marked = u32(_FRA_FWMARK, mark) + u32(_FRA_FWMASK, _CHAIN_MARK_BITS)
    return body + marked + u32(_FRA_PRIORITY, _MARKED) + u32(_FRA_TABLE, mark)


def own_packets_rule() -> bytes:
    """Body of a rule: IPv4 packets of the namespace itself, marked or not, look into the main table."""
    return _main_table_rule(0) + text(_FRA_IIFNAME, "lo")


def destination_rule(destination: IPv4Network) -> bytes:
    """Body of a rule: packets to a network, marked or not, look into the main table."""
    return _main_table_rule(destination.prefixlen) + attribute(_FRA_DST, destination.network_address.packed)


def _main_table_rule(length: int) -> bytes:
    body = _RTMSG.pack(_AF_INET, length, 0, 0, _RT_TABLE_MAIN, 0, 0, _FR_ACT_TO_TBL, 0)
    return body + u32(_FRA_PRIORITY, _UNMARKED) + u32(_FRA_TABLE, _RT_TABLE_MAIN)


def neighbour(index: int, value: Address, mac: str, *, permanent: bool = False) -> Request:
    """Tell an interface the MAC address of a neighbour; it may learn better later unless this is permanent.

    The kernel has one table for what may be learnt, of all namespaces (`gc_thresh3` in arp(7)). Where that is full it
    will ask the neighbour itself, a moment later.
    """
    body = _NDMSG.pack(_family(value), index, _NUD_PERMANENT if permanent else _NUD_STALE, 0, 0)
    body += attribute(_NDA_DST, value.packed) + attribute(_NDA_LLADDR, mac_bytes(mac))
    full = () if permanent else (errno.ENOBUFS,)
    return Request(_RTM_NEWNEIGH, NLM_F_CREATE | NLM_F_REPLACE, body, f"neighbour {value}", full)


def delete_neighbour(index: int, value: Address) -> Request:
    """Forget a neighbour; one that is not known is no mistake."""
    body = _NDMSG.pack(_family(value), index, 0, 0, 0) + attribute(_NDA_DST, value.packed)
    return Request(_RTM_DELNEIGH, 0, body, f"neighbour {value}", (errno.ENOENT, errno.ENODEV, errno.ENXIO))


def add_tunnel_entry(index: int, mac: str, remote: IPv4Address) -> list[Request]:
    """Tell a VXLAN interface where a station is; the all-zero MAC adds a receiver of broadcasts.

    The bridge above learns nothing of silent stations, so it is told too that the tunnel is the way.
    """
    body = _tunnel_entry(index, mac, remote)
    everybody = not any(mac_bytes(mac))
    flags = NLM_F_CREATE | (NLM_F_APPEND if everybody else NLM_F_REPLACE)
    entry = Request(_RTM_NEWNEIGH, flags, body, f"tunnel entry {mac} at {remote}", (errno.EEXIST,))
    if everybody:
        return [entry]
    above = _bridge_entry(index, mac)
    return [entry, Request(_RTM_NEWNEIGH, NLM_F_CREATE | NLM_F_REPLACE, above, f"bridge entry {mac}")]


def delete_tunnel_entry(index: int, mac: str, remote: IPv4Address) -> list[Request]:
    """Undo `add_tunnel_entry`."""
    gone = (errno.ENOENT,)
    entry = Request(_RTM_DELNEIGH, 0, _tunnel_entry(index, mac, remote), f"tunnel entry {mac}", gone)
    if not any(mac_bytes(mac)):
        return [entry]
    return [entry, Request(_RTM_DELNEIGH, 0, _bridge_entry(index, mac), f"bridge entry {mac}", gone)]


def rate_limit(index: int, name: str, rate_bps: float, burst_bytes: int = 0) -> Request:
    """A token bucket at an interface's egress that holds a layer 2 rate; replaces what stands there.

    The bucket holds what is asked for, or 4 ms of the rate, and at least two frames; the queue 50 ms and at least ten
    frames.
    """
    rate, burst = _bucket(rate_bps, burst_bytes)
    limit = _most_waiting(rate, burst)
    spec = struct.pack("=BBHhHI", 0, _LINKLAYER_ETHERNET, 0, 0, 0, min(rate, 0xFFFFFFFF))
    params = spec + bytes(12) + struct.pack("=III", limit, 0, 0)
    options = (attribute(_TCA_TBF_PARMS, params), u64(_TCA_TBF_RATE64, rate), u32(_TCA_TBF_BURST, burst))
    return _qdisc(index, "tbf", nested(_TCA_OPTIONS, *options), f"rate of interface {name}")


def late(index: int, name: str, impairment: Impairment) -> Iterator[Request]:
    """Delay, jitter and rate at an interface's egress; replaces what stands there.

    Packets are late first and meet the rate then, and those that wait for it are counted in bytes: the network
    emulator's own rate bounds its queue in packets, so that small ones are lost far below the rate, and large ones wait
    for seconds.
    """
    if not impairment.rate_bps:
        yield netem(index, name, impairment)
        return
    yield rate_limit(index, name, impairment.rate_bps)
    yield netem(index, name, impairment, parent=_TC_HANDLE | 1)
    queue = attribute(_TCA_OPTIONS, struct.pack("=I", _most_waiting(*_bucket(impairment.rate_bps))))
    yield _qdisc(index, "bfifo", queue, f"queue of interface {name}", _QUEUE_HANDLE, UNDER_NETEM)


def netem(index: int, name: str, impairment: Impairment, *, parent: int = _TC_ROOT) -> Request:
    """Delay and jitter by the kernel's network emulator, at an interface's egress or below another discipline.

    It keeps the order of packets only where it has a rate, so it has one that holds nothing up: then no packet is due
    before the one ahead of it.
    """
    options = [struct.pack("=6I", 0, _NETEM_QUEUE, 0, 0, 0, 0)]
    for kind, seconds in ((_TCA_NETEM_LATENCY64, impairment.delay_s), (_TCA_NETEM_JITTER64, impairment.jitter_s)):
        options.append(attribute(kind, struct.pack("=q", round(seconds * 1e9))))
    if impairment.jitter_s:
        options.append(attribute(_TCA_NETEM_DELAY_DIST, _normal_distribution()))
    options.append(attribute(_TCA_NETEM_RATE, struct.pack("=IiIi", 0xFFFFFFFF, 0, 0, 0)))
    options.append(u64(_TCA_NETEM_RATE64, _HUGE_RATE_BYTES))
    whole = attribute(_TCA_OPTIONS, b"".join(options))
    return _qdisc(index, "netem", whole, f"delay of interface {name}", _NETEM_HANDLE, parent)


@cache
def _normal_distribution() -> bytes:
    """Deviations that are equally likely, in 8192ths of the standard deviation: the normal distribution's quantiles."""
    quantiles = [NormalDist().inv_cdf((place + 0.5) / _NETEM_PLACES) for place in range(_NETEM_PLACES)]
    scale = _NETEM_SCALE / pstdev(quantiles)
    return struct.pack(f"={_NETEM_PLACES}h", *(round(scale * value) for value in quantiles))


def delete_qdisc(index: int, name: str) -> Request:
    """Drop an interface's queueing discipline; none is no mistake."""
    body = _TCMSG.pack(_AF_UNSPEC, index, 0, _TC_ROOT, 0)
    return Request(_RTM_DELQDISC, 0, body, f"queue of interface {name}", (errno.ENOENT, errno.EINVAL))


def statistics_query() -> tuple[int, bytes]:
    """Message type and body of a dump of all interfaces' counters."""
    return _RTM_GETSTATS, struct.pack("=BBHII", _AF_UNSPEC, 0, 0, 0, 1 << (_STATS_LINK_64 - 1))


def read_statistics(payload: bytes) -> tuple[int, tuple[int, ...]]:
    """Index of an interface and its counters: rx and tx packets, rx and tx bytes, rx and tx errors, rx and tx drops."""
    (index,) = struct.unpack_from("=I", payload, 4)
    counters = netlink.attributes(payload[12:]).get(_STATS_LINK_64, bytes(64))
    return index, struct.unpack_from("=8Q", counters)


def queues_query() -> tuple[int, bytes]:
    """Message type and body of a dump of all queueing disciplines."""
    return _RTM_GETQDISC, _TCMSG.pack(_AF_UNSPEC, 0, 0, 0, 0)


def read_queue_drops(payload: bytes) -> tuple[int, int]:
    """Index of an interface and the frames that its queue has lost; 0 for parts of a queue: the whole counts them."""
    _, index, _, parent, _ = _TCMSG.unpack_from(payload)
    if parent != _TC_ROOT or payload.startswith(_NO_QUEUE, _TCMSG.size + 4):
        return index, 0
    statistics = netlink.attributes(netlink.attributes(payload[_TCMSG.size :]).get(_TCA_STATS2, b""))
    queue = statistics.get(_TCA_STATS_QUEUE, b"")
    return index, int(_QUEUE_STATS.unpack_from(queue)[2]) if len(queue) >= _QUEUE_STATS.size else 0


def mac_bytes(mac: str) -> bytes:
    """The six bytes of a colon separated MAC address."""
    return bytes.fromhex(mac.replace(":", ""))


def _new_link(index: int, name: str, kind: str, data: bytes, own: Sequence[bytes], *, up: bool = False) -> Request:
    flags = _IFF_UP if up else 0
    info = nested(_IFLA_LINKINFO, text(_IFLA_INFO_KIND, kind), data)
    body = _IFINFO.pack(_AF_UNSPEC, 0, index, flags, flags) + text(_IFLA_IFNAME, name) + b"".join(own) + info
    return Request(_RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, body, f"{kind} {name}")


def _link(index: int) -> bytes:
    return _IFINFO.pack(_AF_UNSPEC, 0, index, 0, 0)


def _mac(mac: str) -> tuple[bytes, ...]:
    return (attribute(_IFLA_ADDRESS, mac_bytes(mac)),) if mac else ()


def _family(value: Address | Prefix) -> int:
    return _AF_INET if value.version == 4 else _AF_INET6


def _via(destination: Prefix, gateway: Address) -> bytes:
    kind = (_RT_TABLE_MAIN, _RTPROT_STATIC, _SCOPE_UNIVERSE, _RTN_UNICAST, 0)
    if destination.version == 4:  # in one go: PoPs by the thousand have routes by the million
        to, over = (8, _RTA_DST, destination.network_address.packed), (8, _RTA_GATEWAY, gateway.packed)
        return _ROUTE_VIA.pack(_AF_INET, destination.prefixlen, 0, 0, *kind, *to, *over)
    body = _RTMSG.pack(_AF_INET6, destination.prefixlen, 0, 0, *kind)
    return body + attribute(_RTA_DST, destination.network_address.packed) + attribute(_RTA_GATEWAY, gateway.packed)


def _tunnel_entry(index: int, mac: str, remote: IPv4Address) -> bytes:
    body = _NDMSG.pack(_AF_BRIDGE, index, _NUD_PERMANENT | _NUD_NOARP, _NTF_SELF, 0)
    return body + attribute(_NDA_LLADDR, mac_bytes(mac)) + attribute(_NDA_DST, remote.packed)


def _bridge_entry(index: int, mac: str) -> bytes:
    return _NDMSG.pack(_AF_BRIDGE, index, _NUD_NOARP, _NTF_MASTER, 0) + attribute(_NDA_LLADDR, mac_bytes(mac))


def _bucket(rate_bps: float, burst_bytes: int = 0) -> tuple[int, int]:
    """Bytes per second, and what a bucket of that rate holds."""
    rate = max(1, round(rate_bps / 8))
    return rate, max(burst_bytes or ceil(rate * _TBF_BURST_S), 2 * _FRAME)


def _most_waiting(rate: int, burst: int) -> int:
    return min(max(ceil(rate * _TBF_QUEUE_S), 10 * _FRAME) + burst, 0xFFFFFFFF)


def _qdisc(
    index: int, kind: str, options: bytes, subject: str, handle: int = _TC_HANDLE, parent: int = _TC_ROOT
) -> Request:
    body = _TCMSG.pack(_AF_UNSPEC, index, handle, parent, 0) + text(_TCA_KIND, kind) + options
    return Request(_RTM_NEWQDISC, NLM_F_CREATE | NLM_F_REPLACE, body, subject)
