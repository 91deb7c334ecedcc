"""IPv6, live changes, routes, port forwarding, pools, RBAC and the rest of Neutron, as openstacksdk asks for them."""

from __future__ import annotations

import re
import subprocess
import sys
from ipaddress import IPv6Address
from typing import Any

import pytest
from openstack import exceptions
from tests.contract.openstack.conftest import Site
from tests.contract.openstack.test_compute import boot, network_of

SUBNETPOOL = {"prefixes": ["10.8.0.0/16"], "default_prefixlen": 26}


def v6_subnet(cloud: Any, network: Any, cidr: str = "fd00:5::/64", **more: Any) -> Any:
    return cloud.network.create_subnet(network_id=network.id, ip_version=6, cidr=cidr, **more)


def addresses(port: Any) -> set[str]:
    return {fixed["ip_address"] for fixed in port.fixed_ips}


def test_ports_get_an_address_of_each_version_and_those_that_hosts_find_by_themselves(site: Site, cloud: Any) -> None:
    network = network_of(cloud)
    plain = v6_subnet(cloud, network)
    assert (plain.gateway_ip, plain.allocation_pools[0]["start"]) == ("fd00:5::1", "fd00:5::2")
    early = cloud.network.create_port(network_id=network.id, mac_address="02:00:00:00:00:01")
    assert addresses(early) == {"10.1.0.2", "fd00:5::2"}
    mode = {"ipv6_address_mode": "slaac", "ipv6_ra_mode": "slaac"}
    slaac = v6_subnet(cloud, network, "fd00:6::/64", **mode)
    assert (slaac.ipv6_address_mode, slaac.ipv6_ra_mode) == ("slaac", "slaac")
    later = cloud.network.create_port(network_id=network.id, mac_address="02:00:00:00:00:02")
    assert addresses(later) == {"10.1.0.3", "fd00:5::3", "fd00:6::ff:fe00:2"}
    assert "fd00:6::ff:fe00:1" in addresses(cloud.network.get_port(early.id))
    server = boot(cloud, networks=[{"port": later.id}])
    (spec,) = site.fabric.machines.ports.values()
    assert spec.gateway6 in (IPv6Address("fd00:5::1"), IPv6Address("fd00:6::1"))
    versions = {one["version"] for one in cloud.compute.get_server(server.id).addresses[network.name]}
    assert versions == {4, 6}
    with pytest.raises(exceptions.BadRequestException, match="must be the same value"):
        v6_subnet(cloud, network, "fd00:7::/64", ipv6_address_mode="slaac", ipv6_ra_mode="dhcpv6-stateful")
    with pytest.raises(exceptions.BadRequestException, match="/64"):
        v6_subnet(cloud, network, "fd00:7::/80", **mode)
    with pytest.raises(exceptions.BadRequestException, match="ip_version"):
        cloud.network.create_subnet(network_id=network.id, ip_version=4, cidr="fd00:8::/64")


def test_changes_of_ports_subnets_and_networks_reach_running_servers(site: Site, cloud: Any) -> None:
    net, network = cloud.network, network_of(cloud)
    (subnet,) = net.subnets(network_id=network.id)
    server = boot(cloud, networks=[{"uuid": network.id}])
    (port,) = net.ports(device_id=server.id)
    net.update_port(port, fixed_ips=[{"ip_address": "10.1.0.50"}])
    assert [str(value) for value in site.fabric.machines.ports[port.id].addresses] == ["10.1.0.50/24"]
    assert net.update_port(port, admin_state_up=False).status == "DOWN"
    assert not site.fabric.machines.ports[port.id].up
    net.update_port(port, admin_state_up=True)
    route = {"destination": "192.0.2.0/24", "nexthop": "10.1.0.9"}
    net.update_subnet(subnet, gateway_ip="10.1.0.254", host_routes=[route])
    spec = site.fabric.machines.ports[port.id]
    assert str(spec.gateway) == "10.1.0.254"
    assert ("192.0.2.0/24", "10.1.0.9") in {(str(one.destination), str(one.via)) for one in spec.routes}
    assert net.get_subnet(subnet.id).host_routes == [route]
    net.update_network(network, mtu=1300, admin_state_up=False)
    standing = site.fabric.networks.networks["access", network.id]
    assert (standing.mtu, standing.up) == (1300, False)
    with pytest.raises(exceptions.ConflictException, match="already bound"):
        net.update_port(port, mac_address="02:00:00:00:00:99")


