"""Security groups, their rules and port security, as openstacksdk sees them; what the data plane is told of them."""

from __future__ import annotations

from ipaddress import IPv4Network
from typing import Any

import pytest
from openstack import exceptions
from tests.contract.openstack.conftest import Site
from tests.contract.openstack.test_compute import boot, network_of

from sonata.ports.fabric import AllowedSource, FilterRule, PortFilter


def filter_of(site: Site, port_id: str) -> PortFilter:
    return site.fabric.filtering.standing()[port_id]


def boot_on_network(cloud: Any, **more: Any) -> Any:
    return boot(cloud, networks=[{"uuid": network_of(cloud).id}], **more)


def port_of(cloud: Any, server: Any) -> Any:
    (port,) = cloud.network.ports(device_id=server.id)
    return port


def error_type(cloud: Any, path: str, body: dict[str, Any], method: str = "post") -> tuple[int, str]:
    answer = getattr(cloud.network, method)(path, json=body)
    return answer.status_code, answer.json()["NeutronError"]["type"]


def test_a_new_group_lets_everything_out_and_default_its_own_ports_in(cloud: Any) -> None:
    net = cloud.network
    group = net.create_security_group(name="web", description="d", tags=["a"])
    assert {(rule["direction"], rule["ethertype"]) for rule in group.security_group_rules} == {
        ("egress", "IPv4"),
        ("egress", "IPv6"),
    }
    assert group.stateful
    default = net.find_security_group("default")
    ingress = [rule for rule in default.security_group_rules if rule["direction"] == "ingress"]
    assert {rule["ethertype"] for rule in ingress} == {"IPv4", "IPv6"}
    assert {rule["remote_group_id"] for rule in ingress} == {default.id}
    assert len(list(net.security_group_rules(security_group_id=default.id))) == 4
    with pytest.raises(exceptions.ConflictException, match="Default security group already exists"):
        net.create_security_group(name="default")
    with pytest.raises(exceptions.ConflictException, match="default security group"):
        net.update_security_group(default, name="other")
    net.delete_security_group(group, ignore_missing=False)
    assert not list(net.security_group_rules(security_group_id=group.id))


def test_a_project_sees_its_default_group_before_it_has_used_anything(site: Site, cloud: Any) -> None:
    identity = cloud.identity
    project, user = identity.create_project(name="red"), identity.create_user(name="eve", password="difference")
    identity.assign_project_role_to_user(project, user, identity.find_role("member"))
    eve = site.connect(username="eve", password="difference", project_name="red").network
    (default,) = eve.security_groups()
    assert (default.name, default.project_id) == ("default", project.id)
    assert len(default.security_group_rules) == 4
    assert [group.id for group in eve.security_groups()] == [default.id]
    other = identity.create_project(name="green")
    (seen,) = cloud.network.security_groups(project_id=other.id)
    assert seen.name == "default"
    assert list(cloud.network.security_groups(project_id="0" * 32)) == []
    assert list(eve.security_groups(project_id=other.id)) == []


def test_only_administrators_delete_a_default_group_and_it_is_made_anew(site: Site, cloud: Any) -> None:
    identity = cloud.identity
    project, user = identity.create_project(name="blue"), identity.create_user(name="ada", password="difference")
    identity.assign_project_role_to_user(project, user, identity.find_role("member"))
    ada = site.connect(username="ada", password="difference", project_name="blue").network
    ada.create_security_group(name="web")
    default = ada.find_security_group("default")
    with pytest.raises(exceptions.ConflictException, match="default security group"):
        ada.delete_security_group(default, ignore_missing=False)
    cloud.network.delete_security_group(default, ignore_missing=False)
    ada.create_security_group(name="mail")
    again = ada.find_security_group("default")
    assert again.id != default.id
    assert len(again.security_group_rules) == 4


def test_rules_reach_the_port_at_once(site: Site, cloud: Any) -> None:
    net = cloud.network
    group, friends = net.create_security_group(name="web"), net.create_security_group(name="friends")
    port = port_of(cloud, boot_on_network(cloud, security_groups=[{"name": "web"}]))
    address = port.fixed_ips[0]["ip_address"]
    standing = filter_of(site, port.id)
    assert standing.sources == (AllowedSource(port.mac_address, IPv4Network(address)),)
    assert set(standing.rules) == {FilterRule("egress"), FilterRule("egress", version=6)}
    web = net.create_security_group_rule(
        security_group_id=group.id,
        direction="ingress",
        protocol="TCP",
        port_range_min=80,
        port_range_max=81,
        remote_ip_prefix="10.9.8.7/8",
    )
    assert (web.protocol, web.remote_ip_prefix) == ("tcp", "10.0.0.0/8")
    rule = FilterRule("ingress", protocol=6, ports=(80, 81), remote=IPv4Network("10.0.0.0/8"))
    assert rule in filter_of(site, port.id).rules
    net.create_security_group_rule(security_group_id=group.id, direction="ingress", remote_group_id=friends.id)
    assert FilterRule("ingress", members=friends.id) in filter_of(site, port.id).rules
    assert site.fabric.filtering.members[friends.id] == ()
    friend = net.create_port(network_id=port.network_id, security_groups=[friends.id])
    friendly = (IPv4Network(friend.fixed_ips[0]["ip_address"]),)
    assert site.fabric.filtering.members[friends.id] == friendly
    net.delete_port(friend)
    assert site.fabric.filtering.members[friends.id] == ()
    net.delete_security_group_rule(web, ignore_missing=False)
    assert rule not in filter_of(site, port.id).rules
    with pytest.raises(exceptions.NotFoundException):
        net.delete_security_group_rule(web.id, ignore_missing=False)
    with pytest.raises(exceptions.ConflictException, match="in use"):
        net.delete_security_group(group, ignore_missing=False)


