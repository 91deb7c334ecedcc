"""An emulation that dies without a word and is started again over the same journal."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from ipaddress import IPv4Network
from pathlib import Path

import pytest
from tests.unit.emulator.conftest import World

from sonata.emulator import memory
from sonata.emulator.cloud.cloud import Cloud
from sonata.emulator.cloud.compute.nics import NicWish
from sonata.emulator.cloud.compute.servers import BootRequest
from sonata.emulator.cloud.entities.compute import Server
from sonata.emulator.cloud.entities.image import GlanceImage
from sonata.emulator.cloud.entities.network import FloatingIp, Network, Router, Subnet
from sonata.emulator.cloud.saved_tables import rows_of
from sonata.emulator.emulation import Emulation
from sonata.model.topology import Endpoint, Impairment, Link, Pop, ServerSeed, Topology
from sonata.ports.fabric import Reservation
from sonata.ports.wim import ConnectionRequest

pytestmark = pytest.mark.anyio

SITES = Topology("sites", {"a": Pop("a"), "b": Pop("b")}, (Link("ab", "a", "b"),))


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "DELAY_S", 0.005)
    monkeypatch.setattr(memory, "RETRY_S", 0.01)


class Lives:
    """One emulation through its lives; each has a data plane of its own, and the journal stays."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._count = 0
        self.world = World(folder)
        self.emulation: Emulation | None = None

    async def begin(self, topology: Topology = SITES) -> Emulation:
        """Die, if alive, without a word more to the journal, and start."""
        await self.die()
        self._count += 1
        folder = self._folder / str(self._count)
        folder.mkdir()
        before, self.world = self.world, World(folder)
        self.world.journal, self.world.images = before.journal, before.images
        self.emulation = self.world.emulation(topology)
        await self.emulation.start()
        return self.emulation

    async def die(self) -> None:
        """What is not written by now is lost."""
        if emulation := self.emulation:
            self.emulation = None
            await asyncio.sleep(0.1)
            self.world.journal.full = True
            await emulation.close(keep=True)
            self.world.journal.full = False

    async def end(self, *, keep: bool = False) -> None:
        """End in order."""
        if emulation := self.emulation:
            self.emulation = None
            await emulation.close(keep=keep)


@pytest.fixture
async def lives(tmp_path: Path, anyio_backend: str) -> AsyncIterator[Lives]:
    lives = Lives(tmp_path)
    yield lives
    await lives.end()


async def network(cloud: Cloud, name: str = "inner") -> tuple[Network, Subnet]:
    project = cloud.identity.admin_project.id
    made = await cloud.networks.create(Network(name=name, project_id=project))
    subnet = Subnet(network_id=made.id, cidr=IPv4Network("10.1.0.0/24"), project_id=project)
    return made, await cloud.networks.create_subnet(subnet, default_gateway=True)


async def boot(cloud: Cloud, network_id: str) -> Server:
    request = BootRequest(
        name="vnf",
        project_id=cloud.identity.admin_project.id,
        user_id=cloud.identity.admin.id,
        image_id=cloud.images.find("host").id,
        flavor=cloud.tables.flavors.find("tiny"),
        nics=[NicWish(network_id=network_id)],
    )
    server = await cloud.servers.settled(cloud.servers.create(request).id)
    assert server is not None
    return server