def test_ports_show_and_keep_what_neutron_knows_of_them(site: Site, cloud: Any) -> None:
    network = network_of(cloud)
    options = [{"opt_name": "bootfile-name", "opt_value": "pxe", "ip_version": 4}]
    port = cloud.network.create_port(
        network_id=network.id, dns_name="web", extra_dhcp_opts=options, binding_profile={"a": 1}
    )
    assert port.dns_assignment[0]["fqdn"] == "web.openstacklocal."
    assert (port.extra_dhcp_opts, port.binding_profile, port.binding_vif_type) == (options, {"a": 1}, "unbound")
    gone = [{"opt_name": "bootfile-name", "opt_value": None}, {"opt_name": "mtu", "opt_value": "1400"}]
    changed = cloud.network.update_port(port, extra_dhcp_opts=gone)
    assert changed.extra_dhcp_opts == [{"opt_name": "mtu", "opt_value": "1400", "ip_version": 4}]
    with pytest.raises(exceptions.BadRequestException, match="no DHCP option"):
        cloud.network.update_port(port.id, extra_dhcp_opts=[{"opt_name": "colour", "opt_value": "red"}])
    assert cloud.network.update_port(port, data_plane_status="DOWN").data_plane_status == "DOWN"
    assert cloud.network.create_port(network_id=network.id, fixed_ips=[]).ip_allocation == "none"
    with pytest.raises(exceptions.BadRequestException, match="PQDN"):
        cloud.network.update_port(port, dns_name="not a name")


def test_a_revision_that_has_gone_by_is_refused(cloud: Any) -> None:
    network = network_of(cloud)
    change = {"network": {"name": "second"}}
    now = cloud.network.get_network(network.id).revision_number
    path, headers = f"/networks/{network.id}", {"If-Match": f"revision_number={now}"}
    assert cloud.network.put(path, json=change, headers=headers).status_code == 200
    refused = cloud.network.put(path, json=change, headers=headers)
    assert (refused.status_code, refused.json()["NeutronError"]["type"]) == (412, "RevisionNumberConstraintFailed")


def test_routers_take_routes_and_say_how_they_go_out(site: Site, cloud: Any) -> None:
    net, network = cloud.network, network_of(cloud)
    (subnet,) = net.subnets(network_id=network.id)
    six = v6_subnet(cloud, network)
    external = net.find_network("external")
    way = {"network_id": external.id, "enable_snat": False, "external_fixed_ips": [{"ip_address": "100.64.0.99"}]}
    router = net.create_router(name="r", external_gateway_info=way)
    assert router.external_gateway_info["external_fixed_ips"][0]["ip_address"] == "100.64.0.99"
    assert router.external_gateway_info["enable_snat"] is False
    for each in (subnet, six):
        net.add_interface_to_router(router, subnet_id=each.id)
    route = {"destination": "192.0.2.0/24", "nexthop": "10.1.0.9"}
    other = {"destination": "fd09::/64", "nexthop": "fd00:5::9"}
    net.add_extra_routes_to_router(router, {"router": {"routes": [route]}})
    added = net.add_extra_routes_to_router(router, {"router": {"routes": [other]}})
    assert added.routes == [route, other]
    spec = site.fabric.networks.routers[router.id]
    assert ([str(one.via) for one in spec.routes], spec.snat) == (["10.1.0.9", "fd00:5::9"], False)
    assert {str(leg.address) for leg in spec.interfaces} == {"10.1.0.1/24", "fd00:5::1/64"}
    with pytest.raises(exceptions.ConflictException, match="required by one or more routes"):
        net.remove_interface_from_router(router, subnet_id=subnet.id)
    left = net.remove_extra_routes_from_router(router, {"router": {"routes": [route]}})
    assert left.routes == [other]
    with pytest.raises(exceptions.BadRequestException, match="not connected"):
        net.update_router(router.id, routes=[{"destination": "192.0.2.0/24", "nexthop": "172.31.0.1"}])
    net.update_router(router.id, admin_state_up=False)
    assert site.fabric.networks.routers[router.id].interfaces == ()


