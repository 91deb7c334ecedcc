"""Servers send signals to the metadata address: whole, within bounds, and to whom they name."""

from __future__ import annotations

import asyncio

import pytest

from sonata.emulator.cloud.firstboot.metadata_service import LONGEST_BODY, MetadataService
from sonata.emulator.cloud.orchestration.signalling import addressee
from sonata.emulator.cloud.tables import Tables

SIGNAL = "/orchestration/v1/p/stacks/my%20s/id/resources/r/signal"


@pytest.mark.parametrize(
    ("target", "found"),
    [
        (SIGNAL, ("id", "r", "")),
        (f"{SIGNAL}?signature=x", ("id", "r", "x")),
        ("/orchestration/v1/p/stacks/s/id", None),
        ("/openstack/latest/meta_data.json", None),
    ],
)
def test_a_signal_names_its_resource(target: str, found: tuple[str, str, str] | None) -> None:
    assert addressee(target) == found


async def sent(service: MetadataService, request: bytes) -> bytes:
    """What a service answers."""
    server = await asyncio.start_server(service.serve, "127.0.0.1", 0)
    async with server:
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname()[:2])
        writer.write(request)
        try:
            return await reader.read()
        except ConnectionError:
            return b""
        finally:
            writer.close()


@pytest.mark.anyio
async def test_what_is_posted_is_handed_on_with_its_token() -> None:
    taken: list[tuple[str, str, bytes]] = []

    async def take(target: str, token: str, body: bytes) -> tuple[int, str]:
        taken.append((target, token, body))
        return 401, "Authentication required"

    service = MetadataService(Tables(), "net", take)
    head = f"POST {SIGNAL} HTTP/1.1\r\nHost: x\r\nX-Auth-Token: secret\r\nExpect: 100-continue\r\n".encode()
    answer = await sent(service, head + b"Content-Length: 2\r\n\r\n{}")
    assert answer.startswith(b"HTTP/1.1 100 ")
    assert b"HTTP/1.1 401 " in answer
    assert taken == [(SIGNAL, "secret", b"{}")]
    too_much = b"x" * (LONGEST_BODY + 1)
    refused = await sent(service, head + b"Content-Length: %d\r\n\r\n" % len(too_much) + too_much)
    assert b"HTTP/1.1 401 " not in refused
    assert len(taken) == 1


@pytest.mark.anyio
async def test_where_nobody_takes_signals_they_are_refused() -> None:
    answer = await sent(MetadataService(Tables(), "net"), b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 405 ")
