"""Servers, routers and chains of a real emulation, made by openstacksdk and judged by ping."""

from __future__ import annotations

import json
import shutil
import time
from typing import Any

import pytest
from tests.contract.openstack.real_emulation import Emulation, on_real_emulation
from tests.contract.openstack.test_compute import FAST, boot, network_of
from tests.contract.openstack.test_network import subnet_of

pytestmark = on_real_emulation


def routed(cloud: Any, network: Any) -> Any:
    """A router from a network to the outside."""
    external = cloud.network.find_network("external")
    router = cloud.network.create_router(name="r", external_gateway_info={"network_id": external.id})
    cloud.network.add_interface_to_router(router, subnet_id=subnet_of(cloud, network))
    return router


def test_two_servers_reach_one_another_as_soon_as_they_are_active(emulation: Emulation, access: Any) -> None:
    network = network_of(access)
    boot(access, "one", networks=[{"uuid": network.id}])
    two = boot(access, "two", networks=[{"uuid": network.id}])
    assert emulation.pings("access/one", two.addresses["inner"][0]["addr"])


def test_networks_with_the_same_addresses_are_apart(emulation: Emulation, access: Any) -> None:
    first, second = network_of(access, name="first"), network_of(access, name="second")
    boot(access, "one", networks=[{"uuid": first.id}])
    boot(access, "two", networks=[{"uuid": second.id, "fixed_ip": "10.1.0.77"}])
    assert not emulation.pings("access/one", "10.1.0.77")


def test_a_server_reaches_the_outside_and_its_floating_ip_is_reached(emulation: Emulation, access: Any) -> None:
    network = network_of(access)
    routed(access, network)
    server = boot(access, "one", networks=[{"uuid": network.id}])
    assert emulation.pings("access/one", "100.64.1.10")
    (port,) = access.network.ports(device_id=server.id)
    external = access.network.find_network("external")
    floating = access.network.create_ip(floating_network_id=external.id, port_id=port.id)
    assert not emulation.pings("users", floating.floating_ip_address)
    (group,) = port.security_group_ids
    rule = access.network.create_security_group_rule(
        security_group_id=group, direction="ingress", protocol="icmp", remote_ip_prefix="100.64.0.0/10"
    )
    assert emulation.pings("users", floating.floating_ip_address)
    access.network.delete_security_group_rule(rule)
    assert not emulation.pings("users", floating.floating_ip_address)
    access.network.update_port(port, security_groups=[], port_security_enabled=False)
    assert emulation.pings("users", floating.floating_ip_address)
    access.compute.stop_server(server)
    access.compute.wait_for_server(server, status="SHUTOFF", interval=FAST, wait=20)
    assert not emulation.pings("users", floating.floating_ip_address)
    access.compute.start_server(server)
    access.compute.wait_for_server(server, interval=FAST, wait=20)
    assert emulation.pings("users", floating.floating_ip_address)


def test_ipv6_passes_between_networks_and_addresses_change_on_running_servers(
    emulation: Emulation, access: Any
) -> None:
    net = access.network
    router = net.create_router(name="r")
    networks = [
        network_of(access, name=name, cidr=cidr) for name, cidr in (("n1", "10.1.0.0/24"), ("n2", "10.2.0.0/24"))
    ]
    mode = {"ipv6_address_mode": "slaac", "ipv6_ra_mode": "slaac"}
    for number, network in enumerate(networks, start=1):
        six = net.create_subnet(network_id=network.id, ip_version=6, cidr=f"fd00:{number}::/64", **mode)
        net.add_interface_to_router(router, subnet_id=six.id)
    boot(access, "one", networks=[{"uuid": networks[0].id}])
    two = boot(access, "two", networks=[{"uuid": networks[1].id}])
    (port,) = net.ports(device_id=two.id)
    net.update_port(port, port_security_enabled=False, security_groups=[])
    address = next(one["ip_address"] for one in port.fixed_ips if one["ip_address"].startswith("fd00:2:"))
    assert emulation.pings("access/one", address)
    before = {fixed["subnet_id"]: fixed["ip_address"] for fixed in port.fixed_ips}
    moved = [{"subnet_id": key, "ip_address": "10.2.0.77" if "." in value else value} for key, value in before.items()]
    net.update_port(port, fixed_ips=moved)
    shown = emulation.exec("access/two", "ip", "addr", "show", "eth0").stdout
    assert "10.2.0.77/24" in shown
    assert address in shown


def received(emulation: Emulation, machine: str) -> int:
    """IP packets that a machine has received; ARP does not count."""
    names, values = (
        line.split() for line in emulation.exec(machine, "head", "-2", "/proc/net/snmp").stdout.splitlines()
    )
    return int(dict(zip(names, values, strict=True))["InReceives"])


def test_a_chain_leads_packets_through_its_function_until_it_is_deleted(emulation: Emulation, access: Any) -> None:
    network = network_of(access)
    routed(access, network)
    server = boot(access, "function", networks=[{"uuid": network.id}])
    (port,) = access.network.ports(device_id=server.id)
    net = access.network
    pair = net.create_sfc_port_pair(ingress=port.id, egress=port.id)
    group = net.create_sfc_port_pair_group(port_pairs=[pair.id])
    classifier = net.create_sfc_flow_classifier(
        source_ip_prefix="100.64.0.10/32", destination_ip_prefix="100.64.1.10/32", protocol="icmp"
    )
    assert emulation.pings("users", "100.64.1.10")
    chain = net.create_sfc_port_chain(
        port_pair_groups=[group.id], flow_classifiers=[classifier.id], chain_parameters={"symmetric": False}
    )
    before = received(emulation, "access/function")
    emulation.pings("users", "100.64.1.10")
    through = received(emulation, "access/function")
    assert through > before
    net.delete_sfc_port_chain(chain, ignore_missing=False)
    assert emulation.pings("users", "100.64.1.10")
    assert received(emulation, "access/function") == through