def test_ports_of_a_floating_ip_lead_inside(site: Site, cloud: Any) -> None:
    net, network = cloud.network, network_of(cloud)
    (subnet,) = net.subnets(network_id=network.id)
    port = net.create_port(network_id=network.id)
    external = net.find_network("external")
    floating = net.create_ip(floating_network_id=external.id, floating_ip_address="100.64.0.200")
    inner = {"internal_port_id": port.id, "internal_ip_address": "10.1.0.2", "protocol": "tcp"}
    with pytest.raises(exceptions.NotFoundException, match="not reachable"):
        net.create_floating_ip_port_forwarding(floating, internal_port=80, external_port=8080, **inner)
    router = net.create_router(name="r", external_gateway_info={"network_id": external.id})
    net.add_interface_to_router(router, subnet_id=subnet.id)
    assert net.get_ip(floating.id).status == "DOWN"
    made = net.create_floating_ip_port_forwarding(floating, internal_port=80, external_port=8080, **inner)
    assert (made.internal_port, made.external_port, made.protocol) == (80, 8080, "tcp")
    (spec,) = site.fabric.networks.routers[router.id].forwardings
    assert (str(spec.outer), spec.outer_ports, spec.inner_ports) == ("100.64.0.200", (8080, 8080), (80, 80))
    shown = net.get_ip(floating.id)
    assert (shown.status, shown.port_details) == ("ACTIVE", None)
    assert [one.id for one in net.floating_ip_port_forwardings(floating)] == [made.id]
    with pytest.raises(exceptions.BadRequestException, match="duplicate"):
        net.create_floating_ip_port_forwarding(floating, internal_port=81, external_port=8080, **inner)
    with pytest.raises(exceptions.ConflictException, match="Port Forwarding"):
        net.update_ip(floating, port_id=port.id)
    changed = net.update_floating_ip_port_forwarding(floating, made, external_port=9090)
    assert changed.external_port == 9090
    assert site.fabric.networks.routers[router.id].forwardings[0].outer_ports == (9090, 9090)
    net.delete_port(port)
    assert site.fabric.networks.routers[router.id].forwardings == ()


def test_a_cut_passes_what_is_used_in_one_step(cloud: Any) -> None:
    net, network = cloud.network, network_of(cloud)
    pool = net.create_subnet_pool(name="p", prefixes=["fd00:9::/48"], min_prefixlen=48, default_prefixlen=64)
    cut = {"network_id": network.id, "ip_version": 6, "subnetpool_id": pool.id}
    net.create_subnet(cidr="fd00:9::/49", **cut)
    assert net.create_subnet(prefixlen=120, **cut).cidr == "fd00:9:0:8000::/120"
    assert net.create_subnet(prefixlen=64, **cut).cidr == "fd00:9:0:8001::/64"


def test_scopes_are_of_version_4_or_6(cloud: Any) -> None:
    with pytest.raises(exceptions.BadRequestException, match="not in \\[4, 6\\]"):
        cloud.network.create_address_scope(name="s", ip_version=5)


def test_subnets_are_cut_from_pools(cloud: Any) -> None:
    net, network = cloud.network, network_of(cloud)
    scope = net.create_address_scope(name="s", ip_version=4)
    pool = net.create_subnet_pool(name="p", address_scope_id=scope.id, default_quota=128, **SUBNETPOOL)
    assert (pool.minimum_prefix_length, pool.maximum_prefix_length, pool.ip_version) == (8, 32, 4)
    cut = [net.create_subnet(network_id=network.id, ip_version=4, subnet_pool_id=pool.id) for _ in range(2)]
    assert [subnet.cidr for subnet in cut] == ["10.8.0.0/26", "10.8.0.64/26"]
    assert net.get_network(network.id).ipv4_address_scope_id == scope.id
    with pytest.raises(exceptions.ConflictException, match="quota"):
        net.create_subnet(network_id=network.id, ip_version=4, subnet_pool_id=pool.id)
    net.update_subnet_pool(pool, default_quota=None)
    asked = {"network_id": network.id, "ip_version": 4, "subnetpool_id": pool.id}
    assert net.create_subnet(prefixlen=28, **asked).cidr == "10.8.0.128/28"
    with pytest.raises(exceptions.ConflictException, match="not free"):
        net.create_subnet(cidr="10.8.0.0/25", **asked)
    with pytest.raises(exceptions.ConflictException, match="unique prefixes"):
        net.create_subnet_pool(name="q", address_scope_id=scope.id, **SUBNETPOOL)
    with pytest.raises(exceptions.BadRequestException, match="prefix bounds"):
        net.update_subnet_pool(pool, default_prefix_length=69, maximum_prefix_length=128)
    for delete in (
        lambda: net.delete_subnet_pool(pool, ignore_missing=False),
        lambda: net.delete_address_scope(scope, ignore_missing=False),
    ):
        with pytest.raises(exceptions.ConflictException):
            delete()


