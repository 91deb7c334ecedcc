"""The nftables rules of a service function chain in one PoP: text in, text out, no kernel.

A chain is one table of family netdev, so that it is replaced and removed exactly. Its rules look at packets as they
enter the PoP's side of an interface: of the edge, or of a function's port. A packet that matches gets the next
function's MAC address and goes straight out of the interface behind which that function is; one for a function in
another PoP is left to the bridge, which knows the tunnel. Everything else passes untouched.

A chain that others branch off into takes packets where these leave the others' last functions, and there alone. It
looks at packets before them, since at the edge both may want what returns.

A function whose port is gone is a hole in the chain: its packets are dropped rather than let past it.

Where flows are to stay with their function, the rules lead to those of `sticky_rules`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise

import sonata.adapters.fabric_linux.sticky_rules as sticky_rules
from sonata._lib.ip import Prefix
from sonata._lib.values import dataclass
from sonata.adapters.fabric_linux.sticky_rules import SEED, Picker
from sonata.errors import Unsupported
from sonata.ports.chain_rendering import Surroundings
from sonata.ports.fabric import ChainSpec, Classifier, Hop, HopPort

_TUNNEL_TRAFFIC = "udp dport { 4789, 4790 } ip daddr & 255.192.0.255 == 100.64.0.1 accept"
DROP = "drop"
_DEEPEST = 90
"""Guards, which drop forged frames, come before all chains."""
_NAMES = ("ip_src", "sport", "dport", "ip_dst")
_FIELDS = ("ip saddr", "th sport", "th dport", "ip daddr")
"""What tells flows apart, in an order that reads the same for returning packets when it is turned round."""
_DISCOVERY = "ether type ip6 icmpv6 type 133-137 accept"
"""Neighbour and router discovery is a network's own affair."""


Hand = Callable[[HopPort, bool], str]
"""What leads a packet to a function's port, as a returning one or not: the end of a rule."""

Door = tuple[str, str]
"""An interface at which packets come in, and what tells those meant from the others there."""


@dataclass(frozen=True, slots=True)
class _Scene:
    """What a chain meets, and how its packets are handed on there."""

    interfaces: Mapping[str, str]
    addresses: Mapping[str, Sequence[Prefix]]
    edge: Sequence[str]
    hand: Hand
    doors: Mapping[str, Sequence[Door]]


def table_name(number: int) -> str:
    """Name of a chain's table."""
    return f"chain_{number}"


def render(
    number: int,
    chain: ChainSpec,
    surroundings: Surroundings,
    standing: str = "",
    *,
    hand: Hand | None = None,
    tables: Sequence[str] = (),
    first: Sequence[str] = (),
    doors: Mapping[str, Sequence[Door]] | None = None,
    before: Sequence[tuple[str, str]] = (),
    behind: Sequence[tuple[str, str]] = (),
) -> str:
    """The table of a chain, as one transaction that replaces what stands of it.

    Args:
        number: of the chain, in its PoP.
        chain: where packets are to go.
        surroundings: what the chain meets.
        standing: the rules that it replaces; flows that these remember stay remembered.
        hand: what leads a packet to a port; straight out of the interface behind which that is, unless told.
        tables: what `hand` looks things up in.
        first: rules that come before all others at each interface.
        doors: where else than at their own interface packets come from ports, by port id.
        before: pairs of interface and rule that come before all others.
        behind: pairs of interface and rule that come after them.
    """
    around = _Scene(
        surroundings.interfaces,
        surroundings.addresses,
        surroundings.edge,
        hand or (lambda port, _backward: _hand_to(port, surroundings)),
        doors or {},
    )
    by_interface: dict[str, list[str]] = {}
    discovery = [_DISCOVERY] if any(classifier.ip_version == 6 for classifier in chain.classifiers) else []
    passing = [*first, *discovery]
    leading: dict[str, list[str]] = {}
    for interface, rule in before:
        leading.setdefault(interface, []).append(rule)
    for interface, rule in (*((name, "") for name in leading), *_rules(chain, around), *behind):
        tunnels = [_TUNNEL_TRAFFIC] if interface in around.edge else []
        rules = by_interface.setdefault(interface, [*leading.get(interface, ()), *passing, *tunnels])
        if rule and rule not in rules:
            rules.append(rule)
    pickers = tuple(dict.fromkeys(_pickers(chain, around)))
    clearance = sticky_rules.emptied(table_name(number), standing) if pickers and standing else remove(number)
    lines = [clearance, f"table netdev {table_name(number)} {{", *tables, *sticky_rules.render(pickers)]
    for position, (interface, rules) in enumerate(sorted(by_interface.items())):
        lines.append(f"chain c{position} {{")
        lines.append(f'type filter hook ingress device "{interface}" priority {-_depth(chain)}; policy accept;')
        lines += [*rules, "}"]
    return "\n".join((*lines, "}", ""))


