"""The further DHCP options of a port (`extra_dhcp_opts`): their names, numbers and form on the wire.

Names are those of dnsmasq, as Neutron takes them; forms are those of RFC 2132, 3397, 3442, 5859 and, for IPv6, of
RFC 3646, 4075 and 5970.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from ipaddress import IPv4Address, IPv4Network, IPv6Address
from typing import Any

Options = tuple[Mapping[str, Any], ...]
LONGEST = 255
NEXT_SERVER = "server-ip-address"
"""No option, but a field of the answer: from where to boot."""


def _items(value: str) -> list[str]:
    return [item.strip() for item in value.split(",")]


def _text(value: str) -> bytes:
    return value.encode()


def _addresses(value: str) -> bytes:
    return b"".join(IPv4Address(item).packed for item in _items(value))


def _addresses6(value: str) -> bytes:
    return b"".join(IPv6Address(item.strip("[]")).packed for item in _items(value))


def _number(width: int) -> Callable[[str], bytes]:
    def write(value: str) -> bytes:
        try:
            return int(value).to_bytes(width)
        except OverflowError:
            raise ValueError(f"'{value}' does not fit into {width} bytes.") from None

    return write


def _names(value: str) -> bytes:
    """Domain names, each label with its length before it."""
    written = b""
    for name in _items(value):
        labels = [label.encode("idna") for label in name.rstrip(".").split(".")]
        if not all(0 < len(label) < 64 for label in labels):
            raise ValueError(f"'{name}' is no domain name.")
        written += b"".join(bytes([len(label)]) + label for label in labels) + b"\0"
    return written


def _routes(value: str) -> bytes:
    """Destinations and next hops in turn."""
    items = _items(value)
    if len(items) % 2:
        raise ValueError(f"'{value}' is not destinations and next hops in turn, parted by commas.")
    written = b""
    for destination, via in zip(items[::2], items[1::2], strict=True):
        network = IPv4Network(destination)
        octets = network.network_address.packed[: (network.prefixlen + 7) // 8]
        written += bytes([network.prefixlen]) + octets + IPv4Address(via).packed
    return written


Form = Callable[[str], bytes]
_NAMED: Mapping[str, tuple[int, Form]] = {
    "time-offset": (2, _number(4)),
    "router": (3, _addresses),
    "dns-server": (6, _addresses),
    "log-server": (7, _addresses),
    "lpr-server": (9, _addresses),
    "hostname": (12, _text),
    "boot-file-size": (13, _number(2)),
    "domain-name": (15, _text),
    "swap-server": (16, _addresses),
    "root-path": (17, _text),
    "extension-path": (18, _text),
    "default-ttl": (23, _number(1)),
    "mtu": (26, _number(2)),
    "nis-domain": (40, _text),
    "nis-server": (41, _addresses),
    "ntp-server": (42, _addresses),
    "netbios-ns": (44, _addresses),
    "tftp-server": (66, _text),
    "bootfile-name": (67, _text),
    "smtp-server": (69, _addresses),
    "domain-search": (119, _names),
    "classless-static-route": (121, _routes),
    "tftp-server-address": (150, _addresses),
}
_NAMED6: Mapping[str, tuple[int, Form]] = {
    "dns-server": (23, _addresses6),
    "domain-search": (24, _names),
    "sntp-server": (31, _addresses6),
    "bootfile-url": (59, _text),
}
_OF_THE_PROTOCOL = frozenset((0, 1, 28, *range(50, 62), 82, 255))
_OF_THE_PROTOCOL6 = frozenset(range(23))


def encode(name: str, value: str, version: int) -> tuple[int, bytes]:
    """An option as number and content; the number 0 is the server to boot from.

    Raises:
        ValueError: no such option can be given, or not with this value.
    """
    code, form = _form_of(name, version)
    try:
        content = form(value)
    except ValueError as error:
        raise ValueError(f"DHCP option '{name}' cannot be '{value}': {error}") from None
    if not content or (version == 4 and len(content) > LONGEST):
        raise ValueError(f"DHCP option '{name}' has {len(content)} bytes, not 1 to {LONGEST}.")
    return code, content


def _form_of(name: str, version: int) -> tuple[int, Form]:
    named, reserved, last = (_NAMED, _OF_THE_PROTOCOL, 254) if version == 4 else (_NAMED6, _OF_THE_PROTOCOL6, 65535)
    plain = name.removeprefix("option:").removeprefix("option6:")
    if plain in named:
        return named[plain]
    if plain == NEXT_SERVER and version == 4:
        return 0, _one_address
    if not plain.isascii() or not plain.isdecimal():
        known = ", ".join(named)
        raise ValueError(f"'{name}' is no DHCP option of IPv{version} that is given here: {known}, or a number.")
    code = int(plain)
    if code in reserved or code > last:
        raise ValueError(f"DHCP option {code} of IPv{version} is the protocol's own.")
    return code, next((form for known, form in named.values() if known == code), _text)


def _one_address(value: str) -> bytes:
    return IPv4Address(value).packed


def told(options: Iterable[Mapping[str, Any]], version: int) -> dict[int, bytes]:
    """What a port's options of one version of IP add to its answers, by number."""
    mine = (one for one in options if one["ip_version"] == version)
    return dict(encode(str(one["opt_name"]), str(one["opt_value"]), version) for one in mine)


def merged(before: Options, asked: Options) -> Options:
    """Options after a request: those that it names are replaced, or go where their value is null; others stay."""
    known = {(one["opt_name"], one["ip_version"]): one for one in (*before, *asked)}
    return tuple(one for one in known.values() if one["opt_value"] is not None)
