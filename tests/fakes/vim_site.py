"""An OpenStack to test VIM adapters with: the emulated one, on a loopback port, over a data plane that does nothing."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import uvicorn

from sonata.api.openstack import openstack_app
from sonata.emulator.cloud import Cloud
from sonata.emulator.data_plane import DataPlane
from sonata.errors import NotFound, PermanentError
from sonata.model.recipe import Recipe
from sonata.model.topology import GIB, Pop
from sonata.ports.images import Image, Progress
from sonata.ports.runtime import MachineExit, MachineSpec, OnExit, Tell

PASSWORD = "not-a-secret"


class IdleRuntime:
    """Machines that do nothing; those of the image `broken` cannot start, those of `brief` end at once."""

    name = "idle"
    unenforced: Mapping[str, str] = {}

    async def start(
        self, spec: MachineSpec, on_exit: OnExit | None = None, *, after: Awaitable[object] | None = None
    ) -> int:
        if after is not None:
            await after
        if spec.argv[:1] == ("broken",):
            raise PermanentError(f"machine `{spec.id}` cannot start `broken`: no such file")
        if spec.argv[:1] == ("brief",) and on_exit is not None:
            asyncio.get_running_loop().call_later(
                0.05, lambda: asyncio.ensure_future(on_exit(MachineExit(spec.id, 3, "exited with status 3")))
            )
        return 1

    async def stop(self, machine_id: str, *, grace_s: float = 2.0) -> None:
        await asyncio.sleep(0.01)

    async def exec(
        self, machine_id: str, argv: Sequence[str], *, stdin: bytes = b"", tell: Tell | None = None
    ) -> tuple[int, bytes, bytes]:
        return 0, b"", b""

    async def is_listening(self, machine_id: str, tcp_port: int) -> bool:
        return True

    async def close(self) -> None:
        pass


class NamedImages:
    """Images with a name and a program of that name."""

    def __init__(self, *names: str) -> None:
        self._images = {
            name: Image(f"00000000-0000-4000-8000-{n:012}", name, f"sha256:{n:064}", argv=(name,))
            for n, name in enumerate(sorted(names))
        }

    def list(self) -> Sequence[Image]:
        return list(self._images.values())

    def get(self, name_or_id: str) -> Image:
        for image in self._images.values():
            if name_or_id in (image.id, image.name):
                return image
        raise NotFound(f"no image `{name_or_id}`")

    def build(self, recipe: Recipe, progress: Progress) -> Image:
        raise NotImplementedError

    def import_archive(self, archive: Path, name: str, progress: Progress) -> Image:
        raise NotImplementedError

    def remove(self, name_or_id: str) -> None:
        raise NotImplementedError


@dataclass
class VimSite:
    """One running site: its cloud, and where its Identity answers."""

    cloud: Cloud
    auth_url: str


@asynccontextmanager
async def vim_site(folder: Path, pop: Pop | None = None) -> AsyncIterator[VimSite]:
    """A site that serves until the context ends."""
    pop = pop or Pop("west", cpus=8, memory_bytes=4 * GIB)
    plane = DataPlane(MagicMock(name="fabric", calls=-1))

    async def stations_changed(network_id: str) -> None:
        pass

    external = IPv4Network("100.64.0.0/24")
    images = NamedImages("host", "broken", "brief", "vcache")
    arguments: tuple[Any, ...] = (pop, plane, IdleRuntime(), images, external, IPv4Address("100.64.0.1"))
    cloud = Cloud(*arguments, folder, stations_changed)
    # With the protocol named, asyncio turns Nagle's algorithm off; without, each answer waits 40 ms for an ACK.
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP) as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        config = uvicorn.Config(openstack_app({pop.name: cloud}, admin_password=PASSWORD), log_level="warning")
        server = uvicorn.Server(config)
        serving = asyncio.ensure_future(server.serve(sockets=[listener]))
        try:
            yield VimSite(cloud, f"http://127.0.0.1:{listener.getsockname()[1]}/{pop.name}/identity/v3")
        finally:
            server.should_exit = True
            await serving
            await cloud.close()
            await plane.close()
