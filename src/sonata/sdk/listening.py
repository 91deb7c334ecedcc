"""Sockets that listen on this machine's loopback, for platform and emulator alike."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterator
from contextlib import contextmanager

from sonata.errors import Conflict, InvalidInput

_BACKLOG = 128


@contextmanager
def listening(host: str, port: int, *, who: str) -> Iterator[socket.socket]:
    """A socket that listens on a loopback address for the time of the block.

    Args:
        host: an address, no name.
        port: 0 picks a free one.
        who: what will listen, for the message.

    Raises:
        InvalidInput: the address is no loopback address.
        Conflict: the address is taken.
    """
    _check_loopback(host, who)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # With the protocol named, asyncio turns Nagle's algorithm off; answers would wait 40 ms otherwise.
    with socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, port))
        except OSError as error:
            raise Conflict(
                f"cannot listen on {host}:{port}: {error.strerror}",
                hint="choose another address with --listen HOST:PORT; port 0 picks a free one",
            ) from error
        listener.listen(_BACKLOG)
        yield listener


def _check_loopback(host: str, who: str) -> None:
    try:
        is_local = ipaddress.ip_address(host).is_loopback
    except ValueError:
        is_local = False
    if not is_local:
        raise InvalidInput(
            f"`{host}` is no loopback address",
            hint=f"the {who} listens on 127.0.0.1 or ::1 alone; reach it from elsewhere through an SSH tunnel",
        )
