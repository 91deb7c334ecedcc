"""The emulator's wide area as an orchestrator meets it: graph, connections by tag, bounds that are kept."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any, cast
from unittest.mock import MagicMock

import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.routing import Mount

from sonata.adapters.wim_emulator import EmulatorWim
from sonata.api.emulator.app import emulator_app
from sonata.emulator.data_plane import DataPlane
from sonata.emulator.events import EventLog
from sonata.emulator.links import Links
from sonata.emulator.numbering import Numbers, all_numbered
from sonata.emulator.wan import Wan
from sonata.errors import NotFound, PermanentError, TransientError
from sonata.model.figures import Cost, Energy
from sonata.model.infrastructure import AttachedEndpoint, PopFigures
from sonata.model.topology import Impairment, Link, Pop, Topology
from sonata.ports.wim import ConnectionRequest

pytestmark = pytest.mark.anyio
TOKEN = "wide-area-token"
NS = "0d9c8d3e/"

TOPOLOGY = Topology(
    "line",
    {name: Pop(name) for name in ("access", "metro", "core")},
    (
        Link("first", "access", "metro", Impairment(delay_s=0.005)),
        Link("second", "metro", "core", Impairment(delay_s=0.015, rate_bps=1e8)),
    ),
)


def stations(pop: str, network: str) -> tuple[str, ...]:
    if network.startswith("missing"):
        raise NotFound(f"no network `{network}` in PoP `{pop}`")
    return ()


@pytest.fixture
async def url(anyio_backend: str) -> AsyncIterator[str]:
    plane = DataPlane(MagicMock(name="fabric", calls=-1))
    users = AttachedEndpoint("users", "access", "100.64.0.10", 0.001)
    events = EventLog()
    links, numbers = Links(plane, events), all_numbered(TOPOLOGY, Numbers())
    await links.pops.add(numbers.pops)
    await links.add(TOPOLOGY.links, numbers.links)
    await links.reroute()
    wan = Wan(links, plane, stations, lambda: {"users": users}, events)
    wan.view.figures = lambda: {"core": PopFigures(Cost(0.5, 0.25), Energy(100, 20))}
    emulation = cast(Any, SimpleNamespace(events=events, wan=wan))
    api = emulator_app(
        emulation,
        cast(Any, None),
        cast(Any, None),
        cast(Any, None),
        token="admin-token",
        wan_token=TOKEN,
        describe_openstack=dict,
    )
    app = Starlette(routes=[Mount("/emulator/v1", app=api)])
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP) as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        server = uvicorn.Server(uvicorn.Config(app, log_level="warning", lifespan="off"))
        serving = asyncio.ensure_future(server.serve(sockets=[listener]))
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            await serving
            await plane.close()


@pytest.fixture
async def wim(url: str) -> AsyncIterator[EmulatorWim]:
    made = EmulatorWim(url, TOKEN)
    yield made
    await made.close()


def joining(name: str, **bounds: float) -> ConnectionRequest:
    return ConnectionRequest(NS + name, {"access": f"{name}-a", "core": f"{name}-c"}, **bounds)


async def test_the_graph_has_pops_links_and_endpoints(wim: EmulatorWim) -> None:
    graph = await wim.graph()
    assert graph.figures == {"core": PopFigures(Cost(0.5, 0.25), Energy(100, 20))}
    assert graph.pops == ("access", "metro", "core")
    assert {(edge.a, edge.b, edge.delay_s, edge.rate_bps) for edge in graph.edges} == {
        ("access", "metro", 0.005, None),
        ("metro", "core", 0.015, 1e8),
    }
    assert graph.endpoints == {"users": AttachedEndpoint("users", "access", "100.64.0.10", 0.001)}


async def test_the_same_connection_twice_is_one(wim: EmulatorWim) -> None:
    first = await wim.ensure_connection(joining("data"))
    assert await wim.ensure_connection(joining("data")) == first
    assert list(await wim.leftovers(NS)) == [first]


async def test_a_tag_for_other_members_is_refused(wim: EmulatorWim) -> None:
    await wim.ensure_connection(joining("data"))
    other = ConnectionRequest(NS + "data", {"access": "x", "metro": "y"})
    with pytest.raises(PermanentError, match="joins other networks"):
        await wim.ensure_connection(other)


@pytest.mark.parametrize(
    ("bounds", "reason"),
    [({"max_delay_s": 0.01}, "no path.*0.02 s"), ({"rate_bps": 2e8}, "link `second`.*100Mbit")],
)
async def test_bounds_that_cannot_be_kept_are_refused_for_good(
    wim: EmulatorWim, bounds: dict[str, float], reason: str
) -> None:
    with pytest.raises(PermanentError, match=reason) as caught:
        await wim.ensure_connection(joining("data", **bounds))
    assert caught.value.call == "POST /emulator/v1/wan/connections"
    assert caught.value.answer
    assert list(await wim.leftovers(NS)) == []


async def test_an_unknown_network_is_not_found(wim: EmulatorWim) -> None:
    with pytest.raises(NotFound, match="missing-a") as caught:
        await wim.ensure_connection(joining("missing"))
    assert getattr(caught.value, "call", "") == "POST /emulator/v1/wan/connections"


async def test_a_sweep_takes_its_own_and_spares_others(wim: EmulatorWim) -> None:
    for name in ("one", "two"):
        await wim.ensure_connection(joining(name))
    other = await wim.ensure_connection(ConnectionRequest("other/x", {"access": "o-a", "core": "o-c"}))
    await wim.sweep(NS)
    await wim.sweep(NS)
    assert list(await wim.leftovers(NS)) == []
    assert list(await wim.leftovers("")) == [other]


async def test_a_prefix_is_taken_as_it_is(wim: EmulatorWim) -> None:
    await wim.ensure_connection(ConnectionRequest("a&b=c/x", {"access": "1", "core": "2"}))
    assert len(await wim.leftovers("a&b")) == 1
    assert len(await wim.leftovers("a%26b")) == 0


async def test_a_wrong_token_is_permanent_and_not_told(url: str) -> None:
    wim = EmulatorWim(url, "wrong-token")
    with pytest.raises(PermanentError, match="401") as caught:
        await wim.graph()
    assert "wrong-token" not in f"{caught.value!r} {caught.value.answer} {wim!r}"
    await wim.close()


async def test_an_emulator_that_is_down_is_worth_a_retry(anyio_backend: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    wim = EmulatorWim(f"http://127.0.0.1:{port}", TOKEN)
    with pytest.raises(TransientError, match=r"cannot be reached.*is the emulation running"):
        await wim.graph()
    await wim.close()
