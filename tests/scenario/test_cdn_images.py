"""The images of the CDN example do what they promise, in hand-made namespaces.

users -- vcache -- vtc -- vtu -- origin, each step a veth pair. The machines know their own interfaces and the two
routing tables that a platform gives them; the user asks the origin by its address.
"""

from __future__ import annotations

import asyncio
import re
import shutil
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import pytest

from sonata.adapters.images_local import LocalImages
from sonata.adapters.runtime_oci import OciRuntime
from sonata.formats.recipe import read_recipe
from sonata.ports.images import Image
from sonata.ports.runtime import Limits, MachineSpec, RootFs
from tests.machines import cable, enter_private_mounts, ip, needs_engine, needs_root, network_namespaces

pytestmark = [
    pytest.mark.root,
    pytest.mark.slow,
    pytest.mark.timeout(600),
    needs_root,
    needs_engine,
    pytest.mark.skipif(not shutil.which("mmdebstrap"), reason="needs mmdebstrap to build the images"),
]

RECIPES = Path(__file__).parents[2] / "examples/cdn/images"
FUNCTIONS = ("vcache", "vtc", "vtu")
ORIGIN = "10.9.3.2"


@dataclass
class World:
    """Everything running."""

    runtime: OciRuntime
    namespaces: dict[str, str]
    consoles: Path

    def console(self, machine: str) -> str:
        return (self.consoles / machine).read_text()


@pytest.fixture(scope="module")
def images() -> dict[str, Image]:
    # The store of whoever runs the tests, so that the images are built once and for all.
    from sonata._lib.paths import data_home

    store = LocalImages(data_home() / "images")
    names = (*FUNCTIONS, "web-origin")
    return {name: store.build(read_recipe(RECIPES / f"{name}.yaml"), print) for name in names}


@pytest.fixture
def namespaces() -> Iterator[dict[str, str]]:
    enter_private_mounts()
    with network_namespaces("users", *FUNCTIONS, "origin") as names:
        stations = [names[each] for each in ("users", *FUNCTIONS, "origin")]
        for number, (left, right) in enumerate(pairwise(stations)):
            out = "eth0" if number == 0 else "eth1"
            cable(left, out, f"10.9.{number}.1/24", right, "eth0", f"10.9.{number}.2/24")
        ip("-n", names["users"], "route", "add", "default", "via", "10.9.0.2")
        ip("-n", names["origin"], "route", "add", "default", "via", "10.9.3.1")
        for number, name in enumerate(FUNCTIONS):
            give_tables(names[name], number)
        yield names


def give_tables(namespace: str, number: int) -> None:
    """What the platform gives every machine with two gateways: a table per interface, a rule per own address."""
    towards_users, towards_content = f"10.9.{number}.1", f"10.9.{number + 1}.2"
    ip("-n", namespace, "route", "add", "default", "via", towards_users)
    for table, gateway, interface, own in (
        ("1000", towards_users, "eth0", f"10.9.{number}.2"),
        ("1001", towards_content, "eth1", f"10.9.{number + 1}.1"),
    ):
        ip("-n", namespace, "route", "add", "default", "via", gateway, "dev", interface, "table", table)
        ip("-n", namespace, "rule", "add", "from", own, "lookup", table)


@pytest.fixture
async def world(
    images: dict[str, Image], namespaces: dict[str, str], tmp_path: Path, anyio_backend: str
) -> AsyncIterator[World]:
    runtime = OciRuntime(tmp_path / "runtime", "sonata-test/cdn-images")
    started = World(runtime, namespaces, tmp_path)
    try:
        for name in ("web-origin", *FUNCTIONS):
            await start(started, images[name], "origin" if name == "web-origin" else name)
        yield started
    finally:
        await runtime.close()


async def start(world: World, image: Image, machine: str) -> None:
    spec = MachineSpec(
        id=machine,
        hostname=machine,
        root=RootFs(image.layers),
        argv=image.argv,
        console=world.consoles / machine,
        env=image.env,
        netns=f"/run/netns/{world.namespaces[machine]}",
        limits=Limits(memory_bytes=256 * 1024**2),
    )
    await world.runtime.start(spec)
    if image.ready_tcp_port:
        async with asyncio.timeout(30):
            while not await world.runtime.is_listening(machine, image.ready_tcp_port):
                await asyncio.sleep(0.01)
    else:
        await until(lambda: "forwarding" in world.console(machine))


async def until(condition) -> None:  # type: ignore[no-untyped-def]
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.01)


async def fetch(world: World, path: str) -> tuple[str, bytes]:
    """Headers and body of an object, asked for by the users at the origin's own address."""
    command = ["curl", "-sS", "-i", "--max-time", "10", f"http://{ORIGIN}/{path}"]
    whole = ["ip", "netns", "exec", world.namespaces["users"], *command]
    result = await asyncio.to_thread(subprocess.run, whole, capture_output=True, check=False)
    assert result.returncode == 0, result.stderr.decode() + "".join(world.console(name) for name in FUNCTIONS)
    headers, _, body = result.stdout.partition(b"\r\n\r\n")
    return headers.decode(), body


async def web_packets(world: World) -> int:
    """Packets of class `web` that the classifier has seen."""
    _, out, _ = await world.runtime.exec("vtc", ["nft", "list", "counter", "inet", "classes", "web_packets"])
    found = re.search(rb"packets (\d+)", out)
    assert found, out
    return int(found[1])


@pytest.mark.anyio
async def test_second_fetch_is_served_by_the_cache(world: World) -> None:
    headers, body = await fetch(world, "100k.bin")
    assert " 200 " in headers.splitlines()[0]
    assert "X-Cache: MISS from vcache" in headers
    assert "1.1 vtu" in headers, "the relay was not in the path"
    assert len(body) == 100_000
    await until(lambda: "100k.bin" in world.console("vtu"))
    seen = await web_packets(world)
    assert seen > 0

    headers, again = await fetch(world, "100k.bin")
    assert "X-Cache: HIT from vcache" in headers
    assert again == body
    time.sleep(0.2)
    assert await web_packets(world) == seen, "packets passed the classifier although the cache had the object"
    assert world.console("origin").count("GET /100k.bin") == 1


@pytest.mark.anyio
async def test_all_objects_arrive_whole(world: World) -> None:
    for name, size in (("1k.bin", 1000), ("100k.bin", 100_000), ("1M.bin", 1_000_000)):
        headers, body = await fetch(world, name)
        assert " 200 " in headers.splitlines()[0]
        assert len(body) == size


@pytest.mark.anyio
async def test_other_traffic_is_routed_through_and_classified(world: World) -> None:
    whole = ["ip", "netns", "exec", world.namespaces["users"], "ping", "-c", "3", "-i", "0.1", "-W", "2", ORIGIN]
    result = await asyncio.to_thread(subprocess.run, whole, capture_output=True, check=False)
    assert result.returncode == 0, result.stdout
    _, out, _ = await world.runtime.exec("vtc", ["nft", "list", "counter", "inet", "classes", "icmp_packets"])
    assert b"packets 6 " in out
