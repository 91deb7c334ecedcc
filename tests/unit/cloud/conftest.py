"""A cloud over in-memory ports."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from ipaddress import IPv4Network
from pathlib import Path

import pytest
from tests.fakes.fabric import FakeFabric
from tests.fakes.images import FakeImageStore, image
from tests.fakes.runtime import EXITS_AT_ONCE, MISSING_PROGRAM, FakeRuntime
from tests.fakes.volumes import FakeVolumeStore

from sonata.emulator.cloud import Cloud
from sonata.emulator.cloud.compute.nics import NicWish
from sonata.emulator.cloud.compute.servers import BootRequest
from sonata.emulator.cloud.entities.compute import Server
from sonata.emulator.cloud.entities.network import DHCP_OWNER, Network, Port, Subnet
from sonata.emulator.cloud.network.ports import AddressWish
from sonata.emulator.data_plane import DataPlane
from sonata.model.topology import GIB, Pop

EXTERNAL = IPv4Network("100.64.3.0/24")


@dataclass
class World:
    """A cloud and everything below it, with shortcuts that tests read well with."""

    cloud: Cloud
    fabric: FakeFabric
    runtime: FakeRuntime
    images: FakeImageStore
    stations: list[str] = field(default_factory=list)
    volumes: FakeVolumeStore = field(default_factory=FakeVolumeStore)

    async def network(self, cidr: str = "10.1.0.0/24", name: str = "inner") -> tuple[Network, Subnet]:
        """A network of the admin's project with one subnet that has a gateway."""
        project = self.cloud.identity.admin_project.id
        network = await self.cloud.networks.create(Network(name=name, project_id=project))
        subnet = Subnet(network_id=network.id, cidr=IPv4Network(cidr), project_id=project)
        return network, await self.cloud.networks.create_subnet(subnet, default_gateway=True)

    def ports(self) -> list[Port]:
        """All ports but those of the networks' own services."""
        return [port for port in self.cloud.tables.ports if port.device_owner != DHCP_OWNER]

    def port(self, network: Network, mac: str = "", wish: AddressWish | None = None) -> Port:
        """An unbound port."""
        wishes = None if wish is None else [wish]
        return self.cloud.ports.create(Port(network_id=network.id, mac=mac), wishes)

    def boot(self, *nics: NicWish, name: str = "vnf", image_name: str = "host", flavor: str = "tiny") -> Server:
        """A server that is being built."""
        return self.cloud.servers.create(
            BootRequest(
                name=name,
                project_id=self.cloud.identity.admin_project.id,
                user_id=self.cloud.identity.admin.id,
                image_id=self.cloud.images.find(image_name).id,
                flavor=self.cloud.tables.flavors.find(flavor),
                nics=nics,
            )
        )

    async def up(self, *nics: NicWish, name: str = "vnf", image_name: str = "host", flavor: str = "tiny") -> Server:
        """A server after its build, however that ended."""
        return await self.settled(self.boot(*nics, name=name, image_name=image_name, flavor=flavor))

    async def settled(self, server: Server) -> Server:
        """A server after what is going on with it."""
        found = await self.cloud.servers.settled(server.id)
        assert found is not None
        return found

    async def delete(self, server: Server) -> None:
        """Delete a server and wait until it is gone."""
        await self.cloud.servers.delete(server.id)
        assert await self.cloud.servers.settled(server.id) is None

    def nothing_left(self) -> bool:
        """Whether data plane and runtime hold no machine, port or chain."""
        machines = self.fabric.machines
        return not (machines.machines or machines.ports or self.fabric.steering.chains or self.runtime.running)


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    """A PoP with 4 cores and 1 GiB."""
    fabric, runtime = FakeFabric(), FakeRuntime()
    images = FakeImageStore(
        image("web", argv=("/bin/web",), ready_tcp_port=80),
        image("batch", argv=("/bin/batch",)),
        image("broken", argv=(EXITS_AT_ONCE,)),
        image("absent", argv=(MISSING_PROGRAM,)),
    )
    plane = DataPlane(fabric)
    changed: list[str] = []

    async def note(network_id: str) -> None:
        changed.append(network_id)

    pop = Pop("edge", cpus=4, memory_bytes=GIB)
    volumes = FakeVolumeStore()
    cloud = Cloud(pop, plane, runtime, images, EXTERNAL, EXTERNAL[1], tmp_path, note, volumes=volumes)
    yield World(cloud, fabric, runtime, images, changed, volumes)
    await cloud.close()
    await plane.close()
