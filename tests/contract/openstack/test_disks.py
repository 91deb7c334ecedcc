"""Images that are whole disks: servers boot them by virtual machines, or are refused with the reason."""

from __future__ import annotations

import struct
import time
from collections.abc import Callable
from typing import Any

import openstack.exceptions
import pytest
from tests.contract.openstack.conftest import Site

from sonata.ports.runtime import MachineSpec

pytestmark = pytest.mark.usefixtures("site")
SECTOR = bytes(510) + b"\x55\xaa"
BadRequest = openstack.exceptions.BadRequestException


def qcow2(*, backing: int = 0, version: int = 3, features: int = 0) -> bytes:
    """The header of an empty disk of 1 GiB."""
    head = struct.pack(">4sIQIIQ", b"QFI\xfb", version, backing, 0, 16, 1 << 30)
    return (head.ljust(72, b"\0") + features.to_bytes(8)).ljust(512, b"\0")


def upload(cloud: Any, data: bytes, form: str = "qcow2", **properties: str) -> Any:
    image = cloud.image.create_image(name="disk", disk_format=form, container_format="bare", wait=False, **properties)
    cloud.image.put(f"/images/{image.id}/file", data=data, headers={"Content-Type": "application/octet-stream"})
    return cloud.image.get_image(image.id)


def boot(cloud: Any, image: Any, **wishes: Any) -> Any:
    network = cloud.network.create_network(name="inner")
    cloud.network.create_subnet(network_id=network.id, ip_version=4, cidr="10.5.0.0/24")
    flavor = cloud.compute.find_flavor("small")
    server = cloud.compute.create_server(
        name="guest", image_id=image.id, flavor_id=flavor.id, networks=[{"uuid": network.id}], **wishes
    )
    return cloud.compute.wait_for_server(server, interval=0.02, wait=10)


@pytest.fixture
def boots_disks(site: Site) -> Callable[[], MachineSpec]:
    """A cloud that has virtual machines; gives the machine started last."""
    site.runtime.disk_refusal = lambda: ""  # type: ignore[method-assign]
    return lambda: site.runtime.started[-1]


def test_a_disk_boots_in_a_virtual_machine(site: Site, boots_disks: Callable[[], MachineSpec]) -> None:
    cloud = site.connect()
    image = upload(cloud, qcow2())
    server = boot(cloud, image, user_data="IyEvYmluL3NoCg==", config_drive=True)
    assert server.status == "ACTIVE"
    machine = boots_disks()
    assert machine.engine == "vm"
    assert machine.argv == ()
    assert machine.root.image
    assert machine.root.image.format == "qcow2"
    assert machine.root.image.file.read_bytes() == qcow2()
    assert machine.root.image.size_bytes == cloud.compute.find_flavor("small").disk << 30
    assert machine.root.disk
    assert [bind.target for bind in machine.binds] == ["/config-2"]


def test_a_system_on_a_disk_gets_time_to_shut_down(site: Site, boots_disks: Callable[[], MachineSpec]) -> None:
    cloud = site.connect()
    server = boot(cloud, upload(cloud, SECTOR, "raw"))
    cloud.compute.stop_server(server)
    cloud.compute.wait_for_server(server, status="SHUTOFF", interval=0.02, wait=10)
    patient = boot(cloud, upload(cloud, SECTOR, "raw", os_shutdown_timeout="7"))
    cloud.compute.stop_server(patient)
    cloud.compute.wait_for_server(patient, status="SHUTOFF", interval=0.02, wait=10)
    assert site.runtime.graces == [60.0, 7.0]


def test_a_snapshot_of_a_disk_is_a_disk(site: Site, boots_disks: Callable[[], MachineSpec]) -> None:
    cloud = site.connect()
    server = boot(cloud, upload(cloud, qcow2()))
    image = cloud.compute.create_server_image(server, "copy", wait=False)
    for _ in range(200):
        shown = cloud.image.get_image(image.id)
        if shown.status != "queued" and shown.status != "saving":
            break
        time.sleep(0.02)
    assert (shown.status, shown.disk_format, shown.container_format) == ("active", "qcow2", "bare")
    assert boot(cloud, shown).status == "ACTIVE"


def test_a_disk_rescues_a_disk(site: Site, boots_disks: Callable[[], MachineSpec]) -> None:
    cloud = site.connect()
    server = boot(cloud, upload(cloud, qcow2()))
    host = cloud.image.find_image("host")
    with pytest.raises(BadRequest, match="a disk rescues"):
        cloud.compute.rescue_server(server, image=host.id)
    cloud.compute.rescue_server(server, image=upload(cloud, SECTOR, "raw").id)
    cloud.compute.wait_for_server(server, status="RESCUE", interval=0.02, wait=10)
    rescuer, (own,) = boots_disks().root, boots_disks().attached
    assert rescuer.image
    assert (rescuer.image.format, rescuer.disk) == ("raw", None)
    assert own.root.image
    assert (own.root.image.format, own.root.disk) == ("qcow2", site.clouds["access"].site.disks / server.id)


def test_no_volume_is_a_disk(site: Site, boots_disks: Callable[[], MachineSpec]) -> None:
    cloud = site.connect()
    with pytest.raises(BadRequest, match="volumes hold files"):
        cloud.block_storage.create_volume(size=1, image_id=upload(cloud, qcow2()).id)


@pytest.mark.parametrize(
    ("data", "form", "why"),
    [
        (qcow2(backing=512), "qcow2", "backing file"),
        (qcow2(features=4), "qcow2", "another file"),
        (SECTOR, "qcow2", "no qcow2 image"),
        (qcow2(), "raw", "no boot sector"),
        (b"x", "raw", "no boot sector"),
        (SECTOR, "iso", "needs a virtual machine"),
    ],
)
@pytest.mark.usefixtures("boots_disks")
def test_what_is_no_disk_or_leans_on_other_files_is_refused(site: Site, data: bytes, form: str, why: str) -> None:
    cloud = site.connect()
    with pytest.raises(BadRequest, match=why):
        boot(cloud, upload(cloud, data, form))


def test_without_virtual_machines_a_disk_is_refused_with_the_reason(site: Site) -> None:
    cloud = site.connect()
    with pytest.raises(BadRequest, match="a fake boots no disk"):
        boot(cloud, upload(cloud, qcow2()))
