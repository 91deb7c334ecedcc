"""Engines side by side: a confined process and a virtual machine are neighbours, and stand in one chain."""

from __future__ import annotations

import re
import tempfile
import time
from pathlib import Path
from typing import Any

import pytest
from openstack.exceptions import ResourceFailure

from sonata._lib.paths import data_home
from sonata.adapters.runtime_oci import MANAGERS, find_manager
from sonata.adapters.runtime_qemu import find_all, guest_kernels
from sonata.errors import Unsupported
from tests.disk_image import UP, as_qcow2, bootable_disk
from tests.scenario.clouds import boot, let_in, network_of, site
from tests.scenario.emu_command import Emu, kill

pytestmark = [pytest.mark.root, pytest.mark.serial]

BOOTED_S = 200
TOPOLOGY = """
apiVersion: sonata/v1
kind: Topology
name: {name}
pops:
  core: {{}}
"""
COUNT = "cat /sys/class/net/eth0/statistics/rx_packets"


@pytest.fixture
def virtual_machines() -> Path:
    """Where the guests' kernel is, on a host that can run virtual machines."""
    images = data_home() / "images"
    try:
        find_all(guest_kernels(images))
    except Unsupported as missing:
        pytest.skip(missing.message)
    return images


def virtual(cloud: Any) -> Any:
    """A flavor of virtual machines."""
    flavor = cloud.compute.create_flavor(name="virtual", ram=256, vcpus=1, disk=1)
    cloud.compute.create_flavor_extra_specs(flavor, {"sonata:engine": "vm"})
    return flavor


def boot_virtual(cloud: Any, name: str, network: Any) -> Any:
    image = cloud.image.find_image("host")
    server = cloud.compute.create_server(
        name=name, image_id=image.id, flavor_id=virtual(cloud).id, networks=[{"uuid": network.id}]
    )
    return cloud.compute.wait_for_server(server, wait=BOOTED_S)


def boot_disk(cloud: Any, disk: Path, network: Any) -> Any:
    """A server of a disk that was uploaded."""
    image = cloud.image.create_image(name="disk", filename=str(disk), disk_format="qcow2", container_format="bare")
    flavor = cloud.compute.create_flavor(name="own-system", ram=192, vcpus=1, disk=1)
    server = cloud.compute.create_server(
        name="guest", image_id=image.id, flavor_id=flavor.id, networks=[{"uuid": network.id}], config_drive=True
    )
    return cloud.compute.wait_for_server(server, wait=BOOTED_S)


def said(cloud: Any, server: Any, wanted: str) -> str:
    """A server's console log, once it has what is wanted."""
    deadline = time.monotonic() + BOOTED_S
    while wanted not in (log := cloud.compute.get_server_console_output(server)["output"]):
        assert time.monotonic() < deadline, log
        time.sleep(0.5)
    return str(log)


def through(emu: Emu, machine: str) -> int:
    """Packets that a machine has received."""
    return int(emu.ok("exec", machine, "--", "/bin/sh", "-c", COUNT))


def start(emu: Emu, *options: str) -> None:
    emu.topology.write_text(TOPOLOGY.format(name=emu.name))
    emu.ok("up", str(emu.topology), "--listen", "127.0.0.1:0", "--detach", *options)


def test_an_emulation_runs_by_the_engine_that_it_is_told(emu: Emu) -> None:
    start(emu, "--engine", "launcher")
    assert "launcher" in emu.json("show")["runtime"]
    cloud = site(emu.record(), "core")
    server = boot(cloud, "one", network_of(cloud, "10.5.0.0/24", "10.5.0.10", "10.5.0.99").id)
    assert server.status == "ACTIVE"
    assert emu.ok("exec", "core/one", "--", "/bin/sh", "-c", "cat /proc/1/comm; id -u") == "sleep\n0\n"
    refused = emu.run("up", str(emu.topology), "--engine", "crun")
    assert "cannot change to `crun`" in refused.stderr
    emu.ok("up", str(emu.topology), "--engine", "launcher")


@pytest.fixture(params=MANAGERS)
def manager(request: pytest.FixtureRequest) -> str:
    """Each manager of containers that is installed."""
    try:
        return find_manager(request.param).name
    except Unsupported as missing:
        pytest.skip(missing.message)


@pytest.mark.slow
def test_an_emulation_runs_by_a_manager_of_containers(emu: Emu, manager: str) -> None:
    start(emu, "--engine", manager)
    assert emu.json("show")["runtime"].startswith(manager)
    cloud = site(emu.record(), "core")
    network = network_of(cloud, "10.5.0.0/24", "10.5.0.10", "10.5.0.99")
    one, two = (boot(cloud, name, network.id) for name in ("one", "two"))
    let_in(cloud, "icmp")
    address = next(iter(cloud.network.ports(device_id=two.id))).fixed_ips[0]["ip_address"]
    assert "3 received" in emu.ok("exec", "core/one", "--", "ping", "-n", "-c", "3", "-W", "5", address)
    cloud.compute.pause_server(one)
    cloud.compute.wait_for_server(one, status="PAUSED", wait=30)
    cloud.compute.unpause_server(one)
    cloud.compute.wait_for_server(one, status="ACTIVE", wait=30)
    cloud.compute.stop_server(two)
    cloud.compute.wait_for_server(two, status="SHUTOFF", wait=30)


@pytest.mark.slow
def test_a_keeper_that_is_killed_leaves_nothing_of_its_manager(emu: Emu, manager: str) -> None:
    before = folders_outside()
    start(emu, "--engine", manager)
    cloud = site(emu.record(), "core")
    boot(cloud, "one", network_of(cloud, "10.5.0.0/24", "10.5.0.10", "10.5.0.99").id)
    kill(emu)
    emu.ok("down")
    assert folders_outside() == before


