"""The nftables rules of filtered ports: text in, text out, no kernel.

Three places, since connections are tracked in the IP layer only (ADR 8). At the PoP's side of a port (family netdev),
frames with forged sources are dropped, before chains steer them. Where the bridge forwards (family bridge), both ports
of a frame are known: the rules of both filters are looked at, and what they say is noted
in the packet's mark. Right after, the IP layer, called by br_netfilter, knows the connection: an answer passes,
anything else needs what the mark says. Each network is a connection tracking zone, so that addresses may overlap.

Every packet in a connection's first direction is judged by the rules, so that a rule that goes ends connections, too.

The library reads what stands before it changes anything: every table by itself, and the contents of every set without
a name. So the ports of a PoP share two tables, and sets that all of them need have names.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Network, collapse_addresses

from sonata._lib.ip import Prefix
from sonata.ports.fabric import AllowedSource, FilterRule, PortFilter

_TRACKED, _REFUSED, _KNOWN = 0x01000000, 0x02000000, 0x04000000
"""Bits of a packet's mark: a stateful port is concerned; a filter has no rule for it; it answers something allowed."""

_ICMP, _ICMPV6 = 1, 58
_ANY_CODE = -1
_UNSPECIFIED = str(IPv4Address(0))
_FAMILIES = {4: "ip", 6: "ip6"}
_ENOUGH_FOR_EGRESS = (
    "ether type ip udp sport 68 udp dport 67 return",
    "ether type ip6 udp sport 546 udp dport 547 return",
    "icmpv6 type @neighbourly_senders return",
)
_ENOUGH_FOR_INGRESS = (
    "ether type ip udp sport 67 udp dport 68 return",
    "ether type ip6 udp sport 547 udp dport 546 return",
    "icmpv6 type @neighbourly_receivers return",
)
"""What an interface needs to get its addresses and to find its neighbours passes always, as in Neutron."""

FOUNDATION = f"""table bridge security
delete table bridge security
table netdev security
delete table netdev security
table netdev security {{
set asking {{
type icmpv6_type
elements = {{ mld2-listener-report, nd-router-solicit, nd-neighbor-solicit }}
}}
}}
table bridge security {{
set neighbourly_senders {{
type icmpv6_type
elements = {{ mld-listener-query, mld-listener-report, mld2-listener-report, nd-router-solicit, nd-neighbor-solicit,
nd-neighbor-advert }}
}}
set neighbourly_receivers {{
type icmpv6_type
elements = {{ mld-listener-query, mld-listener-report, mld-listener-done, nd-router-advert, nd-neighbor-solicit,
nd-neighbor-advert }}
}}
map senders {{
type ifname : verdict
}}
map receivers {{
type ifname : verdict
}}
chain passing {{
type filter hook forward priority -200; policy accept;
ether type {{ ip, ip6 }} iifname vmap @senders
ether type {{ ip, ip6 }} oifname vmap @receivers
}}
chain to_the_router {{
type filter hook input priority -200; policy accept;
ether type {{ ip, ip6 }} iifname vmap @senders
}}
chain from_the_router {{
type filter hook output priority -200; policy accept;
meta mark & {_KNOWN:#x} != 0 accept
ether type {{ ip, ip6 }} oifname vmap @receivers
meta mark & {_REFUSED:#x} != 0 drop
}}
}}
"""
"""What filters of a PoP share, loaded before the first one."""
WITHOUT_FOUNDATION = "".join(
    f"table {family} security\ndelete table {family} security\n" for family in ("bridge", "netdev")
)
"""Loaded after the last one has gone."""


def zones(networks: Mapping[str, int], *, routed: bool) -> str:
    """The tracking of connections, as one transaction that replaces what stands of it.

    Args:
        networks: number of the zone, 1 and up, by name of the bridge.
        routed: whether connections through the PoP's own router are tracked, too, in zone 0.
    """
    lines = ["table inet security", "delete table inet security"]
    if not networks and not routed:
        return "\n".join((*lines, ""))
    lines += ["table inet security {", "chain zones {", "type filter hook prerouting priority raw; policy accept;"]
    lines += [f'iifname "{name}" ct zone set {number}' for name, number in sorted(networks.items())]
    if not routed:
        inspected = ", ".join(f'"{name}"' for name in sorted(networks))
        lines += [f"iifname != {{ {inspected} }} notrack", "}"]
        lines += ["chain own {", "type filter hook output priority raw; policy accept;", "notrack"]
    lines += ["}", *_states(), "}", ""]
    return "\n".join(lines)