async def test_a_cloud_comes_back_with_its_data_plane(lives: Lives) -> None:
    cloud = (await lives.begin()).clouds["a"]
    made, subnet = await network(cloud)
    router = await cloud.routers.create(Router(name="r"), gateway_network=cloud.networks.external.id)
    await cloud.routers.add_interface(router.id, subnet_id=subnet.id)
    server = await boot(cloud, made.id)
    outside = FloatingIp(network_id=cloud.networks.external.id)
    floating = await cloud.floating_ips.create(outside, None, server.nics[0].port_id)
    await cloud.flavors.delete("9")
    ids = {name: [row.id for row in table] for name, table in rows_of(cloud.tables).items()}
    plane = lives.world.fabric.networks

    cloud = (await lives.begin()).clouds["a"]
    assert {name: [row.id for row in table] for name, table in rows_of(cloud.tables).items()} == ids
    assert lives.world.fabric.networks.networks == plane.networks
    assert lives.world.fabric.networks.routers == plane.routers
    assert lives.world.fabric.networks.routers[router.id].floating == {floating.address: floating.fixed_address}
    off = cloud.tables.servers.get(server.id)
    assert off.status == "SHUTOFF"
    assert lives.world.fabric.machines.machines == set()

    cloud.servers.start(server.id)
    await cloud.servers.settled(server.id)
    assert cloud.tables.servers.get(server.id).status == "ACTIVE"
    assert lives.world.fabric.machines.ports.keys() == {server.nics[0].port_id}
    assert cloud.usage.servers == 1
    other = await boot(cloud, made.id)
    addresses = [cloud.tables.ports.get(one.nics[0].port_id).first_address for one in (server, other)]
    assert len(set(addresses)) == 2, "an address was given out twice"


async def test_connections_come_back_between_what_is_still_there(lives: Lives) -> None:
    emulation = await lives.begin()
    members = {pop: (await network(emulation.clouds[pop]))[0].id for pop in ("a", "b")}
    made = await emulation.wan.connect(ConnectionRequest("t", members))
    removed = await emulation.wan.connect(
        ConnectionRequest("u", {pop: (await network(emulation.clouds[pop]))[0].id for pop in ("a", "b")})
    )
    await emulation.wan.disconnect(removed.id)

    emulation = await lives.begin()
    assert emulation.wan.connections() == [made]
    assert lives.world.fabric.networks.spans[made.id].members == members
    assert await emulation.wan.connect(ConnectionRequest("t", members)) == made

    emulation = await lives.begin(Topology("sites", {"b": Pop("b")}))
    assert emulation.wan.connections() == []
    assert lives.world.fabric.networks.spans == {}
    assert set(lives.world.journal.texts) == {"numbers", "pop-b", "wan"}
    assert emulation.clouds["b"].site.external == IPv4Network("100.64.1.0/24")
    assert emulation.clouds["b"].networks.subnets_of(emulation.clouds["b"].networks.external.id)[0].cidr == (
        IPv4Network("100.64.1.0/24")
    )


async def test_reservations_are_held_again_as_far_as_the_links_of_the_next_life_have_room(lives: Lives) -> None:
    emulation = await lives.begin()
    members = {pop: (await network(emulation.clouds[pop]))[0].id for pop in ("a", "b")}
    wanted = ConnectionRequest("gold", members, rate_bps=60e6, max_delay_s=0.1, max_rate_bps=80e6)
    made = await emulation.wan.connect(wanted)

    emulation = await lives.begin()
    assert emulation.wan.connections() == [made]
    share = {made.vni: Reservation(60e6, 80e6)}
    assert lives.world.underlay.reserved == {"ab": (share, share)}

    slow = replace(SITES, links=(Link("ab", "a", "b", Impairment(rate_bps=50e6), price=2.0),))
    emulation = await lives.begin(slow)
    (now,) = emulation.wan.connections()
    assert (now.id, now.state, now.price_per_hour) == (made.id, "degraded", pytest.approx(0.12))
    assert lives.world.underlay.reserved["ab"][0] == {made.vni: Reservation(50e6, 80e6)}

    emulation = await lives.begin(replace(SITES, links=()))
    assert emulation.wan.get(made.id).state == "down"
    emulation = await lives.begin()
    assert emulation.wan.connections() == [made]


async def test_damaged_documents_are_set_aside_and_their_site_starts_empty(lives: Lives) -> None:
    emulation = await lives.begin()
    kept, _ = await network(emulation.clouds["b"])
    await network(emulation.clouds["a"])
    await asyncio.sleep(0.1)
    lives.world.journal.texts["pop-a"] = b'{"version": 1, "tables": {}}'
    lives.world.journal.texts["wan"] = b'{"version": 9}'
    emulation = await lives.begin()
    assert sorted(lives.world.journal.aside) == ["pop-a", "wan"]
    assert [one.name for one in emulation.clouds["a"].tables.networks] == ["external"]
    assert kept.id in emulation.clouds["b"].tables.networks


