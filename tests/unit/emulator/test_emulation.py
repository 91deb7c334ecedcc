"""An emulation over things in memory: what it asks of them, and what it tells."""

from __future__ import annotations

import struct
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network

import pytest
from tests.fakes.runtime import EXITS_AT_ONCE, MISSING_PROGRAM
from tests.unit.emulator.conftest import TRIANGLE, World

from sonata.emulator.capture import pcap_stream
from sonata.emulator.emulation import Emulation
from sonata.errors import Conflict, InvalidInput, NotFound, PermanentError, QuotaExceeded, Unauthorised
from sonata.model.topology import Endpoint, Topology
from sonata.ports.wim import ConnectionRequest

pytestmark = pytest.mark.anyio

C_NETWORK = IPv4Network("100.64.2.0/24")


def with_endpoint(endpoint: Endpoint) -> Topology:
    return replace(TRIANGLE, endpoints={endpoint.name: endpoint})


async def test_a_missing_image_is_told_before_anything_is_made(world: World) -> None:
    with pytest.raises(NotFound, match="no-such-image"):
        await world.emulation(with_endpoint(Endpoint("x", "a", image="no-such-image"))).start()
    assert world.underlay.pops == {}


async def test_endpoints_have_addresses_programs_and_access_links(world: World, triangle: Emulation) -> None:
    (port,) = world.fabric.machines.of("endpoint-origin")
    assert [str(address) for address in port.addresses] == ["100.64.2.10/24"]
    assert port.gateway == IPv4Address("100.64.2.1")
    assert port.impairment.delay_s == 0.001
    assert {machine.name: machine.status for machine in triangle.machines()} == {"users": "idle", "origin": "running"}
    assert {machine.name: machine.addresses for machine in triangle.machines()}["origin"] == ("100.64.2.10",)


async def test_an_idle_endpoint_starts_with_its_first_command(world: World, triangle: Emulation) -> None:
    assert await triangle.exec("users", ["ip", "address"], b"!") == (0, b"ip address!", b"")
    assert [spec.id for spec in world.runtime.started] == ["endpoint-origin", "endpoint-users"]
    await triangle.exec("users", ["true"])
    assert len(world.runtime.started) == 2


async def test_an_endpoint_whose_program_ends_is_shown_as_ended(world: World, triangle: Emulation) -> None:
    await world.runtime.end("endpoint-origin", 3)
    assert {machine.name: machine.status for machine in triangle.machines()}["origin"] == "ended"


async def test_a_program_that_ends_at_once_is_not_shown_as_running(world: World) -> None:
    emulation = world.emulation(with_endpoint(Endpoint("x", "a", command=(EXITS_AT_ONCE,))))
    await emulation.start()
    assert [machine.status for machine in emulation.machines()] == ["ended"]
    await emulation.close()


async def test_a_program_that_cannot_start_fails_the_start(world: World) -> None:
    emulation = world.emulation(with_endpoint(Endpoint("x", "a", command=(MISSING_PROGRAM,))))
    with pytest.raises(PermanentError, match=MISSING_PROGRAM):
        await emulation.start()
    await emulation.close()


