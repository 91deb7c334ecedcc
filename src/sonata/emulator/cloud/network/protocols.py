"""IP protocols as security group rules name them, and what of ports and ICMP types goes with them.

Source: Networking API v2.0, security group rules; numbers are IANA's.
"""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import IPv4Network, IPv6Network

from sonata.emulator.cloud.entities.security import VERSIONS, SecurityGroupRule
from sonata.emulator.cloud.network.causes import (
    SecurityGroupEthertypeConflictWithProtocol,
    SecurityGroupInvalidIcmpValue,
    SecurityGroupInvalidPortRange,
    SecurityGroupInvalidProtocolForPort,
    SecurityGroupMissingIcmpType,
    SecurityGroupProtocolRequiredWithPorts,
    SecurityGroupRemoteGroupAndRemoteIpPrefix,
    SecurityGroupRuleInvalidProtocol,
    SecurityGroupRuleParameterConflict,
)

NUMBERS: Mapping[str, int] = {
    "ah": 51,
    "dccp": 33,
    "egp": 8,
    "esp": 50,
    "gre": 47,
    "hopopt": 0,
    "icmp": 1,
    "icmpv6": 58,
    "igmp": 2,
    "ip": 0,
    "ipip": 4,
    "ipv6-encap": 41,
    "ipv6-frag": 44,
    "ipv6-icmp": 58,
    "ipv6-nonxt": 59,
    "ipv6-opts": 60,
    "ipv6-route": 43,
    "ospf": 89,
    "pgm": 113,
    "rsvp": 46,
    "sctp": 132,
    "tcp": 6,
    "udp": 17,
    "udplite": 136,
    "vrrp": 112,
}
ICMP, ICMPV6 = 1, 58
WITH_PORTS = frozenset(NUMBERS[name] for name in ("tcp", "udp", "udplite", "sctp", "dccp"))
_FOR_IPV6_ONLY = frozenset(NUMBERS[name] for name in NUMBERS if name.startswith("ipv6-") and name != "ipv6-encap")


def number_of(protocol: str | None) -> int | None:
    """The number of a protocol; None for any.

    Raises:
        SecurityGroupRuleInvalidProtocol: there is none of this name, or the number is out of range.
    """
    if protocol is None or protocol == "any":
        return None
    if protocol in NUMBERS:
        return NUMBERS[protocol]
    if protocol.isdecimal() and int(protocol) <= 255:
        return int(protocol)
    raise SecurityGroupRuleInvalidProtocol(
        f"Security group rule protocol {protocol} not supported. Only protocol values {[None, *NUMBERS]} and integer "
        "representations [0 to 255] are supported."
    )


def number_in(rule: SecurityGroupRule) -> int | None:
    """The number that a rule's protocol has on the wire: `icmp` is ICMPv6 over IPv6, and 0 means any."""
    number = number_of(rule.protocol)
    if number == ICMP and rule.ethertype == "IPv6":
        return ICMPV6
    return number or None


def check_rule(rule: SecurityGroupRule) -> None:
    """Refuse rules that make no sense.

    Raises:
        InvalidInput: of the kind that Neutron names.
    """
    number = number_in(rule)
    remotes = (rule.remote_ip_prefix, rule.remote_group_id, rule.remote_address_group_id)
    if sum(map(bool, remotes)) > 1:
        raise SecurityGroupRemoteGroupAndRemoteIpPrefix(
            "Only remote_ip_prefix or remote_group_id or remote_address_group_id may be provided."
        )
    if rule.remote_ip_prefix and rule.remote_ip_prefix.version != VERSIONS[rule.ethertype]:
        raise SecurityGroupRuleParameterConflict(
            f"Conflicting value ethertype {rule.ethertype} for CIDR {rule.remote_ip_prefix}"
        )
    if rule.ethertype == "IPv4" and number in _FOR_IPV6_ONLY:
        raise SecurityGroupEthertypeConflictWithProtocol(
            f"Invalid ethertype {rule.ethertype} for protocol {rule.protocol}."
        )
    _check_ports(rule, number)


def _check_ports(rule: SecurityGroupRule, number: int | None) -> None:
    first, last = rule.port_range_min, rule.port_range_max
    if first is None and last is None:
        return
    if number is None:
        raise SecurityGroupProtocolRequiredWithPorts("Must also specify protocol if port range is given.")
    if number in (ICMP, ICMPV6):
        _check_icmp(first, last)
    elif number not in WITH_PORTS:
        raise SecurityGroupInvalidProtocolForPort(
            f"Invalid protocol {rule.protocol} for port range, only supported for TCP, UDP, UDPLITE, SCTP and DCCP."
        )
    elif first is None or last is None or not 1 <= first <= last:
        raise SecurityGroupInvalidPortRange("For TCP/UDP protocols, port_range_min must be <= port_range_max")


def _check_icmp(kind: int | None, code: int | None) -> None:
    for field, attribute, value in (("port_range_min", "type", kind), ("port_range_max", "code", code)):
        if value is not None and not 0 <= value <= 255:
            raise SecurityGroupInvalidIcmpValue(
                f"Invalid value for ICMP {field} ({attribute}) {value}. It must be 0 to 255."
            )
    if kind is None:
        raise SecurityGroupMissingIcmpType(
            f"ICMP code (port-range-max) {code} is provided but ICMP type (port-range-min) is missing."
        )


def ports_in(rule: SecurityGroupRule) -> tuple[int, int] | None:
    """The ports of a rule, or ICMP type and code with -1 for any code; None for any."""
    if rule.port_range_min is None:
        return None
    return rule.port_range_min, -1 if rule.port_range_max is None else rule.port_range_max


ANYWHERE = {"IPv4": IPv4Network("0.0.0.0/0"), "IPv6": IPv6Network("::/0")}


def normalised(rule: SecurityGroupRule) -> str | None:
    """A rule's prefix without host bits, as `normalized_cidr` shows it."""
    return str(rule.remote_ip_prefix) if rule.remote_ip_prefix else None