def _states() -> Iterator[str]:
    yield "chain states {"
    yield f"meta mark & {_TRACKED:#x} == 0 return"
    yield "ct state related return"
    yield "ct state established ct direction reply return"
    yield "ct state invalid drop"
    yield f"meta mark & {_REFUSED:#x} != 0 drop"
    yield "}"
    for hook in ("forward", "input"):
        yield f"chain {hook} {{"
        yield f"type filter hook {hook} priority 0; policy accept;"
        yield "jump states"
        yield "}"
    yield "chain answers {"
    yield "type filter hook postrouting priority 0; policy accept;"
    yield f"ct state related meta mark set meta mark | {_KNOWN:#x}"
    yield f"ct state established ct direction reply meta mark set meta mark | {_KNOWN:#x}"
    yield "}"


def port(interface: str, wanted: PortFilter, sets: Mapping[str, int]) -> str:
    """The filter of a port whose PoP side has this name, as additions to the foundation; replaces what stands of it.

    Args:
        interface: name of the port's side in the PoP.
        wanted: the filter.
        sets: number of each set of addresses that its rules name.
    """
    lines: list[str] = []
    for chain, direction, free in (
        (f"from_{interface}", "egress", _ENOUGH_FOR_EGRESS),
        (f"to_{interface}", "ingress", _ENOUGH_FOR_INGRESS),
    ):
        lines += [f"add chain bridge security {chain}", f"flush chain bridge security {chain}"]
        mine = [rule for rule in wanted.rules if rule.direction == direction]
        verdicts = [*free, *_tracked(wanted), *(f"{match(rule, sets)} return" for rule in mine), _otherwise(wanted)]
        lines += [f"add rule bridge security {chain} {rule}" for rule in dict.fromkeys(verdicts)]
    lines.append(f'add element bridge security senders {{ "{interface}" : jump from_{interface} }}')
    lines.append(f'add element bridge security receivers {{ "{interface}" : jump to_{interface} }}')
    return "\n".join((*lines, ""))


def without_port(interface: str) -> str:
    """Take a port's filter out again."""
    lines = []
    for kind, chain in (("senders", f"from_{interface}"), ("receivers", f"to_{interface}")):
        lines.append(f'delete element bridge security {kind} {{ "{interface}" }}')
        lines += [f"flush chain bridge security {chain}", f"delete chain bridge security {chain}"]
    return "\n".join((*lines, without_guard(interface)))


def _tracked(wanted: PortFilter) -> Sequence[str]:
    return (f"meta mark set meta mark | {_TRACKED:#x}",) if wanted.stateful else ()


def _otherwise(wanted: PortFilter) -> str:
    """What becomes of packets for which there is no rule."""
    return f"meta mark set meta mark | {_REFUSED:#x}" if wanted.stateful else "drop"


def match(rule: FilterRule, sets: Mapping[str, int]) -> str:
    """The matching part of a rule."""
    family = _FAMILIES[rule.version]
    side = f"{family} {'daddr' if rule.direction == 'egress' else 'saddr'}"
    parts = [f"ether type {family}"]
    if rule.remote and rule.remote.prefixlen:
        parts.append(f"{side} {rule.remote}")
    if rule.members:
        parts.append(f"{side} @{set_name(sets[rule.members], rule.version)}")
    if rule.protocol is not None:
        parts.append(f"meta l4proto {rule.protocol}")
    if rule.ports:
        parts.append(_ports(rule.protocol, *rule.ports))
    return " ".join(parts)


