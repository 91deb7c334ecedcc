"""DNS for the ports of a network: its own names are answered, nothing is forwarded.

Source: RFC 1035. Names are those of Neutron's DHCP agent: `host-10-0-0-5`, and the host name of the server at a port.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from ipaddress import IPv4Address
from typing import TYPE_CHECKING

from sonata._lib.later import later

if TYPE_CHECKING:
    import dns.exception
    import dns.flags
    import dns.message
    import dns.name
    import dns.opcode
    import dns.rcode
    import dns.rdatatype
    import dns.rrset
else:
    dns = later("dns", "exception", "flags", "message", "name", "opcode", "rcode", "rdatatype", "rrset")

DOMAIN = "openstacklocal"
"""Neutron's default `dns_domain`."""

SERVER_PORT = 53
TTL_S = 30
_REVERSE = "in-addr.arpa"

Names = Mapping[str, tuple[IPv4Address, ...]]
"""Addresses by name without domain, in lower case."""


def answer(query: bytes, names: Names) -> bytes | None:
    """The answer to a query; None for what is none."""
    try:
        asked = dns.message.from_wire(query)
    except dns.exception.DNSException:
        return None
    if asked.flags & dns.flags.QR:
        return None
    reply = dns.message.make_response(asked)
    if asked.opcode() != dns.opcode.QUERY or len(asked.question) != 1:
        reply.set_rcode(dns.rcode.NOTIMP)
    else:
        _fill(reply, asked.question[0], names)
    return reply.to_wire(max_size=65535)


@cache
def _zone(text: str) -> dns.name.Name:
    return dns.name.from_text(text)


def _fill(reply: dns.message.Message, question: dns.rrset.RRset, names: Names) -> None:
    if question.name.is_subdomain(_zone(_REVERSE)):
        _reverse(reply, question, names)
        return
    label = _label(question.name)
    if label is None:
        reply.set_rcode(dns.rcode.REFUSED)
        return
    reply.flags |= dns.flags.AA
    if label not in names:
        reply.set_rcode(dns.rcode.NXDOMAIN)
    elif question.rdtype in (dns.rdatatype.A, dns.rdatatype.ANY):
        texts = [str(address) for address in names[label]]
        reply.answer.append(dns.rrset.from_text_list(question.name, TTL_S, "IN", "A", texts))


def _label(name: dns.name.Name) -> str | None:
    """A name of ours without its domain: `web.openstacklocal.`, or `web.` of a resolver without search list."""
    relative = name.relativize(_zone(DOMAIN))
    labels = [label for label in relative.labels if label]
    if len(labels) != 1:
        return None
    return labels[0].decode(errors="replace").lower()


def _reverse(reply: dns.message.Message, question: dns.rrset.RRset, names: Names) -> None:
    octets = [label.decode(errors="replace") for label in question.name.relativize(_zone(_REVERSE)).labels][::-1]
    found = [name for name, addresses in names.items() if ".".join(octets) in map(str, addresses)]
    if not found:
        reply.set_rcode(dns.rcode.REFUSED)
    elif question.rdtype in (dns.rdatatype.PTR, dns.rdatatype.ANY):
        reply.flags |= dns.flags.AA
        # A server's own name tells more than the one made of its address.
        best = min(found, key=lambda name: name.startswith("host-"))
        reply.answer.append(dns.rrset.from_text(question.name, TTL_S, "IN", "PTR", f"{best}.{DOMAIN}."))
