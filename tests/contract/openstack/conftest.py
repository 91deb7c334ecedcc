"""Two PoPs served on a loopback port, and openstacksdk connected to them."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Coroutine, Iterator
from dataclasses import dataclass, field
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

import openstack
import pytest
import uvicorn
from tests.contract.openstack.real_emulation import access, emulation
from tests.fakes.fabric import FakeFabric
from tests.fakes.images import FakeImageStore, image
from tests.fakes.runtime import EXITS_AT_ONCE, FakeRuntime
from tests.fakes.volumes import FakeVolumeStore

from sonata.api.openstack import openstack_app
from sonata.emulator.cloud import Cloud
from sonata.emulator.cloud.site import Zones
from sonata.emulator.data_plane import DataPlane
from sonata.emulator.outlets import Outlet
from sonata.model.topology import GIB, Pop

__all__ = ["access", "emulation"]  # fixtures of tests with a real emulation

PASSWORD = "correct horse battery staple"


@dataclass
class Site:
    """A running surface and what is behind it."""

    url: str
    fabric: FakeFabric = field(default_factory=FakeFabric)
    runtime: FakeRuntime = field(default_factory=FakeRuntime)
    volumes: FakeVolumeStore = field(default_factory=FakeVolumeStore)
    clouds: dict[str, Cloud] = field(default_factory=dict)

    def auth(self, pop: str = "access", **changes: str) -> dict[str, str]:
        """What a client needs to log in."""
        login = {
            "auth_url": f"{self.url}/{pop}/identity/v3",
            "username": "admin",
            "password": PASSWORD,
            "project_name": "admin",
            "user_domain_name": "Default",
            "project_domain_name": "Default",
        }
        return {**login, **changes}

    def openrc(self, pop: str = "access", **changes: str) -> dict[str, str]:
        """The variables of an openrc file."""
        login = {f"OS_{key.upper()}": value for key, value in self.auth(pop, **changes).items()}
        return {**login, "OS_IDENTITY_API_VERSION": "3"}

    def connect(self, pop: str = "access", **changes: str) -> Any:
        """A connection of openstacksdk that knows nothing of the environment."""
        return openstack.connect(load_yaml_config=False, load_envvars=False, **self.auth(pop, **changes))


class SiteThread:
    """A server in a loop of its own; each `renew` gives it fresh, empty PoPs."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        # Sockets made with protocol 0 get no TCP_NODELAY from asyncio: each answer would wait 40 ms for an ACK.
        self._listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.site = Site(f"http://127.0.0.1:{self._listener.getsockname()[1]}")
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), daemon=True)

    def __enter__(self) -> SiteThread:
        self._thread.start()
        assert self._ready.wait(10)
        return self

    def __exit__(self, *_exc: object) -> None:
        self._server.should_exit = True
        self._thread.join(10)
        self._listener.close()

    def renew(self, folder: Path) -> Site:
        """Fresh PoPs `access` and `core`."""
        asyncio.run_coroutine_threadsafe(self._open(folder), self._loop).result(10)
        return self.site

    def manage(self, folder: Path, *pops: Pop) -> None:
        """A further PoP `region` that manages others."""
        asyncio.run_coroutine_threadsafe(self._add(folder, "region", 2, Zones(pops)), self._loop).result(10)

    def run(self, work: Coroutine[Any, Any, None]) -> None:
        """Do something in the loop of the server."""
        asyncio.run_coroutine_threadsafe(work, self._loop).result(10)

    def drop(self) -> None:
        """Close the PoPs."""
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result(10)

    async def _open(self, folder: Path) -> None:
        self.site.fabric, self.site.runtime, self.site.volumes = FakeFabric(), FakeRuntime(), FakeVolumeStore()
        self._plane = DataPlane(self.site.fabric)
        self._store = FakeImageStore(
            image("web", argv=("/bin/web",), ready_tcp_port=80), image("broken", argv=(EXITS_AT_ONCE,))
        )
        for number, name in enumerate(("access", "core")):
            await self._add(folder, name, number)

    async def _add(self, folder: Path, name: str, number: int, zones: Zones | None = None) -> None:
        (folder / name).mkdir()
        external = IPv4Network(f"100.64.{number}.0/24")
        pop = Pop(name, cpus=8, memory_bytes=16 * GIB)
        below = (self._plane, self.site.runtime, self._store)
        where = (external, external[1], folder / name)
        # What leads into an endpoint `plant` of the topology.
        outlets = [Outlet("plant", interface, name) for interface in ("eth1", "eth2")]
        for outlet in outlets:
            self.site.fabric.networks.add_networks([outlet.network_spec()])
        cloud = Cloud(pop, *below, *where, _nobody_cares, volumes=self.site.volumes, zones=zones, outlets=outlets)
        self.site.clouds[name] = cloud

    async def _close(self) -> None:
        for cloud in self.site.clouds.values():
            await cloud.close()
        self.site.clouds.clear()
        await self._plane.close()

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        app = openstack_app(self.site.clouds, admin_password=PASSWORD)
        self._server = uvicorn.Server(uvicorn.Config(app, log_level="warning", lifespan="off"))
        self._ready.set()
        await self._server.serve([self._listener])


async def _nobody_cares(_network_id: str) -> None:
    pass


def pytest_configure(config: pytest.Config) -> None:
    """The client warns of what it will remove one day."""
    config.addinivalue_line("filterwarnings", "ignore::Warning:openstack")
    config.addinivalue_line("filterwarnings", "ignore::openstack.warnings.OpenStackDeprecationWarning")


@pytest.fixture(scope="session")
def surface() -> Iterator[SiteThread]:
    """The server of all tests."""
    with SiteThread() as running:
        yield running


@pytest.fixture
def site(surface: SiteThread, tmp_path: Path) -> Iterator[Site]:
    """A fresh surface with the PoPs `access` and `core`."""
    yield surface.renew(tmp_path)
    surface.drop()


@pytest.fixture
def cloud(site: Site) -> Iterator[Any]:
    """openstacksdk, logged in to PoP `access` as admin."""
    connection = site.connect()
    yield connection
    connection.close()


@pytest.fixture
def region(request: pytest.FixtureRequest, site: Site, surface: SiteThread, tmp_path: Path) -> Iterator[Any]:
    """openstacksdk at a further PoP `region` that manages a PoP `edge`, which has the `HOSTS` of the test's module."""
    surface.manage(tmp_path, Pop("edge", hosts=request.module.HOSTS, managed_by="region"))
    connection = site.connect("region")
    yield connection
    connection.close()
