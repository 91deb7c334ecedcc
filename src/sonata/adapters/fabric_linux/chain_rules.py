"""The nftables rules of a service function chain in one PoP: text in, text out, no kernel.

A chain is one table of family netdev, so that it is replaced and removed exactly. Its rules look at packets as they
enter the PoP's side of an interface: of the edge, or of a function's port. A packet that matches gets the next
function's MAC address and goes straight out of the interface behind which that function is; one for a function in
another PoP is left to the bridge, which knows the tunnel. Everything else passes untouched.

A function whose port is gone is a hole in the chain: its packets are dropped rather than let past it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from ipaddress import IPv4Network
from itertools import pairwise

from sonata.errors import Unsupported
from sonata.ports.fabric import ChainSpec, Classifier, HopPort

_TUNNEL_TRAFFIC = "udp dport 4789 ip daddr & 255.192.0.255 == 100.64.0.1 accept"
_DROP = "drop"


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a chain meets in its PoP.

    Args:
        interfaces: name of the PoP's side of a port, by port id.
        addresses: addresses of ports, by port id.
        edge: names of the underlay's interfaces and of the access links of endpoints.
    """

    interfaces: Mapping[str, str]
    addresses: Mapping[str, Sequence[IPv4Network]]
    edge: Sequence[str]


def table_name(number: int) -> str:
    """Name of a chain's table."""
    return f"chain_{number}"


def render(number: int, chain: ChainSpec, around: Surroundings) -> str:
    """The table of a chain, as one transaction that replaces what stands of it."""
    by_interface: dict[str, list[str]] = {}
    for interface, rule in _rules(chain, around):
        rules = by_interface.setdefault(interface, [_TUNNEL_TRAFFIC] if interface in around.edge else [])
        if rule not in rules:
            rules.append(rule)
    lines = [remove(number), f"table netdev {table_name(number)} {{"]
    for position, (interface, rules) in enumerate(sorted(by_interface.items())):
        lines.append(f"chain c{position} {{")
        lines.append(f'type filter hook ingress device "{interface}" priority 0; policy accept;')
        lines += [*rules, "}"]
    return "\n".join((*lines, "}", ""))


def remove(number: int) -> str:
    """Drop a chain's table; it is named first, so that there is something to drop."""
    return f"table netdev {table_name(number)}\ndelete table netdev {table_name(number)}"


def _rules(chain: ChainSpec, around: Surroundings) -> Iterator[tuple[str, str]]:
    """Pairs of interface and rule, most particular first."""
    hops = chain.hops
    for classifier in chain.classifiers:
        yield from _entry(classifier, hops[0].ingress, around)
        if chain.symmetric:
            yield from _return_entry(classifier, hops[-1].egress, around)
    for here, there in pairwise(hops):
        for classifier in chain.classifiers:
            # A function with one port shows packets of both directions there: both sides have to be told apart.
            if chain.symmetric:
                backward = _mirror(_within(classifier, exact=there.ingress == there.egress))
                yield from _steer(there.ingress, here.egress, backward, around)
            forward = _within(classifier, exact=chain.symmetric and here.ingress == here.egress)
            yield from _steer(here.egress, there.ingress, forward, around)


def _entry(classifier: Classifier, first: HopPort, around: Surroundings) -> Iterator[tuple[str, str]]:
    if not first.port_id:
        return
    interfaces: Sequence[str] = around.edge
    if classifier.source_port_id:
        interfaces = [name for port, name in around.interfaces.items() if port == classifier.source_port_id]
    for interface in interfaces:
        if interface != around.interfaces.get(first.port_id):
            yield interface, f"{match(classifier)} {_hand_to(first, around)}"


def _return_entry(classifier: Classifier, last: HopPort, around: Surroundings) -> Iterator[tuple[str, str]]:
    if not last.port_id:
        return
    for interface in around.edge:
        for origin in _origins(classifier, around):
            yield interface, f"{match(_mirror(origin))} {_hand_to(last, around)}"


def _origins(classifier: Classifier, around: Surroundings) -> list[Classifier]:
    """Where a classifier names a port and no source, that port's addresses are the source."""
    if classifier.source or not classifier.source_port_id:
        return [classifier]
    known = around.addresses.get(classifier.source_port_id, ())
    return [replace(classifier, source=address) for address in known]


def _steer(
    come_from: HopPort, go_to: HopPort, classifier: Classifier, around: Surroundings
) -> Iterator[tuple[str, str]]:
    if come_from.port_id and (interface := around.interfaces.get(come_from.port_id)):
        yield interface, f"{match(classifier)} {_hand_to(go_to, around)}"


def _hand_to(port: HopPort, around: Surroundings) -> str:
    if not port.port_id:
        return f"counter ether daddr set {port.mac} accept"
    interface = around.interfaces.get(port.port_id)
    return f'counter ether daddr set {port.mac} fwd to "{interface}"' if interface else _DROP


def _within(classifier: Classifier, *, exact: bool) -> Classifier:
    """What identifies a packet between functions: its destination side alone, unless that would not do."""
    if not exact:
        return replace(classifier, source=None, source_ports=None)
    if not (classifier.source or classifier.destination or classifier.source_ports or classifier.destination_ports):
        raise Unsupported(
            "a symmetric chain through a function with one port needs a classifier that tells the directions apart",
            hint="name a source or destination prefix, or give the function two ports",
        )
    return classifier


def _mirror(classifier: Classifier) -> Classifier:
    return replace(
        classifier,
        source=classifier.destination,
        destination=classifier.source,
        source_ports=classifier.destination_ports,
        destination_ports=classifier.source_ports,
    )


def match(classifier: Classifier) -> str:
    """The matching part of a rule. ARP never matches."""
    parts = ["ether type ip"]
    if classifier.source:
        parts.append(f"ip saddr {classifier.source}")
    if classifier.destination:
        parts.append(f"ip daddr {classifier.destination}")
    ports = [
        f"th {side} {low}" if low == high else f"th {side} {low}-{high}"
        for side, (low, high) in (
            ("sport", classifier.source_ports or (0, 0)),
            ("dport", classifier.destination_ports or (0, 0)),
        )
        if (low, high) != (0, 0)
    ]
    if classifier.protocol:
        parts.append(f"ip protocol {classifier.protocol}")
    elif ports:
        parts.append("ip protocol { tcp, udp }")
    return " ".join(parts + ports)