async def test_a_server_that_never_listens_fails_the_start(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sonata.emulator.endpoints.READY_TIMEOUT_S", 0.05)
    world.runtime.listen_at_once = False
    emulation = world.emulation(TRIANGLE)
    with pytest.raises(PermanentError, match="port 80") as failure:
        await emulation.start()
    assert "/bin/web started" in failure.value.answer
    await emulation.close()


async def test_unknown_machines_are_told_with_those_that_exist(triangle: Emulation) -> None:
    with pytest.raises(NotFound) as failure:
        await triangle.exec("user", ["true"])
    assert "users" in failure.value.hint
    with pytest.raises(NotFound):
        await triangle.exec("nowhere/server", ["true"])
    with pytest.raises(NotFound):
        await triangle.counters("a/server")


async def test_a_failed_link_is_routed_around_and_comes_back(world: World, triangle: Emulation) -> None:
    over_b, direct = (triangle.links.get(name).address_at(pop) for name, pop in (("ab", "b"), ("ac", "c")))
    assert world.underlay.routes["a"][C_NETWORK] == over_b
    await triangle.links.set("ab", {}, up=False)
    assert world.underlay.routes["a"][C_NETWORK] == direct
    assert [edge.name for edge in triangle.wan.view.graph().edges] == ["bc", "ac"]
    await triangle.links.set("ab", {}, up=True)
    assert world.underlay.routes["a"][C_NETWORK] == over_b


async def test_a_slower_link_keeps_its_routes(world: World, triangle: Emulation) -> None:
    before = dict(world.underlay.routes["a"])
    await triangle.links.set("ab", {"delay_s": 1.0})
    assert world.underlay.routes["a"] == before
    assert world.underlay.links["ab"].impairment.delay_s == 1.0


@pytest.mark.parametrize("changes", [{"loss": 1.1}, {"delay_s": -1.0}, {"jitter_s": 0.02}, {"rate_bps": 0.0}])
async def test_impossible_values_change_nothing(world: World, triangle: Emulation, changes: dict[str, float]) -> None:
    before = world.underlay.links["ab"]
    with pytest.raises(InvalidInput):
        await triangle.links.set("ab", changes)
    assert world.underlay.links["ab"] == before


async def networks(emulation: Emulation, *pops: str) -> dict[str, str]:
    """A fresh network in each of these PoPs."""
    made = {}
    for pop in pops:
        cloud = emulation.clouds[pop]
        network = type(cloud.networks.external)(name="n", project_id=cloud.identity.admin_project.id)
        made[pop] = (await cloud.networks.create(network)).id
    return made


async def test_a_connection_is_one_span_per_tag(world: World, triangle: Emulation) -> None:
    members = await networks(triangle, "a", "c")
    made = await triangle.wan.connect(ConnectionRequest("t", members))
    assert await triangle.wan.connect(ConnectionRequest("t", members)) == made
    assert made.delay_s == pytest.approx(0.02)
    assert {span.vni: span.members for span in world.fabric.networks.spans.values()} == {made.vni: members}
    with pytest.raises(Conflict):
        await triangle.wan.connect(ConnectionRequest("other", members))
    await triangle.wan.disconnect(made.id)
    assert world.fabric.networks.spans == {}
    with pytest.raises(NotFound):
        await triangle.wan.disconnect(made.id)


async def test_bandwidth_is_promised_once(triangle: Emulation) -> None:
    first, second = await networks(triangle, "a", "c"), await networks(triangle, "b", "c")
    made = await triangle.wan.connect(ConnectionRequest("first", first, rate_bps=60e6))
    with pytest.raises(QuotaExceeded, match="`bc` has 40Mbit"):
        await triangle.wan.connect(ConnectionRequest("second", second, rate_bps=60e6))
    await triangle.wan.disconnect(made.id)
    assert (await triangle.wan.connect(ConnectionRequest("second", second, rate_bps=60e6))).vni == made.vni


async def test_delay_bounds_and_lost_paths_are_refused(triangle: Emulation) -> None:
    members = await networks(triangle, "a", "c")
    with pytest.raises(Conflict, match=r"0\.02 s"):
        await triangle.wan.connect(ConnectionRequest("t", members, max_delay_s=0.019))
    for link in ("ab", "ac"):
        await triangle.links.set(link, {}, up=False)
    with pytest.raises(Conflict, match="no path"):
        await triangle.wan.connect(ConnectionRequest("t", members))
    with pytest.raises(InvalidInput):
        await triangle.wan.connect(ConnectionRequest("t", {"a": members["a"]}))
    with pytest.raises(NotFound):
        await triangle.wan.connect(ConnectionRequest("t", {**members, "b": "no-such-network"}))


async def test_management_goes_to_external_addresses_alone(triangle: Emulation) -> None:
    for address in ("127.0.0.1", "10.0.0.2", "198.18.0.0", "100.64.3.10"):
        with pytest.raises(Unauthorised):
            await triangle.management.connect(IPv4Address(address), 80)


async def test_a_capture_is_a_pcap_file(world: World, triangle: Emulation) -> None:
    world.underlay.frames = [b"first frame", b"second"]
    stream = b""
    async for piece in pcap_stream(await triangle.capture("ab"), 0.2):
        stream += piece
        if stream.endswith(b"second"):
            break
    assert struct.unpack("<IHH", stream[:8]) == (0xA1B2C3D4, 2, 4)
    captured, length = struct.unpack("<II", stream[24 + 8 : 24 + 16])
    assert (captured, length) == (11, 11)
    assert stream[24 + 16 : 24 + 27] == b"first frame"
    with pytest.raises(NotFound):
        await triangle.capture("xy")
