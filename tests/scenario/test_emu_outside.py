"""What endpoints of a PoP reach without translation: IPv6, and networks in the address scope of the outside."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest

from tests.scenario.clouds import boot, let_in, route, site
from tests.scenario.emu_command import Emu
from tests.scenario.test_emu_recovery import kill, pings, power_on, settle

pytestmark = [pytest.mark.root, pytest.mark.serial]

TOPOLOGY = """
apiVersion: sonata/v1
kind: Topology
name: {name}
pops:
  core: {{}}
endpoints:
  users: {{attach: core}}
"""


@pytest.fixture
def cloud(emu: Emu) -> Iterator[Any]:
    emu.topology.write_text(TOPOLOGY.format(name=emu.name))
    emu.up()
    made = site(emu.record(), "core")
    yield made
    made.close()


def six_of(emu: Emu, machine: str) -> list[str]:
    """Global IPv6 addresses of a machine."""
    told = emu.ok("exec", machine, "--", "ip", "-6", "addr", "show", "scope", "global")
    return re.findall(r"inet6 (\S+)/", told)


def test_endpoints_and_servers_reach_one_another_by_ipv6(emu: Emu, cloud: Any) -> None:
    net = cloud.network
    external = net.find_network("external")
    outer = {"network_id": external.id, "ip_version": 6, "cidr": "fd00:64::/64", "gateway_ip": "fd00:64::1"}
    outer_subnet = net.create_subnet(**outer)
    (own,) = six_of(emu, "users")
    assert own.startswith("fd00:64:")
    shown = {machine["name"]: machine["addresses"] for machine in emu.json("show")["machines"]}
    assert own in shown["users"]
    network = net.create_network(name="inner")
    net.create_subnet(network_id=network.id, ip_version=4, cidr="10.5.0.0/24")
    mode = {"ipv6_address_mode": "slaac", "ipv6_ra_mode": "slaac"}
    inner = net.create_subnet(network_id=network.id, ip_version=6, cidr="fd00:5::/64", **mode)
    router = net.create_router(name="r", external_gateway_info={"network_id": external.id})
    versions = {":" in one["ip_address"] for one in router.external_gateway_info["external_fixed_ips"]}
    assert versions == {True, False}
    net.add_interface_to_router(router, subnet_id=inner.id)
    boot(cloud, "one", network.id)
    (address,) = six_of(emu, "core/one")
    group = net.find_security_group("default")
    assert not pings(emu, "users", address)
    rule = {"security_group_id": group.id, "direction": "ingress", "ethertype": "IPv6", "protocol": "ipv6-icmp"}
    net.create_security_group_rule(**rule)
    assert pings(emu, "users", address)
    assert pings(emu, "core/one", own)
    settle()
    kill(emu)

    emu.up()
    assert six_of(emu, "users") == [own]
    power_on(cloud, "one")
    assert pings(emu, "users", address)
    net.remove_interface_from_router(router, subnet_id=inner.id)
    assert not pings(emu, "users", address)
    net.delete_router(router)
    net.delete_subnet(outer_subnet, ignore_missing=False)
    assert six_of(emu, "users") == []


def test_what_is_in_the_scope_of_the_outside_is_reached_as_it_is(emu: Emu, cloud: Any) -> None:
    net = cloud.network
    external = net.find_network("external")
    scope = net.create_address_scope(name="world", ip_version=4)
    pool = net.create_subnet_pool(
        name="p", prefixes=["10.8.0.0/16"], default_prefix_length=24, address_scope_id=scope.id
    )
    answer = net.put(f"/subnetpools/{pool.id}/onboard_network_subnets", json={"network_id": external.id})
    assert answer.status_code == 200, answer.text
    assert net.get_network(external.id).ipv4_address_scope_id == scope.id
    inside = net.create_network(name="inside")
    net.create_subnet(network_id=inside.id, ip_version=4, subnet_pool_id=pool.id)
    hidden = net.create_network(name="hidden")
    net.create_subnet(network_id=hidden.id, ip_version=4, cidr="10.9.0.0/24")
    router = route(cloud, inside)
    (subnet,) = net.subnets(network_id=hidden.id)
    net.add_interface_to_router(router, subnet_id=subnet.id)
    let_in(cloud, "icmp")
    servers = {name: boot(cloud, name, network.id) for name, network in (("one", inside), ("two", hidden))}
    one, two = (next(iter(server.addresses.values()))[0]["addr"] for server in servers.values())
    assert pings(emu, "users", one)
    assert pings(emu, "core/one", "100.64.0.10")
    assert not pings(emu, "core/one", two)
    assert not pings(emu, "core/two", one)
    assert not pings(emu, "users", two)
    assert pings(emu, "core/two", "100.64.0.10")  # behind the router's own address
    net.update_subnet_pool(pool, address_scope_id=None)
    assert pings(emu, "core/one", two)
    assert not pings(emu, "users", one)