@pytest.mark.parametrize(
    ("changes", "status", "kind"),
    [
        ({"port_range_min": 1, "port_range_max": 2}, 400, "SecurityGroupProtocolRequiredWithPorts"),
        ({"protocol": "tcp", "port_range_min": 9, "port_range_max": 2}, 400, "SecurityGroupInvalidPortRange"),
        ({"protocol": "gre", "port_range_min": 1, "port_range_max": 2}, 400, "SecurityGroupInvalidProtocolForPort"),
        ({"protocol": "icmp", "port_range_min": 256}, 400, "SecurityGroupInvalidIcmpValue"),
        ({"protocol": "icmp", "port_range_max": 0}, 400, "SecurityGroupMissingIcmpType"),
        ({"protocol": "nonsense"}, 400, "SecurityGroupRuleInvalidProtocol"),
        ({"protocol": "256"}, 400, "SecurityGroupRuleInvalidProtocol"),
        ({"protocol": "ipv6-frag"}, 400, "SecurityGroupEthertypeConflictWithProtocol"),
        ({"remote_ip_prefix": "fd00::/8"}, 400, "SecurityGroupRuleParameterConflict"),
        ({"direction": "sideways"}, 400, "HTTPBadRequest"),
        ({"remote_group_id": "nope"}, 404, "SecurityGroupNotFound"),
        ({"security_group_id": "nope"}, 404, "SecurityGroupNotFound"),
        ({"remote_address_group_id": "nope"}, 404, "AddressGroupNotFound"),
        ({"direction": "egress"}, 409, "SecurityGroupRuleExists"),
    ],
)
def test_rules_that_neutron_refuses(cloud: Any, changes: dict[str, Any], status: int, kind: str) -> None:
    group = cloud.network.create_security_group(name="web")
    rule = {"security_group_id": group.id, "direction": "ingress", **changes}
    assert error_type(cloud, "/security-group-rules", {"security_group_rule": rule}) == (status, kind)


def test_rules_in_bulk_are_made_all_or_none(cloud: Any) -> None:
    group = cloud.network.create_security_group(name="web")
    wanted = [{"security_group_id": group.id, "direction": "ingress", "protocol": name} for name in ("tcp", "udp")]
    made = cloud.network.post("/security-group-rules", json={"security_group_rules": wanted})
    assert made.status_code == 201
    assert len(made.json()["security_group_rules"]) == 2
    again = [{"security_group_id": group.id, "direction": "ingress", "protocol": "icmp"}, wanted[0]]
    assert cloud.network.post("/security-group-rules", json={"security_group_rules": again}).status_code == 409
    assert len(list(cloud.network.security_group_rules(security_group_id=group.id))) == 4


def test_port_security_on_networks_and_ports(site: Site, cloud: Any) -> None:
    net = cloud.network
    is_open = network_of(cloud, name="open")
    assert is_open.is_port_security_enabled
    assert not net.update_network(is_open, port_security_enabled=False).is_port_security_enabled
    free = port_of(cloud, boot(cloud, networks=[{"uuid": is_open.id}]))
    assert (free.is_port_security_enabled, free.security_group_ids) == (False, [])
    assert free.id not in site.fabric.filtering.standing()
    port = net.create_port(network_id=is_open.id, port_security_enabled=True)
    assert port.security_group_ids == [net.find_security_group("default").id]
    path, groups = f"/ports/{port.id}", port.security_group_ids
    off = {"port": {"port_security_enabled": False}}
    assert error_type(cloud, path, off, "put") == (409, "PortSecurityPortHasSecurityGroup")
    kind = "PortSecurityAndIPRequiredForSecurityGroups"
    assert error_type(cloud, path, {"port": {**off["port"], "security_groups": groups}}, "put") == (400, kind)
    body = {"network_id": is_open.id, "security_groups": groups}
    assert error_type(cloud, "/ports", {"port": body}) == (400, kind)
    pairs = [{"ip_address": "10.0.0.0/28"}]
    body = {"network_id": is_open.id, "allowed_address_pairs": pairs}
    assert error_type(cloud, "/ports", {"port": body}) == (409, "AddressPairAndPortSecurityRequired")
    net.update_port(port, port_security_enabled=False, security_groups=[])
    assert not net.get_port(port.id).is_port_security_enabled