def test_networks_are_shared_by_grants_and_only_with_those_named(site: Site, cloud: Any) -> None:
    project = cloud.identity.create_project(name="tenant")
    user = cloud.identity.create_user(name="ann", password="a long password", default_project_id=project.id)
    role = cloud.identity.find_role("member")
    cloud.identity.assign_project_role_to_user(project, user, role)
    tenant = site.connect(username="ann", password="a long password", project_name="tenant")
    network = network_of(cloud)
    assert tenant.network.find_network(network.id) is None
    grant = cloud.network.create_rbac_policy(
        object_type="network", object_id=network.id, action="access_as_shared", target_project_id=project.id
    )
    assert tenant.network.get_network(network.id).name == network.name
    assert [subnet.network_id for subnet in tenant.network.subnets()] != []
    with pytest.raises(exceptions.ForbiddenException):
        tenant.network.update_network(network.id, name="mine")
    port = tenant.network.create_port(network_id=network.id)
    assert port.binding_host_id is None
    with pytest.raises(exceptions.ConflictException, match="depend on it"):
        cloud.network.delete_rbac_policy(grant, ignore_missing=False)
    tenant.network.delete_port(port)
    cloud.network.delete_rbac_policy(grant, ignore_missing=False)
    assert tenant.network.find_network(network.id) is None
    cloud.network.update_network(network, shared=True)
    assert tenant.network.get_network(network.id).is_shared
    (wide,) = cloud.network.rbac_policies(object_id=network.id)
    assert wide.target_project_id == "*"
    cloud.network.update_network(network, shared=False)
    assert list(cloud.network.rbac_policies()) == []
    tenant.close()


def test_the_network_service_tells_of_itself(cloud: Any) -> None:
    net, network = cloud.network, network_of(cloud)
    agents = {agent.agent_type: agent for agent in net.agents()}
    assert set(agents) == {"L3 agent", "DHCP agent", "Metadata agent", "Linux bridge agent"}
    assert all(agent.is_alive for agent in agents.values())
    assert [one.id for one in net.dhcp_agent_hosting_networks(agents["DHCP agent"])] == [network.id]
    net.create_port(network_id=network.id)
    usage = net.get_network_ip_availability(network.id)
    assert (usage.total_ips, usage.used_ips) == (253, 1)
    with pytest.raises(exceptions.ConflictException, match="default subnetpools"):
        net.get_auto_allocated_topology()
    net.create_subnet_pool(name="p", is_default=True, **SUBNETPOOL)
    made = net.get_auto_allocated_topology()
    assert net.get_network(made.id).name == "auto_allocated_network"
    assert net.get_auto_allocated_topology().id == made.id
    net.delete_auto_allocated_topology()
    assert net.find_network(made.id) is None


def test_a_topology_that_cannot_be_made_leaves_nothing(cloud: Any) -> None:
    net, network = cloud.network, network_of(cloud)
    pool = net.create_subnet_pool(name="p", is_default=True, prefixes=["10.8.0.0/26"], default_prefixlen=26)
    net.create_subnet(network_id=network.id, ip_version=4, subnet_pool_id=pool.id)
    with pytest.raises(exceptions.ConflictException, match="not free"):
        net.get_auto_allocated_topology()
    assert net.find_network("auto_allocated_network") is None
    assert net.find_router("auto_allocated_router") is None