def folders_outside() -> set[Path]:
    """Where managers have folders that others may see."""
    run = {path for path in (Path("/run/docker"), Path("/run/containerd")) if path.exists()}
    return run | set(Path(tempfile.gettempdir()).glob("m-*")) | set(Path("/tmp").glob("m-*"))


def test_engines_that_cannot_run_an_emulation_are_refused_with_the_reason(emu: Emu) -> None:
    for engine, why in (("vm", "sonata:engine=vm"), ("xen", "launcher")):
        refused = emu.run("up", str(emu.topology), "--listen", "127.0.0.1:0", "--detach", "--engine", engine)
        assert refused.returncode != 0
        assert why in refused.stderr


def test_a_virtual_machine_that_cannot_run_tells_what_is_missing(emu: Emu) -> None:
    if list(Path("/boot").glob("vmlinuz-*")):
        pytest.skip("this host has a kernel for virtual machines wherever its images are")
    start(emu)
    cloud = site(emu.record(), "core")
    network = network_of(cloud, "10.5.0.0/24", "10.5.0.10", "10.5.0.99")
    with pytest.raises(ResourceFailure):
        boot_virtual(cloud, "guest", network)
    fault = cloud.compute.get_server(cloud.compute.find_server("guest").id).fault
    assert "virtual machines" in fault["message"]


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_an_uploaded_disk_boots_and_is_a_neighbour(emu: Emu, tmp_path: Path) -> None:
    disk = as_qcow2(bootable_disk(tmp_path))
    start(emu)
    cloud = site(emu.record(), "core")
    network = network_of(cloud, "10.5.0.0/24", "10.5.0.10", "10.5.0.99")
    neighbour, guest = boot(cloud, "one", network.id), boot_disk(cloud, disk, network)
    let_in(cloud, "icmp")
    log = said(cloud, guest, UP)
    address = next(iter(cloud.network.ports(device_id=guest.id))).fixed_ips[0]["ip_address"]
    assert "boot 1 of a disk of 1024 MiB" in log
    assert f"address {address}" in log
    assert re.search(f'config drive config-2: .*"uuid": ?"{guest.id}"', log)
    assert re.search(f'metadata .*"uuid": ?"{guest.id}"', log), log
    assert "3 received" in emu.ok("exec", f"core/{neighbour.name}", "--", "ping", "-n", "-c", "3", "-W", "10", address)
    refused = emu.run("exec", "core/guest", "--", "true")
    assert refused.returncode != 0
    assert "boots a disk" in refused.stderr

    cloud.compute.stop_server(guest)
    cloud.compute.wait_for_server(guest, status="SHUTOFF", wait=BOOTED_S)
    assert "powered off by its button" in cloud.compute.get_server_console_output(guest)["output"]
    copy = cloud.compute.create_server_image(guest, "copy", wait=True, timeout=BOOTED_S)
    assert (copy.disk_format, copy.status) == ("qcow2", "active")
    cloud.compute.start_server(guest)
    said(cloud, guest, "boot 2 of a disk")
    cloud.compute.delete_server(guest)
    cloud.compute.wait_for_delete(guest, wait=60)
    rebuilt = cloud.compute.create_server(
        name="copied", image_id=copy.id, flavor_id=cloud.compute.find_flavor("own-system").id, networks="none"
    )
    said(
        cloud, cloud.compute.wait_for_server(rebuilt, wait=BOOTED_S), "boot 2 of a disk"
    )  # the copy is of after the first


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_a_process_and_a_virtual_machine_stand_in_one_chain(emu: Emu, virtual_machines: Path) -> None:
    (emu.home / "share").mkdir(exist_ok=True)
    (emu.home / "share/kernel").symlink_to(guest_kernels(virtual_machines)[0])
    start(emu)
    cloud = site(emu.record(), "core")
    net, network = cloud.network, network_of(cloud, "10.5.0.0/24", "10.5.0.10", "10.5.0.99")
    servers = {name: boot(cloud, name, network.id) for name in ("one", "two", "process")}
    servers["guest"] = boot_virtual(cloud, "guest", network)
    ports = {name: next(iter(net.ports(device_id=server.id))) for name, server in servers.items()}
    let_in(cloud, "icmp")
    assert "Debian" not in emu.ok("exec", "core/process", "--", "/bin/uname", "-v")
    assert "-amd64" in emu.ok("exec", "core/guest", "--", "/bin/uname", "-r")

    groups = []
    for name in ("process", "guest"):
        net.update_port(ports[name], port_security_enabled=False, security_groups=[])
        emu.ok("exec", f"core/{name}", "--", "/bin/sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward")
        pair = net.create_sfc_port_pair(ingress=ports[name].id, egress=ports[name].id)
        groups.append(net.create_sfc_port_pair_group(port_pairs=[pair.id]).id)
    ping = ("exec", "core/one", "--", "ping", "-n", "-c", "5", "-i", "0.2", "-W", "5")
    target = str(ports["two"].fixed_ips[0]["ip_address"])
    assert "5 received" in emu.ok(*ping, target)
    assert "5 received" in emu.ok(*ping, str(ports["guest"].fixed_ips[0]["ip_address"]))
    classifier = net.create_sfc_flow_classifier(protocol="icmp", logical_source_port=ports["one"].id)
    net.create_sfc_port_chain(port_pair_groups=groups, flow_classifiers=[classifier.id])
    before = {name: through(emu, f"core/{name}") for name in ("process", "guest")}
    assert "5 received" in emu.ok(*ping, target)
    assert all(through(emu, f"core/{name}") >= before[name] + 5 for name in before)