def test_a_running_server_follows_its_port(site: Site, cloud: Any) -> None:
    net = cloud.network
    port = port_of(cloud, boot_on_network(cloud))
    own = AllowedSource(port.mac_address, IPv4Network(port.fixed_ips[0]["ip_address"]))
    pairs = [{"ip_address": "10.9.0.0/28"}, {"ip_address": "10.9.9.9", "mac_address": "02:00:00:00:00:01"}]
    shown = net.update_port(port, allowed_address_pairs=pairs).allowed_address_pairs
    assert shown == [{"mac_address": port.mac_address, **pairs[0]}, pairs[1]]
    assert filter_of(site, port.id).sources == (
        own,
        AllowedSource(port.mac_address, IPv4Network("10.9.0.0/28")),
        AllowedSource("02:00:00:00:00:01", IPv4Network("10.9.9.9")),
    )
    for wrong in ([{"ip_address": "x"}], [{"mac_address": "02:00:00:00:00:01"}], [pairs[0], pairs[0]]):
        with pytest.raises(exceptions.BadRequestException):
            net.update_port(port, allowed_address_pairs=wrong)
    net.update_port(port, port_security_enabled=False, security_groups=[], allowed_address_pairs=[])
    assert port.id not in site.fabric.filtering.standing()
    net.update_port(port, port_security_enabled=True)
    assert filter_of(site, port.id).rules == ()


def test_servers_join_and_leave_groups(site: Site, cloud: Any) -> None:
    cloud.network.create_security_group(name="web")
    server = boot_on_network(cloud)
    assert server.security_groups == [{"name": "default"}]
    cloud.compute.add_security_group_to_server(server, {"name": "web"})
    listed = cloud.compute.get(f"/servers/{server.id}/os-security-groups").json()["security_groups"]
    assert {group["name"] for group in listed} == {"default", "web"}
    assert {group["name"] for group in cloud.compute.get_server(server.id).security_groups} == {"default", "web"}
    cloud.compute.remove_security_group_from_server(server, {"name": "default"})
    assert cloud.compute.get_server(server.id).security_groups == [{"name": "web"}]
    with pytest.raises(exceptions.BadRequestException, match="not associated"):
        cloud.compute.remove_security_group_from_server(server, {"name": "default"})
    with pytest.raises(exceptions.NotFoundException):
        cloud.compute.add_security_group_to_server(server, {"name": "nope"})
    assert len(filter_of(site, port_of(cloud, server).id).rules) == 2


def test_stateless_groups_do_not_mix(site: Site, cloud: Any) -> None:
    net = cloud.network
    plain = net.create_security_group(name="plain", stateful=False)
    port = port_of(cloud, boot_on_network(cloud, security_groups=[{"name": "plain"}]))
    assert not filter_of(site, port.id).stateful
    both = [plain.id, net.find_security_group("default").id]
    assert error_type(cloud, f"/ports/{port.id}", {"port": {"security_groups": both}}, "put") == (
        409,
        "SecurityGroupConflict",
    )
    with pytest.raises(exceptions.ConflictException, match="in use"):
        net.update_security_group(plain, stateful=True)


def test_groups_of_addresses(site: Site, cloud: Any) -> None:
    net = cloud.network
    net.create_security_group(name="web")
    port = port_of(cloud, boot_on_network(cloud, security_groups=[{"name": "web"}]))
    addresses = net.create_address_group(name="offices", addresses=["192.0.2.0/24"])
    net.create_security_group_rule(
        security_group_id=port.security_group_ids[0], direction="ingress", remote_address_group_id=addresses.id
    )
    assert FilterRule("ingress", members=addresses.id) in filter_of(site, port.id).rules
    net.add_addresses_to_address_group(addresses, ["198.51.100.1/32"])
    told = site.fabric.filtering.members[addresses.id]
    assert set(told) == {IPv4Network("192.0.2.0/24"), IPv4Network("198.51.100.1/32")}
    net.remove_addresses_from_address_group(addresses, ["192.0.2.0/24"])
    assert site.fabric.filtering.members[addresses.id] == (IPv4Network("198.51.100.1/32"),)
    with pytest.raises(exceptions.ConflictException, match="in use"):
        net.delete_address_group(addresses, ignore_missing=False)


def test_quotas_hold(cloud: Any) -> None:
    net = cloud.network
    project = cloud.current_project_id
    net.create_security_group(name="one")
    net.update_quota(project, security_groups=2, security_group_rules=7)
    with pytest.raises(exceptions.ConflictException, match="Quota exceeded"):
        net.create_security_group(name="two")
    group = net.find_security_group("one")
    net.create_security_group_rule(security_group_id=group.id, direction="ingress", protocol="tcp")
    with pytest.raises(exceptions.ConflictException, match="Quota exceeded"):
        net.create_security_group_rule(security_group_id=group.id, direction="ingress", protocol="udp")