def remove(number: int) -> str:
    """Drop a chain's table; it is named first, so that there is something to drop."""
    return f"table netdev {table_name(number)}\ndelete table netdev {table_name(number)}"


def _rules(chain: ChainSpec, around: _Scene) -> Iterator[tuple[str, str]]:
    """Pairs of interface and rule, most particular first."""
    hops, classifiers = chain.hops, _classifiers(chain)
    for before in chain.after:
        yield from _junction(before, chain, around)
    for classifier in classifiers:
        if not chain.after:
            yield from _entry(classifier, hops[0], around)
        if chain.symmetric:
            yield from _return_entry(classifier, hops[-1], around)
    for here, there in pairwise(hops):
        for classifier in classifiers:
            # A function with one port shows packets of both directions there: both sides have to be told apart.
            if chain.symmetric:
                backward = _mirror(_within(classifier, exact=_has_one_port(there)))
                ways = [(backward, rule) for rule in _hand_back(backward, here, around)]
                yield from _at_ports([hop.ingress for hop in there.all], ways, around)
            forward = _within(classifier, exact=chain.symmetric and _has_one_port(here))
            ways = [(forward, rule) for rule in _hand_on(forward, there, around)]
            yield from _at_ports([hop.egress for hop in here.all], ways, around)


def _depth(chain: ChainSpec) -> int:
    """How many chains lead to a chain, one after the other."""
    return min(_DEEPEST, max((1 + _depth(before) for before in chain.after), default=0))


def _classifiers(chain: ChainSpec) -> list[Classifier]:
    """What a chain takes: of what leaves the chains before it, if there are any, what it matches itself."""
    if not chain.after:
        return list(chain.classifiers)
    return [found for before in chain.after for found in _branching(_classifiers(before), chain)]


def _branching(leaving: Sequence[Classifier], chain: ChainSpec) -> list[Classifier]:
    """What enters a chain of the packets that leave another one."""
    pairs = [(one, own) for one in leaving for own in chain.classifiers]
    return [found for one, own in pairs if (found := one.common(own))]


def _junction(before: ChainSpec, chain: ChainSpec, around: _Scene) -> Iterator[tuple[str, str]]:
    """From the last functions of one chain to the first ones of another, and back where both are symmetric."""
    here, there = before.hops[-1], chain.hops[0]
    leaving = _classifiers(before)
    if chain.symmetric and before.symmetric:
        _check_junction(here)
        exact = _has_one_port(there) or len(chain.after) > 1
        for classifier in _branching(leaving, chain):
            for origin in _origins(classifier, around) if exact else [classifier]:
                backward = _mirror(_within(origin, exact=exact))
                ways = [(backward, rule) for rule in _hand_back(backward, here, around)]
                yield from _at_ports([hop.ingress for hop in there.all], ways, around)
    known = [_within(classifier, exact=before.symmetric and _has_one_port(here)) for classifier in leaving]
    for forward in _branching(known, chain):
        ways = [(forward, rule) for rule in _hand_on(forward, there, around)]
        yield from _at_ports([hop.egress for hop in here.all], ways, around)


def _check_junction(last: Hop) -> None:
    """Each chain remembers the flows of its own places."""
    if last.sticky:
        raise Unsupported(
            "a chain cannot lead packets back into another chain's last functions, which keep their flows",
            hint="take `sticky` and `lb_pool_id` from that group, or put a group without them behind it",
        )


def _has_one_port(place: Hop) -> bool:
    return any(hop.ingress == hop.egress for hop in place.all)


def _entry(classifier: Classifier, first: Hop, around: _Scene) -> Iterator[tuple[str, str]]:
    if not classifier.enters or not (first.ingress.port_id or classifier.source_port_id):
        return
    interfaces: Sequence[str] = around.edge
    if classifier.source_port_id:
        interfaces = [name for port, name in around.interfaces.items() if port == classifier.source_port_id]
    own = {around.interfaces.get(hop.ingress.port_id) for hop in first.all}
    for interface in interfaces:
        if interface not in own:
            for rule in _hand_on(classifier, first, around):
                yield interface, rule


def _return_entry(classifier: Classifier, last: Hop, around: _Scene) -> Iterator[tuple[str, str]]:
    if not last.egress.port_id:
        return
    for interface in around.edge:
        for origin in _origins(classifier, around):
            for rule in _hand_back(_mirror(origin), last, around):
                yield interface, rule


def _origins(classifier: Classifier, around: _Scene) -> list[Classifier]:
    """Where a classifier names a port and no source, that port's addresses are the source."""
    if classifier.source or not classifier.source_port_id:
        return [classifier]
    known = around.addresses.get(classifier.source_port_id, ())
    return [replace(classifier, source=address) for address in known if address.version == classifier.ip_version]


