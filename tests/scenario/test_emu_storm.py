"""Many clients at once create, change and delete: no call fails inside, and tables and kernel agree in the end."""

from __future__ import annotations

import time
from collections.abc import Callable, Set
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

    until(lambda: all(server.status in SETTLED and not server.task_state for server in cloud.compute.servers()))
    until(lambda: stand(Standing.of(record).macs - before.macs, cloud))
    found = Standing.of(record).macs - before.macs
    told = [(one.mac_address, one.status, one.device_owner, one.device_id) for one in cloud.network.ports()]
    assert found <= plugged(cloud), [one for one in told if one[0] in found - plugged(cloud)]
    assert plugged(cloud, at_once=True) <= found

    clear(cloud)
    until(lambda: Standing.of(record).things <= before.things)
    assert before.things == Standing.of(record).things
    assert in_use(cloud) == {}
    assert "Traceback" not in emu.log()
    cloud.close()
    emu.ok("down")
    assert footprint.leftovers() == []


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


def stand(found: Set[str], cloud: Any) -> bool:
    """Whether what the cloud tells is in the data plane, and nothing else."""
    return plugged(cloud, at_once=True) <= found <= plugged(cloud)


def plugged(cloud: Any, *, at_once: bool = False) -> set[str]:
    """Addresses of the ports that are plugged in, as the cloud tells; without those that stand once they are called."""
    active = [port for port in cloud.network.ports() if port.status == "ACTIVE"]
    return {port.mac_address for port in active if not (at_once and port.device_owner.startswith("network:"))}


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
