"""However an emulation ends, nothing of its servers, volumes, load balancers, networks and uploads is left."""

from __future__ import annotations

import http.client
import signal
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.residue import Footprint
from tests.scenario.clouds import FAST, boot, let_in, network_of, route, site
from tests.scenario.emu_command import Emu, kill, settle, wait_for_line

pytestmark = [pytest.mark.root, pytest.mark.serial]

PART_OF_A_LAYER = b"x" * 100_000


def down(emu: Emu) -> None:
    emu.ok("down")


def interrupt(emu: Emu) -> None:
    (process,) = emu.foregrounds
    process.send_signal(signal.SIGINT)
    assert process.wait(30) == 0


def kill_and_down(emu: Emu) -> None:
    settle()
    kill(emu)
    emu.ok("down")


def come_back_and_down(emu: Emu) -> None:
    settle()
    kill(emu)
    emu.up()
    emu.ok("down")


RARE = [pytest.param(end, marks=pytest.mark.slow) for end in (interrupt, down, come_back_and_down)]


@pytest.mark.parametrize("end", [kill_and_down, *RARE])
def test_nothing_is_left_of_a_busy_cloud(emu: Emu, end: Callable[[Emu], None]) -> None:
    footprint = busy(emu, foreground=end is interrupt)
    assert {left.split()[0] for left in footprint.leftovers()} >= {"process", "file", "cgroup"}
    end(emu)
    assert footprint.leftovers() == []


def busy(emu: Emu, *, foreground: bool) -> Footprint:
    """An emulation in which everything that can leave something behind is there."""
    if foreground:
        wait_for_line(emu.foreground(), "is ready")
    else:
        emu.up()
    cloud = site(emu.record(), "a")
    network = network_of(cloud, "10.7.0.0/24", "10.7.0.50", "10.7.0.99")
    route(cloud, network)
    servers = [boot(cloud, name, network.id) for name in ("one", "two")]
    let_in(cloud, "tcp")
    attach_volume(emu, cloud, servers[0])
    balance(cloud, network)
    cloud.compute.stop_server(servers[1])
    cloud.compute.wait_for_server(servers[1], status="SHUTOFF", interval=FAST, wait=30)
    upload_a_part(cloud)
    cloud.close()
    return emu.footprint()


def attach_volume(emu: Emu, cloud: Any, server: Any) -> None:
    """Give a server a volume, write to it, and keep a snapshot of it."""
    volume = cloud.block_storage.create_volume(size=1)
    volume = cloud.block_storage.wait_for_status(volume, "available", interval=FAST, wait=30)
    cloud.compute.create_volume_attachment(server, volume_id=volume.id)
    emu.ok("exec", f"a/{server.name}", "--", "sh", "-c", "echo kept > /mnt/vdb/file; echo more > /root/file")
    snapshot = cloud.block_storage.create_snapshot(volume_id=volume.id, is_forced=True)
    cloud.block_storage.wait_for_status(snapshot, "available", interval=FAST, wait=30)


def balance(cloud: Any, network: Any) -> None:
    """Let a load balancer of each kind listen."""
    (subnet,) = cloud.network.subnets(network_id=network.id)
    for provider in cloud.load_balancer.providers():
        made = cloud.load_balancer.create_load_balancer(vip_subnet_id=subnet.id, provider=provider.name)
        cloud.load_balancer.wait_for_load_balancer(made.id, interval=FAST, wait=30)
        cloud.load_balancer.create_listener(load_balancer_id=made.id, protocol="TCP", protocol_port=80)
        cloud.load_balancer.wait_for_load_balancer(made.id, interval=FAST, wait=30)


def upload_a_part(cloud: Any) -> None:
    """Begin to upload an image, and break off."""
    image = cloud.image.create_image(name="broken", disk_format="raw", container_format="bare", wait=False)
    place = urlsplit(f"{cloud.image.get_endpoint()}/v2/images/{image.id}/file".replace("/v2/v2", "/v2"))
    connection = http.client.HTTPConnection(str(place.hostname), place.port, timeout=20)
    connection.putrequest("PUT", place.path)
    for name, value in {
        "X-Auth-Token": cloud.authorize(),
        "Content-Type": "application/octet-stream",
        "Content-Length": str(10 * len(PART_OF_A_LAYER)),
    }.items():
        connection.putheader(name, value)
    connection.endheaders()
    connection.send(PART_OF_A_LAYER)
    connection.close()