COMMANDS = """
network create n
subnet create --network n --subnet-range 10.3.0.0/24 --host-route destination=192.0.2.0/24,gateway=10.3.0.9 s
subnet create --network n --ip-version 6 --subnet-range fd03::/64 --ipv6-ra-mode slaac --ipv6-address-mode slaac s6
subnet pool create --pool-prefix 10.9.0.0/16 --default-prefix-length 24 pool
subnet create --network n --subnet-pool pool cut
address scope create scope
port create --network n --fixed-ip subnet=s,ip-address=10.3.0.7 --dns-name host p
port set --name q p
router create --external-gateway external r
router add subnet r s
router add route r --route destination=198.51.100.0/24,gateway=10.3.0.7
router remove route r --route destination=198.51.100.0/24,gateway=10.3.0.7
floating ip create external --floating-ip-address 100.64.0.222
floating ip port forwarding create --internal-ip-address 10.3.0.7 --port q --internal-protocol-port 80 \
--external-protocol-port 8080 --protocol tcp 100.64.0.222
floating ip port forwarding list 100.64.0.222
network rbac create --type network --action access_as_shared --target-project admin n
network rbac list
network agent list
ip availability list
ip availability show n
network show n
subnet show s6
subnet pool show pool
port show q
router show r
"""


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_stock_commands_pass(site: Site) -> None:
    login = {f"OS_{key.upper()}": value for key, value in site.auth().items()}
    environment = {"PATH": "/usr/bin:/bin", "OS_IDENTITY_API_VERSION": "3", "HOME": "/nonexistent", **login}
    failed = {}
    for line in re.sub(r"\\\n", "", COMMANDS).strip().splitlines():
        command = [sys.executable, "-m", "openstackclient.shell", *line.split()]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
        if done.returncode:
            failed[line] = done.stderr[-300:]
    assert failed == {}


def test_direct_ports_go_around_the_filters(site: Site, cloud: Any) -> None:
    net, network = cloud.network, network_of(cloud)
    port = net.create_port(network_id=network.id, binding_vnic_type="direct")
    assert (port.binding_vif_type, bool(port.security_group_ids)) == ("unbound", True)
    server = boot(cloud, networks=[{"port": port.id}])
    assert server.status == "ACTIVE"
    port = net.get_port(port.id)
    assert (port.status, port.binding_vif_type, port.binding_vif_details["port_filter"]) == ("ACTIVE", "hw_veb", False)
    assert site.fabric.machines.ports[port.id].direct
    assert port.id not in site.fabric.filtering.filters
    with pytest.raises(exceptions.ConflictException, match="vNIC type"):
        net.update_port(port, binding_vnic_type="normal")
    tap = net.create_port(network_id=network.id, binding_vnic_type="macvtap")
    cloud.compute.create_server_interface(server, port_id=tap.id)
    assert net.get_port(tap.id).binding_vif_type == "hw_veb"
    cloud.compute.pause_server(server)
    cloud.compute.wait_for_server(cloud.compute.get_server(server.id), status="PAUSED")
    assert {port.id, tap.id} <= site.fabric.machines.held


def test_nothing_limits_or_steers_direct_ports(site: Site, cloud: Any) -> None:
    net, network = cloud.network, network_of(cloud)
    policy = net.create_qos_policy(name="slow")
    rule = net.create_qos_bandwidth_limit_rule(policy, max_kbps=1000)
    port = net.create_port(network_id=network.id, binding_vnic_type="direct")
    empty = net.create_qos_policy(name="empty")
    net.update_port(port, qos_policy_id=empty.id)
    pair = net.create_sfc_port_pair(ingress=port.id, egress=port.id)
    group = net.create_sfc_port_pair_group(port_pairs=[pair.id])
    classifier = net.create_sfc_flow_classifier(protocol="tcp")
    for refused in (
        lambda: net.update_port(port, qos_policy_id=policy.id),
        lambda: net.create_port(network_id=network.id, binding_vnic_type="direct", qos_policy_id=policy.id),
        lambda: net.create_qos_bandwidth_limit_rule(empty, max_kbps=10),
        lambda: net.create_sfc_port_chain(port_pair_groups=[group.id], flow_classifiers=[classifier.id]),
    ):
        with pytest.raises(exceptions.ConflictException, match="vNIC type"):
            refused()
    net.update_port(port, qos_policy_id=None)
    with pytest.raises(exceptions.ConflictException, match="vNIC type"):
        net.update_network(network, qos_policy_id=policy.id)
    assert rule.max_kbps == 1000
    assert not site.fabric.shaping.shapes