def _ports(protocol: int | None, first: int, last: int) -> str:
    if protocol in (_ICMP, _ICMPV6):
        name = "icmp" if protocol == _ICMP else "icmpv6"
        return f"{name} type {first}" + ("" if last == _ANY_CODE else f" {name} code {last}")
    return f"th dport {first}" if first == last else f"th dport {first}-{last}"


def set_name(number: int, version: int) -> str:
    """Name of a set of addresses."""
    return f"members_{number}_v{version}"


def members(number: int, addresses: Iterable[Prefix]) -> str:
    """A set of addresses, one for each version of IP, as additions to the foundation; replaces what is in it."""
    known = list(addresses)
    v4 = collapse_addresses(one for one in known if isinstance(one, IPv4Network))
    v6 = collapse_addresses(one for one in known if isinstance(one, IPv6Network))
    lines: list[str] = []
    for version, kind, inside in ((4, "ipv4_addr", list(map(str, v4))), (6, "ipv6_addr", list(map(str, v6)))):
        name = set_name(number, version)
        lines.append(f"add set bridge security {name} {{ type {kind}; flags interval; }}")
        lines.append(f"flush set bridge security {name}")
        if inside:
            lines.append(f"add element bridge security {name} {{ {', '.join(inside)} }}")
    return "\n".join((*lines, ""))


def without_members(number: int) -> str:
    """Take a set of addresses out again, once no rule names it."""
    return "".join(f"delete set bridge security {set_name(number, version)}\n" for version in (4, 6))


def guard(interface: str, sources: Sequence[AllowedSource]) -> str:
    """What drops forged frames where a port's frames enter the PoP; replaces what stands of it.

    ARP tells the truth about the sender, IP comes from an allowed address, or from none while one is being asked for.
    """
    macs = sorted({source.mac for source in sources})
    lines = [f"{without_guard(interface)}table netdev security {{", f"chain guard_{interface} {{"]
    lines.append(f'type filter hook ingress device "{interface}" priority -100; policy drop;')
    if macs:
        lines.append(f"ether saddr != {_one_of(macs)} drop")
    lines += [
        "ether type ip udp sport 67 udp dport 68 drop",
        "ether type ip6 udp sport 547 udp dport 546 drop",
        "icmpv6 type nd-router-advert drop",
        f"ether type ip ip saddr {_UNSPECIFIED} udp sport 68 udp dport 67 accept",
        "ip6 saddr :: icmpv6 type @asking accept",
        *(rule for mac in macs for rule in _of_station(mac, sources)),
    ]
    return "\n".join((*lines, "}", "}", ""))


def without_guard(interface: str) -> str:
    """Drop a port's guard; it is added first, so that there is something to drop."""
    return "".join(f"{verb} chain netdev security guard_{interface}\n" for verb in ("add", "flush", "delete"))


def _of_station(mac: str, sources: Sequence[AllowedSource]) -> Iterator[str]:
    own = [source.network for source in sources if source.mac == mac]
    v4 = list(map(str, collapse_addresses(one for one in own if isinstance(one, IPv4Network))))
    v6 = list(map(str, collapse_addresses([*(one for one in own if isinstance(one, IPv6Network)), _local(mac)])))
    told = f"ether saddr {mac} arp saddr ether {mac}"
    # A station that probes whether an address is free does not claim it yet (RFC 5227).
    yield f"{told} arp saddr ip {_UNSPECIFIED} accept"
    if v4:
        yield f"{told} arp saddr ip {_one_of(v4)} accept"
        yield f"ether saddr {mac} ip saddr {_one_of(v4)} accept"
    yield f"ether saddr {mac} ip6 saddr {_one_of(v6)} accept"


def _one_of(values: Sequence[str]) -> str:
    return values[0] if len(values) == 1 else f"{{ {', '.join(values)} }}"


def _local(mac: str) -> IPv6Network:
    """The link-local address that belongs to a MAC address (RFC 4291, appendix A)."""
    parts = bytes.fromhex(mac.replace(":", ""))
    host = bytes((parts[0] ^ 2,)) + parts[1:3] + b"\xff\xfe" + parts[3:]
    return IPv6Network((b"\xfe\x80" + bytes(6) + host, 128))
