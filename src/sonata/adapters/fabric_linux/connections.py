"""Tracked connections, copied from one PoP to another when a port moves.

What a stateful filter knows is in the connection tracking of the PoP where the port is. Where the port comes, an answer
to something that it has sent before would look like a stranger's packet.
Source: linux/netfilter/nfnetlink_conntrack.h; the numbers below are those found there.
"""

from __future__ import annotations

import errno
import logging
import socket
import struct
from collections.abc import Iterable, Iterator
from contextlib import closing

from sonata._lib.ip import Address
from sonata._lib.netlink import NLM_F_CREATE, NetlinkSocket, Request, attribute, attributes, nested
from sonata.adapters.fabric_linux.netspace import Netspace
from sonata.errors import PermanentError

logger = logging.getLogger(__name__)

_NETLINK_NETFILTER = 12
_NEW, _GET = 0x100, 0x101
_ORIGINAL, _REPLY, _STATUS, _PROTOCOL_STATE, _TIMEOUT, _MARK, _ZONE = 1, 2, 3, 4, 7, 8, 18
_TUPLE_IP = 1
_TCP, _TCP_STATE, _TCP_SCALE, _TCP_SCALE_BACK, _TCP_FLAGS, _TCP_FLAGS_BACK = 1, 1, 2, 3, 4, 5
_LIBERAL = 0x08
"""A connection's sequence numbers are found out anew: its window is not known here."""
_SEEN_REPLY, _ASSURED, _CONFIRMED = 0x02, 0x04, 0x08
_FAMILIES = {4: socket.AF_INET, 6: socket.AF_INET6}


def copy(source: Netspace, target: Netspace, zones: tuple[int, int], addresses: Iterable[Address]) -> None:
    """Let another namespace know the connections of some addresses.

    A kernel that does not tell its connections leaves it at that: what a machine sends makes them known again.

    Args:
        source: where they are tracked.
        target: where they are to be tracked, too.
        zones: number of the connection tracking zone in each.
        addresses: one of them is at an end of each connection.
    """
    known = {address.packed for address in addresses}
    families = {_FAMILIES[address.version] for address in addresses}
    try:
        with closing(_opened(source)) as here, closing(_opened(target)) as there:
            for family in families:
                entries = [attributes(payload[4:]) for payload in here.dump(_GET, _header(family))]
                there.apply([_creation(family, one, zones[1]) for one in entries if _is_meant(one, zones[0], known)])
    except (OSError, PermanentError) as error:
        logger.warning("connections of a moved port are not known where it is now", extra={"cause": str(error)})


def _opened(netspace: Netspace) -> NetlinkSocket:
    with netspace.entered():
        return NetlinkSocket(_NETLINK_NETFILTER)


def _header(family: int) -> bytes:
    return struct.pack("=BBH", family, 0, 0)


def _is_meant(entry: dict[int, bytes], zone: int, known: set[bytes]) -> bool:
    return int.from_bytes(entry.get(_ZONE, b""), "big") == zone and not known.isdisjoint(_ends(entry))


def _ends(entry: dict[int, bytes]) -> Iterator[bytes]:
    for way in (_ORIGINAL, _REPLY):
        yield from attributes(attributes(entry[way])[_TUPLE_IP]).values()


def _creation(family: int, entry: dict[int, bytes], zone: int) -> Request:
    status = int.from_bytes(entry[_STATUS], "big") & (_SEEN_REPLY | _ASSURED | _CONFIRMED)
    body = [_header(family), nested(_ORIGINAL, entry[_ORIGINAL]), nested(_REPLY, entry[_REPLY])]
    body += [attribute(_STATUS, status.to_bytes(4, "big")), attribute(_TIMEOUT, entry[_TIMEOUT])]
    body += [attribute(_MARK, entry[_MARK])] if _MARK in entry else []
    body += [attribute(_ZONE, zone.to_bytes(2, "big"))] if zone else []
    if _PROTOCOL_STATE in entry and (tcp := attributes(entry[_PROTOCOL_STATE]).get(_TCP)):
        body.append(nested(_PROTOCOL_STATE, nested(_TCP, *_tcp(attributes(tcp)))))
    return Request(_NEW, NLM_F_CREATE, b"".join(body), "a tracked connection", (errno.EEXIST,))


def _tcp(state: dict[int, bytes]) -> Iterator[bytes]:
    for kind in (_TCP_STATE, _TCP_SCALE, _TCP_SCALE_BACK):
        if kind in state:
            yield attribute(kind, state[kind])
    for kind in (_TCP_FLAGS, _TCP_FLAGS_BACK):
        flags = (state.get(kind) or b"\0")[0] | _LIBERAL
        yield attribute(kind, bytes((flags, 0xFF)))
