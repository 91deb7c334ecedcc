"""Availability zones in other PoPs, and live migration to them, judged by openstacksdk."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import pytest
from openstack import exceptions
from tests.contract.openstack.conftest import Site
from tests.contract.openstack.test_compute import FAST, boot, network_of
from tests.contract.openstack.test_server_life import act, migrations
from tests.waiting import until

from sonata.emulator.cloud.site import Zones
from sonata.model.topology import GIB, Host

HOSTS = (Host("edge-1", 4, 4 * GIB, 40 * GIB), Host("edge-2", 4, 4 * GIB, 40 * GIB))
"""Of the PoP that `region` manages."""


def settled(cloud: Any, server: Any) -> Any:
    return cloud.compute.wait_for_server(cloud.compute.get_server(server.id), status="ACTIVE", interval=FAST, wait=10)


def test_zones_hosts_and_services(region: Any) -> None:
    zones = {zone.name: set(zone.hosts) for zone in region.compute.availability_zones(details=True)}
    assert zones == {"nova": {"region"}, "edge": {"edge-1", "edge-2"}}
    assert [one.name for one in region.compute.hypervisors()] == ["region", "edge-1", "edge-2"]
    assert {one.host: one.availability_zone for one in region.compute.services()}["edge-2"] == "edge"
    statistics = region.compute.get("/os-hypervisors/statistics").json()["hypervisor_statistics"]
    assert (statistics["count"], statistics["vcpus"]) == (3, 16)


def test_servers_name_their_zone_and_host(region: Any, site: Site) -> None:
    networks = [{"uuid": network_of(region).id}]
    found = {
        zone: boot(region, networks=networks, availability_zone=zone)
        for zone in (None, "edge", "edge:edge-2", "region")
    }
    assert [found[zone].compute_host for zone in found] == ["region", "edge-1", "edge-2", "region"]
    assert [found[zone].availability_zone for zone in found] == ["nova", "edge", "edge", "nova"]
    (port,) = region.network.ports(device_id=found["edge"].id)
    assert port.binding_host_id == "edge-1"
    assert {spec.pop for spec in site.fabric.machines.of(f"region-{found['edge'].id}")} == {"edge"}
    with pytest.raises(exceptions.BadRequestException, match="there is `nova`, `edge`"):
        boot(region, networks=networks, availability_zone="mars")


def test_a_server_migrates_live_between_zones(region: Any, site: Site) -> None:
    server = boot(region, image="web", networks=[{"uuid": network_of(region).id}])
    region.compute.live_migrate_server(server, host="edge-1", block_migration="auto")
    moved = settled(region, server)
    assert (moved.compute_host, moved.availability_zone, moved.launched_at) == ("edge-1", "edge", server.launched_at)
    assert len(site.runtime.started) == 1  # it was never switched off
    (migration,) = migrations(region)
    assert (migration["status"], migration["source_compute"], migration["dest_compute"]) == (
        "completed",
        "region",
        "edge-1",
    )
    (action, *_) = region.compute.server_actions(server)
    told = region.compute.get(f"/servers/{server.id}/os-instance-actions/{action.request_id}", microversion="2.84")
    (event,) = told.json()["instanceAction"]["events"]
    assert event["traceback"] is None
    assert "stood still for" in event["details"]


def test_networks_are_served_in_the_zone_that_they_ask_for(region: Any) -> None:
    net = region.network
    zones = [(zone.resource, zone.name, zone.state) for zone in net.availability_zones()]
    assert zones == [
        ("network", "nova", "available"),
        ("network", "edge", "available"),
        ("router", "nova", "available"),
    ]
    far = net.create_network(name="far", availability_zone_hints=["edge"])
    near = net.create_network(name="near")
    assert far.availability_zones == []
    for network in (far, near):
        net.create_subnet(network_id=network.id, ip_version=4, cidr="10.1.0.0/24")
    assert net.get_network(far.id).availability_zones == ["edge"]
    assert net.get_network(near.id).availability_zones == ["nova"]
    hosts: dict[str, set[str]] = {}
    for agent in net.agents():
        hosts.setdefault(agent.agent_type, set()).add(agent.host)
    assert hosts == {
        "L3 agent": {"region"},
        "DHCP agent": {"region", "edge"},
        "Metadata agent": {"region", "edge"},
        "Linux bridge agent": {"region", "edge-1", "edge-2"},
    }
    (agent,) = net.network_hosting_dhcp_agents(far)
    assert (agent.host, agent.availability_zone) == ("edge", "edge")
    assert [one.id for one in net.dhcp_agent_hosting_networks(agent)] == [far.id]


def test_zones_that_are_not_there_are_refused(region: Any) -> None:
    for path, kind, zone in (("/networks", "network", "mars"), ("/routers", "router", "edge")):
        answer = region.network.post(path, json={kind: {"availability_zone_hints": [zone]}})
        assert (answer.status_code, answer.json()["NeutronError"]["type"]) == (404, "AvailabilityZoneNotFound")


def test_agents_are_dead_while_they_are_cut_off_or_do_not_serve(region: Any, site: Site) -> None:
    def dead() -> set[tuple[str, str]]:
        return {(agent.agent_type, agent.host) for agent in region.network.agents() if not agent.is_alive}

    cloud = site.clouds["region"]
    assert dead() == set()
    # No namespace stands behind this site, so that its networks cannot be served when somebody calls for that.
    network = region.network.create_network(name="far", availability_zone_hints=["edge"])
    region.network.create_subnet(network_id=network.id, ip_version=4, cidr="10.1.0.0/24")
    server = boot(region, networks=[{"uuid": network.id}])
    assert dead() == set()
    site.fabric.networks.callers["edge", network.id][1].send(b"who has 169.254.169.254?")
    until(dead, {("DHCP agent", "edge"), ("Metadata agent", "edge")})
    region.compute.delete_server(server)
    region.compute.wait_for_delete(server, interval=FAST, wait=10)
    assert dead() == set()
    cut = Zones(
        cloud.site.zones.pops,
        heard_of=lambda pop: 1e9 if pop == "edge" else time.time(),
        reaches=lambda pop: pop != "edge",
    )
    cloud.site = replace(cloud.site, zones=cut)
    assert {host for _kind, host in dead()} == {"edge", "edge-1", "edge-2"}
    (agent,) = (one for one in region.network.agents(host="edge-1"))
    assert agent.last_heartbeat_at == "2001-09-09T01:46:40Z"
    states = {zone.name: zone.state for zone in region.network.availability_zones(resource="network")}
    assert states == {"nova": "available", "edge": "unavailable"}


@pytest.mark.parametrize(
    ("version", "wrong"),
    [
        ("2.96", {"host": None}),
        ("2.96", {"host": None, "block_migration": "perhaps"}),
        ("2.24", {"host": None, "block_migration": "auto", "disk_over_commit": False}),
        ("2.24", {"host": None, "block_migration": False}),
        ("2.29", {"host": "edge-1", "block_migration": "auto", "force": True}),
        ("2.68", {"host": "edge-1", "block_migration": "auto", "force": True}),
        ("2.30", {"host": None, "block_migration": "auto", "force": True}),
        ("2.30", {"host": "edge-1", "block_migration": "auto", "force": "hard"}),
        ("2.96", {"host": "nowhere", "block_migration": "auto"}),
        ("2.96", {"host": "region", "block_migration": "auto"}),
    ],
)
def test_what_nova_refuses_is_refused(region: Any, version: str, wrong: dict[str, Any]) -> None:
    server = boot(region, networks=[{"uuid": network_of(region).id}])
    assert act(region, server, version, os_migrateLive=wrong).status_code == 400
    assert migrations(region) == []
