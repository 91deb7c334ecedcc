"""Many clients at once create, change and delete: no call fails inside, and tables and kernel agree in the end."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

from tests.scenario.clouds import FAST, site
from tests.scenario.emu_command import Emu
from tests.scenario.standing import Standing
from tests.scenario.storm import Storm

pytestmark = [pytest.mark.root, pytest.mark.serial]

SETTLED = frozenset(("ACTIVE", "SHUTOFF", "ERROR"))
DELETABLE = frozenset(("available", "error"))
LIMIT_S = 60


@pytest.mark.parametrize("seconds", [6, pytest.param(180, marks=[pytest.mark.slow, pytest.mark.timeout(400)])])
def test_a_storm_leaves_tables_and_kernel_in_agreement(emu: Emu, seconds: int) -> None:
    footprint = emu.up()
    record = emu.record()
    cloud = site(record, "a")
    before = Standing.of(record)

    storm = Storm(record, "a", seed=seconds)
    storm.rage(clients=4, seconds=seconds)
    assert storm.broken == []
    assert storm.steps > seconds

    assert at_last(lambda: unsettled(cloud)) == []
    assert at_last(lambda: contradictions(Standing.of(record), before, cloud)) == []

    clear(cloud)
    until(lambda: Standing.of(record).things <= before.things)
    assert before.things == Standing.of(record).things
    assert in_use(cloud) == {}
    assert "Traceback" not in emu.log()
    cloud.close()
    emu.ok("down")
    assert footprint.leftovers() == []


def at_last(tell: Callable[[], list[str]]) -> list[str]:
    """What is told once nothing more is, or after a while."""
    told: list[str] = []

    def is_quiet() -> bool:
        told[:] = tell()
        return not told

    until(is_quiet)
    return told


def until(holds: Callable[[], bool]) -> None:
    """Wait until something holds; whoever asks then tells what does not."""
    deadline = time.monotonic() + LIMIT_S
    while not holds() and time.monotonic() < deadline:
        time.sleep(FAST)


def clear(cloud: Any) -> None:
    """Delete everything in a cloud, in an order in which nothing is in use."""
    net, storage = cloud.network, cloud.block_storage
    for server in list(cloud.compute.servers()):
        cloud.compute.delete_server(server)
    until(lambda: not list(cloud.compute.servers()))
    assert [(server.status, server.task_state, server.fault) for server in cloud.compute.servers()] == []
    until(lambda: not any(volume.status.endswith("ing") for volume in storage.volumes()))
    assert {volume.status for volume in storage.volumes()} <= DELETABLE
    for volume in storage.volumes():
        storage.delete_volume(volume, ignore_missing=False)
    for address in net.ips():
        net.delete_ip(address, ignore_missing=False)
    for router in net.routers():
        for leg in net.ports(device_id=router.id, device_owner="network:router_interface"):
            net.remove_interface_from_router(router, port_id=leg.id)
        net.delete_router(router, ignore_missing=False)
    for network in net.networks(is_router_external=False):
        for port in net.ports(network_id=network.id):
            net.delete_port(port)
        net.delete_network(network, ignore_missing=False)
    for group in net.security_groups():
        if group.name != "default":
            net.delete_security_group(group, ignore_missing=False)
    until(lambda: not list(storage.volumes()))


def unsettled(cloud: Any) -> list[str]:
    """Servers with which something is going on."""
    servers = [(one.id, one.status, one.task_state) for one in cloud.compute.servers()]
    return [f"server {' '.join(map(str, one))}" for one in servers if one[1] not in SETTLED or one[2]]


def contradictions(now: Standing, before: Standing, cloud: Any) -> list[str]:
    """Where cloud and data plane do not tell the same; what a network has itself may stand only once it is called."""
    ports = {port.mac_address: port for port in cloud.network.ports()}
    found = {mac: what for mac, what in now.macs.items() if mac not in before.macs}
    active = {mac for mac, port in ports.items() if port.status == "ACTIVE"}
    at_once = {mac for mac in active if not ports[mac].device_owner.startswith("network:")}
    foreign = [f"{mac} is {found[mac]}, and as a port {_told(ports.get(mac))}" for mac in found.keys() - active]
    return foreign + [f"{mac} stands nowhere, and as a port {_told(ports[mac])}" for mac in at_once - found.keys()]


def _told(port: Any) -> str:
    return f"{port.status} of {port.device_owner} {port.device_id}" if port else "unknown"


def in_use(cloud: Any) -> dict[str, int]:
    """What the cloud counts against the project's quotas, but for what every project has."""
    project = cloud.session.get_project_id()
    network = cloud.network.get_quota(project, details=True)
    counted = {
        "servers": len(list(cloud.compute.servers())),
        "volumes": len(list(cloud.block_storage.volumes())),
        **{kind: getattr(network, kind)["used"] for kind in ("networks", "ports", "routers", "floating_ips")},
    }
    limits = cloud.compute.get_limits().absolute
    counted |= {"instances": limits.instances_used, "cores": limits.total_cores_used, "ram": limits.total_ram_used}
    return {kind: number for kind, number in counted.items() if number}