def _at_ports(
    ports: Sequence[HopPort], ways: Sequence[tuple[Classifier, str]], around: _Scene
) -> Iterator[tuple[str, str]]:
    for port in ports:
        if port.port_id and (interface := around.interfaces.get(port.port_id)):
            for _classifier, rule in ways:
                yield interface, rule
                for other, told in around.doors.get(port.port_id, ()):
                    yield other, f"{told} {rule}"


def _hand_on(classifier: Classifier, place: Hop, around: _Scene) -> list[str]:
    """Rules that lead matching packets into one of the functions of a place."""
    return _shared_out(classifier, place, [around.hand(hop.ingress, False) for hop in place.all], backward=False)


def _hand_back(classifier: Classifier, place: Hop, around: _Scene) -> list[str]:
    """Rules that lead returning packets into the function through which their flow went."""
    return _shared_out(classifier, place, [around.hand(hop.egress, True) for hop in place.all], backward=True)


def _shared_out(classifier: Classifier, place: Hop, actions: Sequence[str], *, backward: bool) -> list[str]:
    if place.sticky:
        return [
            f"{matching} goto {sticky_rules.chain_name(place.sticky, fields, backward=backward)}"
            for matching, fields in _hashes(classifier, place.hash_by, backward=backward)
        ]
    total = sum(hop.weight for hop in place.all)
    if len(actions) == 1 or not total:
        return [f"{match(classifier)} {actions[0] if total else DROP}"]
    rules = []
    for matching, fields in _hashes(classifier, place.hash_by, backward=backward):
        first = 0
        for hop, action in zip(place.all, actions, strict=True):
            if not hop.weight:
                continue
            last = first + hop.weight - 1
            share = f"{first}-{last}" if last > first else f"{first}"
            rules.append(f"{matching} jhash {' . '.join(fields)} mod {total} seed {SEED} {share} {action}")
            first = last + 1
    return rules


def _pickers(chain: ChainSpec, around: _Scene) -> Iterator[Picker]:
    """What remembers flows, for each sticky place of a chain and each way through it."""
    for place in chain.hops:
        for classifier in _classifiers(chain) if place.sticky else ():
            for backward in (False, True):
                sides = [(hop, hop.egress if backward else hop.ingress) for hop in place.all]
                functions = tuple((hop.ingress.mac, hop.weight, around.hand(side, backward)) for hop, side in sides)
                for _matching, fields in _hashes(classifier, place.hash_by, backward=backward):
                    yield Picker(place.sticky, tuple(fields), functions, backward)


def _hashes(classifier: Classifier, hash_by: Sequence[str], *, backward: bool) -> Iterator[tuple[str, list[str]]]:
    """What matches, and what of it is hashed: a returning packet's fields swapped, so that the hash is the same.

    Only TCP and UDP have ports; of other packets the addresses are hashed.
    """
    known = _FIELDS[::-1] if backward else _FIELDS
    wanted = [field for name, field in zip(_NAMES, known, strict=True) if not hash_by or name in hash_by]
    addresses = [field for field in wanted if not field.startswith("th ")]
    family = "ip6" if classifier.ip_version == 6 else "ip"

    def spelled(fields: Sequence[str]) -> list[str]:
        return [field.replace("ip ", f"{family} ") for field in fields]

    if len(addresses) < len(wanted) and classifier.protocol != "icmp":
        yield f"{match(classifier)} meta l4proto {{ tcp, udp }}", spelled(wanted)
    if classifier.protocol not in ("tcp", "udp") or len(addresses) == len(wanted):
        both = [field for field in known if not field.startswith("th ")]
        yield match(classifier), spelled(addresses or both)


def _hand_to(port: HopPort, around: Surroundings) -> str:
    if not port.port_id:
        return f"counter ether daddr set {port.mac} accept"
    interface = around.interfaces.get(port.port_id)
    return f'counter ether daddr set {port.mac} fwd to "{interface}"' if interface else DROP


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
    """The matching part of a rule. ARP and neighbour discovery never match."""
    family = "ip6" if classifier.ip_version == 6 else "ip"
    parts = [f"ether type {family}"]
    if classifier.source:
        parts.append(f"{family} saddr {classifier.source}")
    if classifier.destination:
        parts.append(f"{family} daddr {classifier.destination}")
    ports = [
        f"th {side} {low}" if low == high else f"th {side} {low}-{high}"
        for side, (low, high) in (
            ("sport", classifier.source_ports or (0, 0)),
            ("dport", classifier.destination_ports or (0, 0)),
        )
        if (low, high) != (0, 0)
    ]
    if classifier.protocol:
        parts.append(
            f"meta l4proto {_protocol(classifier)}" if family == "ip6" else f"ip protocol {_protocol(classifier)}"
        )
    elif ports:
        parts.append("meta l4proto { tcp, udp }" if family == "ip6" else "ip protocol { tcp, udp }")
    return " ".join(parts + ports)


def _protocol(classifier: Classifier) -> str:
    return "icmpv6" if (classifier.protocol, classifier.ip_version) == ("icmp", 6) else str(classifier.protocol)