async def test_a_start_that_fails_leaves_the_journal_as_it_was(lives: Lives) -> None:
    await network((await lives.begin()).clouds["a"])
    await asyncio.sleep(0.1)
    texts = dict(lives.world.journal.texts)
    failing = replace(SITES, endpoints={"x": Endpoint("x", "a", command=("/no/such/program",))})
    with pytest.raises(Exception, match="no/such/program"):
        await lives.begin(failing)
    assert lives.world.journal.texts == texts


async def test_servers_of_the_topology_are_started_again(lives: Lives) -> None:
    topology = replace(SITES, servers={"probe": ServerSeed("probe", "a", flavor="tiny")})
    cloud = (await lives.begin(topology)).clouds["a"]
    first = cloud.tables.servers.find("probe")
    cloud = (await lives.begin(topology)).clouds["a"]
    assert [(one.id, one.status) for one in cloud.tables.servers] == [(first.id, "ACTIVE")]
    assert [one.name for one in cloud.tables.networks] == ["external", "default"]


async def test_an_upload_is_kept_until_a_clean_end_and_waits_for_data_that_is_lost(lives: Lives) -> None:
    async def archive() -> AsyncIterator[bytes]:
        yield b"OCI"

    cloud = (await lives.begin()).clouds["a"]
    image = await cloud.images.create(GlanceImage(name="app", status="queued"))
    stored = (await cloud.images.upload(image.id, archive())).stored
    cloud = (await lives.begin()).clouds["a"]
    assert cloud.images.bootable(image.id).name == stored
    lives.world.images.remove(stored)
    cloud = (await lives.begin()).clouds["a"]
    assert cloud.images.get(image.id).status == "queued"
    stored = (await cloud.images.upload(image.id, archive())).stored
    await lives.begin()
    await lives.end()
    assert stored not in lives.world.images.images


async def test_many_changes_are_few_writes(lives: Lives, monkeypatch: pytest.MonkeyPatch) -> None:
    emulation = await lives.begin()
    await asyncio.sleep(0.1)
    monkeypatch.setattr(memory, "DELAY_S", 30)
    before = lives.world.journal.writes
    made, _ = await network(emulation.clouds["a"])
    await asyncio.gather(*(boot(emulation.clouds["a"], made.id) for _ in range(10)))
    assert lives.world.journal.writes == before
    await lives.end(keep=True)
    assert lives.world.journal.writes == before + 1, "the end waits for no delay"
    assert made.id.encode() in lives.world.journal.texts["pop-a"]


async def test_a_full_disk_harms_nobody_and_is_caught_up_with(lives: Lives) -> None:
    emulation = await lives.begin()
    await asyncio.sleep(0.1)
    lives.world.journal.full = True
    first, _ = await network(emulation.clouds["a"])
    await asyncio.sleep(0.1)
    lives.world.journal.full = False
    second, _ = await network(emulation.clouds["a"])
    await asyncio.sleep(0.1)
    assert all(one.id.encode() in lives.world.journal.texts["pop-a"] for one in (first, second))


async def test_what_could_not_be_written_is_written_without_a_further_change(
    lives: Lives, caplog: pytest.LogCaptureFixture
) -> None:
    cloud = (await lives.begin()).clouds["a"]
    await asyncio.sleep(0.1)
    lives.world.journal.full = True
    await network(cloud, "late")
    await asyncio.sleep(0.1)
    told = [text for text in caplog.messages if "would not survive" in text]
    assert len(told) == 1
    assert "no space left on device" in told[0]
    lives.world.journal.full = False
    cloud = (await lives.begin()).clouds["a"]
    assert "late" in {one.name for one in cloud.tables.networks}
