"""Which hosts servers get, and what becomes of them when a host or their program dies, judged by openstacksdk."""

from __future__ import annotations

import time
from typing import Any

import pytest
from openstack import exceptions
from tests.contract.openstack.conftest import Site, SiteThread
from tests.contract.openstack.test_compute import FAST, boot, network_of
from tests.contract.openstack.test_server_life import act, migrations

from sonata.emulator.cloud.compute.servers import PROVING_S
from sonata.model.topology import GIB, Host

HOSTS = tuple(Host(f"edge-{number}", 16, 4 * GIB, 40 * GIB) for number in (1, 2))
"""Of the PoP that `region` manages."""


def hosts(cloud: Any, count: int, **hints: Any) -> list[str]:
    """Where servers with these hints go, one after the other."""
    return [boot(cloud, scheduler_hints=hints).compute_host for _ in range(count)]


def test_groups_and_hints(region: Any) -> None:
    compute = region.compute
    apart, together, near, spread = (
        compute.create_server_group(name=policy, policy=policy).id
        for policy in ("anti-affinity", "affinity", "soft-affinity", "soft-anti-affinity")
    )
    assert sorted(hosts(region, 3, group=apart)) == ["edge-1", "edge-2", "region"]
    with pytest.raises(exceptions.ResourceFailure):
        hosts(region, 1, group=apart)
    (refused,) = (one for one in compute.servers() if one.status == "ERROR")
    assert "ServerGroupAntiAffinityFilter" in refused.fault["message"]
    assert len(set(hosts(region, 3, group=together))) == 1
    assert len(set(hosts(region, 3, group=near))) == 1
    assert sorted(hosts(region, 3, group=spread)) == ["edge-1", "edge-2", "region"]
    first = boot(region, availability_zone="edge:edge-2")
    assert hosts(region, 1, same_host=[first.id]) == ["edge-2"]
    assert "edge-2" not in hosts(region, 2, different_host=[first.id])


def test_a_group_bounds_its_servers_on_each_host(region: Any) -> None:
    group = region.compute.create_server_group(name="two", policy="anti-affinity", rules={"max_server_per_host": 2})
    found = hosts(region, 6, group=group.id)
    assert {host: found.count(host) for host in set(found)} == {"edge-1": 2, "edge-2": 2, "region": 2}
    with pytest.raises(exceptions.ResourceFailure):
        hosts(region, 1, group=group.id)


def test_a_server_is_evacuated_from_a_host_that_is_down(region: Any, site: Site) -> None:
    network = network_of(region)
    server = boot(region, image="web", networks=[{"uuid": network.id}], availability_zone="edge:edge-1")
    address = server.addresses["inner"][0]["addr"]
    disk = site.clouds["region"].servers.power.disk(server.id)
    disk.mkdir(parents=True)
    assert act(region, server, evacuate={}).status_code == 400  # its host is up
    (service,) = (one for one in region.compute.services() if one.host == "edge-1")
    region.compute.update_service_forced_down(service, "edge-1", "nova-compute")
    assert act(region, server, evacuate={}).status_code == 200
    moved = changed(region, server, "compute_host")
    assert (moved.status, moved.compute_host) == ("ACTIVE", "edge-2")  # it stays in the zone that was asked for
    assert moved.addresses["inner"][0]["addr"] == address
    assert not disk.exists()
    assert len(site.runtime.started) == 2
    (migration,) = migrations(region)
    assert (migration["migration_type"], migration["status"]) == ("evacuation", "done")


def test_a_killed_program_is_told_of(cloud: Any, site: Site, surface: SiteThread) -> None:
    server = boot(cloud, image="web")
    machine = f"access-{server.id}"
    site.clouds["access"].servers.switched_on[server.id] -= PROVING_S
    surface.run(site.runtime.end(machine, 137))
    ended = changed(cloud, server, "status")
    assert (ended.status, ended.vm_state, ended.power_state) == ("SHUTOFF", "stopped", 4)
    assert ended.fault["message"] == "its program ended with exit status 137 (exited)"
    cloud.compute.start_server(server)
    cloud.compute.wait_for_server(cloud.compute.get_server(server.id), status="ACTIVE", interval=FAST, wait=10)
    assert cloud.compute.get_server(server.id).fault is None


def changed(cloud: Any, server: Any, what: str) -> Any:
    """A server of which something has changed, and with which nothing is going on any more."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        found = cloud.compute.get_server(server.id)
        if not found.task_state and getattr(found, what) != getattr(server, what):
            return found
        time.sleep(FAST)
    return pytest.fail(f"server is still {found.status} {found.task_state}")
