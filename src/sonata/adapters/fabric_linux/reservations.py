"""Bandwidth that spans have reserved at an end of a link: classes of a hierarchical token bucket.

A span's tunnel packets are known by their VXLAN network identifier, and by the routers that they go to: packets of
others that look alike are refused where they come in. What is reserved for nobody, and what those that reserved it
leave idle, is for all. On a link without a rate nothing has to be kept free; there only caps are held.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import sonata.adapters.fabric_linux.htb as htb
import sonata.adapters.fabric_linux.requests as requests
from sonata._lib.netlink import Request
from sonata.model.topology import Impairment
from sonata.ports.fabric import Reservation

_ALL, _REST, _FIRST = 1, 0xFFFE, 2
_LEAST_BPS = 8_000.0
_UDP = htb.Match(8, b"\x00\x11\x00\x00", b"\x00\xff\x00\x00")
_TUNNELS = htb.Match(20, requests.VXLAN_PORT.to_bytes(4, "big"), b"\x00\x00\xff\xff")
_TO_A_ROUTER = htb.Match(16, b"\x64\x40\x00\x01", b"\xff\xc0\x00\xff")
_VNI_OFFSET = 32


def hold(
    index: int, name: str, impairment: Impairment, shares: Mapping[int, Reservation], *, late: bool
) -> Iterator[Request]:
    """Hold what is reserved of what leaves an interface, by VNI; the discipline that stands there goes.

    Args:
        index: of the interface.
        name: of the interface.
        impairment: with the rate that is shared, or none.
        shares: by VNI.
        late: whether the kernel's network emulator delays packets here, too, before they meet their rates.
    """
    yield requests.delete_qdisc(index, name)
    parent = htb.AT_THE_TOP
    if late:
        yield requests.netem(index, name, impairment)
        parent = requests.UNDER_NETEM
    if impairment.rate_bps:
        yield htb.discipline(index, name, _REST, parent)
        yield from _shared(index, name, impairment.rate_bps, shares)
    elif caps := {vni: share for vni, share in shares.items() if share.most_bps}:
        yield htb.discipline(index, name, parent=parent)
        yield from _capped(index, name, caps)


def _shared(index: int, name: str, rate_bps: float, shares: Mapping[int, Reservation]) -> Iterator[Request]:
    rest = max(_LEAST_BPS, rate_bps - sum(share.rate_bps for share in shares.values()))
    yield htb.inner(index, _ALL, htb.Bucket(rate_bps, rate_bps, f"rate of interface {name}"))
    yield from htb.leaf(index, _REST, htb.Bucket(rest, rate_bps, f"unreserved rate of {name}"), _ALL)
    for number, (vni, share) in enumerate(sorted(shares.items()), _FIRST):
        bucket = htb.Bucket(share.rate_bps, min(share.most_bps or rate_bps, rate_bps), _subject(vni, name))
        yield from htb.leaf(index, number, bucket, _ALL)
        yield _lead(index, name, number, vni)


def _capped(index: int, name: str, caps: Mapping[int, Reservation]) -> Iterator[Request]:
    for number, (vni, share) in enumerate(sorted(caps.items()), _FIRST):
        most = share.most_bps or 0.0
        yield from htb.leaf(index, number, htb.Bucket(most, most, _subject(vni, name)))
        yield _lead(index, name, number, vni)


def _lead(index: int, name: str, number: int, vni: int) -> Request:
    own = htb.Match(_VNI_OFFSET, (vni << 8).to_bytes(4, "big"), b"\xff\xff\xff\x00")
    return htb.lead(index, number, [_UDP, _TO_A_ROUTER, _TUNNELS, own], _subject(vni, name))


def _subject(vni: int, name: str) -> str:
    return f"reservation of VNI {vni} at {name}"