def test_a_layer_2_gateway_makes_one_network_of_a_plant_and_its_servers(emulation: Emulation, access: Any) -> None:
    net, network = access.network, network_of(access)
    server = boot(access, "one", networks=[{"uuid": network.id}])
    address = server.addresses["inner"][0]["addr"]
    device = {"device_name": "plant", "interfaces": [{"name": "eth1"}]}
    gateway = net.post("/l2-gateways", json={"l2_gateway": {"name": "wall", "devices": [device]}}).json()["l2_gateway"]
    wish = {"l2_gateway_id": gateway["id"], "network_id": network.id}
    assert not emulation.pings("access/one", "10.1.0.200")
    made = net.post("/l2-gateway-connections", json={"l2_gateway_connection": wish}).json()["l2_gateway_connection"]
    assert emulation.pings("access/one", "10.1.0.200", within_s=5)
    # The server's security group keeps strangers out; its plant is one, too.
    assert not emulation.pings("plant", address)
    (port,) = net.ports(device_id=server.id)
    net.update_port(port, port_security_enabled=False, security_groups=[])
    assert emulation.pings("plant", address, within_s=5)
    assert net.delete(f"/l2-gateway-connections/{made['id']}").status_code == 204
    assert not emulation.pings("access/one", "10.1.0.200")
    assert not emulation.pings("plant", address)


def test_a_layer_2_gateway_joins_a_vlan_of_a_plant_where_the_kernel_has_any(emulation: Emulation, access: Any) -> None:
    net, network = access.network, network_of(access)
    server = boot(access, "one", networks=[{"uuid": network.id}])
    address = server.addresses["inner"][0]["addr"]
    device = {"device_name": "plant", "interfaces": [{"name": "eth1"}]}
    gateway = net.post("/l2-gateways", json={"l2_gateway": {"name": "wall", "devices": [device]}}).json()["l2_gateway"]
    wish = {"l2_gateway_id": gateway["id"], "network_id": network.id, "segmentation_id": "100"}
    in_plant = "link add link eth1 name eth1.100 type vlan id 100"
    has_vlans = emulation.exec("plant", "ip", *in_plant.split()).returncode == 0
    made = net.post("/l2-gateway-connections", json={"l2_gateway_connection": wish})
    if not has_vlans:
        assert made.status_code == 501
        assert "VLAN 100" in made.json()["NeutronError"]["message"]
        assert net.get("/l2-gateway-connections").json() == {"l2_gateway_connections": []}
        return
    assert made.json()["l2_gateway_connection"]["segmentation_id"] == "100"
    assert not emulation.pings("access/one", "10.1.0.200")
    own = ("address add 10.1.0.201/32 dev eth1.100", "link set eth1.100 up", f"route add {address}/32 dev eth1.100")
    for words in own:
        assert emulation.exec("plant", "ip", *words.split()).returncode == 0
    assert emulation.pings("access/one", "10.1.0.201", within_s=5)
    assert emulation.exec("plant", "ip", "link", "delete", "eth1.100").returncode == 0


def goodput_bps(emulation: Emulation, address: str, *options: str) -> float:
    """TCP from the users to a server at an address, by iperf3, in bits per second."""
    emulation.exec("access/one", "iperf3", "-s", "-1", "-D")
    for _ in range(50):
        told = json.loads(emulation.exec("users", "iperf3", "-J", "-t", "1", "-c", address, *options).stdout or "{}")
        if "sum_received" in told.get("end", {}):
            return float(told["end"]["sum_received"]["bits_per_second"])
        time.sleep(FAST)
    raise AssertionError(told)


@pytest.mark.skipif(not shutil.which("iperf3"), reason="needs iperf3")
def test_the_rate_of_a_floating_ip_holds_in_both_directions(emulation: Emulation, access: Any) -> None:
    net, network = access.network, network_of(access)
    routed(access, network)
    server = boot(access, "one", networks=[{"uuid": network.id}])
    (port,) = net.ports(device_id=server.id)
    net.update_port(port, port_security_enabled=False, security_groups=[])
    policy = net.create_qos_policy(name="slow")
    for direction, kbps in (("ingress", 40_000), ("egress", 20_000)):
        net.create_qos_bandwidth_limit_rule(policy, max_kbps=kbps, direction=direction)
    external = net.find_network("external")
    floating = net.create_ip(floating_network_id=external.id, port_id=port.id, qos_policy_id=policy.id)
    for options, wanted_bps in ((), 40e6), (("-R",), 20e6):
        # Never more, and nearly all of it at least once.
        measured = [goodput_bps(emulation, floating.floating_ip_address, *options) for _ in range(2)]
        assert max(measured) <= 1.1 * wanted_bps
        assert max(measured) >= 0.5 * wanted_bps
    net.update_ip(floating, qos_policy_id=None)
    net.delete_qos_policy(policy, ignore_missing=False)
    assert goodput_bps(emulation, floating.floating_ip_address, "-R") > 60e6
