"""Volumes of a real emulation: seen, limited and held inside of servers."""

from __future__ import annotations

import time
from typing import Any

import pytest
from openstack import exceptions
from tests.contract.openstack.real_emulation import Emulation, on_real_emulation
from tests.contract.openstack.test_compute import FAST, boot
from tests.contract.openstack.test_volumes import settled, volume_of

pytestmark = on_real_emulation


def test_a_server_sees_its_volume_until_it_lets_go(emulation: Emulation, access: Any) -> None:
    server, volume = boot(access, "one"), volume_of(access)
    assert emulation.exec("access/one", "ls", "/mnt").stdout == ""
    access.compute.create_volume_attachment(server, volume_id=volume.id)
    write = "cd /mnt/vdb && echo kept > file && sleep 3"
    assert emulation.exec("access/one", "sh", "-c", f"({write}) > /dev/null 2>&1 & ").returncode == 0
    deadline = time.monotonic() + 20
    while emulation.exec("access/one", "cat", "/mnt/vdb/file").stdout != "kept\n" and time.monotonic() < deadline:
        continue
    access.compute.stop_server(server)
    access.compute.wait_for_server(server, status="SHUTOFF", interval=FAST, wait=20)
    access.block_storage.post(f"/volumes/{volume.id}/action", json={"os-extend": {"new_size": 2}}, microversion="3.60")
    assert settled(access, volume, "in-use").size == 2
    access.compute.start_server(server)
    access.compute.wait_for_server(server, interval=FAST, wait=20)
    assert emulation.exec("access/one", "cat", "/mnt/vdb/file").stdout == "kept\n"
    with pytest.raises(exceptions.BadRequestException, match="attached"):
        access.block_storage.delete_volume(volume, ignore_missing=False)
    access.compute.delete_volume_attachment(server, volume, ignore_missing=False)
    assert emulation.exec("access/one", "cat", "/mnt/vdb/file").returncode != 0
    access.block_storage.delete_volume(volume)
    access.block_storage.wait_for_delete(volume, interval=FAST, wait=10)


def test_a_server_boots_from_a_volume_and_finds_what_it_wrote(emulation: Emulation, access: Any) -> None:
    image, flavor = access.image.find_image("host"), access.compute.find_flavor("tiny")
    device = {"boot_index": 0, "uuid": image.id, "source_type": "image", "destination_type": "volume"}
    server = access.compute.create_server(
        name="two",
        flavor_id=flavor.id,
        networks="none",
        block_device_mapping=[{**device, "volume_size": 1, "delete_on_termination": True}],
    )
    server = access.compute.wait_for_server(server, interval=FAST, wait=20)
    assert emulation.exec("access/two", "sh", "-c", "echo kept > /root/file").returncode == 0
    access.compute.stop_server(server)
    access.compute.wait_for_server(server, status="SHUTOFF", interval=FAST, wait=20)
    access.compute.start_server(server)
    access.compute.wait_for_server(server, interval=FAST, wait=20)
    assert emulation.exec("access/two", "cat", "/root/file").stdout == "kept\n"
