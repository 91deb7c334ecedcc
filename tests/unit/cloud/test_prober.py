"""What the probes of the provider `nftables` take for an answer, asked of sockets of this machine."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Iterator

import pytest

from sonata.emulator.cloud.load_balancing.prober import Target, probe

pytestmark = pytest.mark.anyio


@pytest.fixture
def silent() -> Iterator[socket.socket]:
    """A port that takes datagrams and says nothing."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as near:
        near.bind(("127.0.0.1", 0))
        yield near


def datagrams_to(port: int) -> Target:
    """A member that is probed by datagrams."""
    return {"type": "UDP-CONNECT", "address": "127.0.0.1", "port": port, "timeout": 0.05}


async def test_a_port_that_says_nothing_is_open_and_one_that_is_closed_is_not(silent: socket.socket) -> None:
    port = silent.getsockname()[1]
    assert await probe(datagrams_to(port))
    silent.close()
    assert not await probe(datagrams_to(port))


async def test_a_probe_that_is_late_does_not_blame_the_member(silent: socket.socket) -> None:
    asyncio.get_running_loop().call_later(0.01, time.sleep, 0.2)
    assert await probe(datagrams_to(silent.getsockname()[1]))
