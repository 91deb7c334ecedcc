"""Quality of service policies, as openstacksdk sees them; what the data plane is told of them."""

from __future__ import annotations

from typing import Any

import pytest
from openstack import exceptions
from tests.contract.openstack.conftest import Site
from tests.contract.openstack.test_compute import boot, network_of

from sonata.ports.fabric import PortRate, PortShape


def test_limits_reach_ports_and_change_live(site: Site, cloud: Any) -> None:
    net = cloud.network
    policy = net.create_qos_policy(name="slow", description="d")
    network = network_of(cloud)
    server = boot(cloud, networks=[{"uuid": network.id}])
    (port,) = net.ports(device_id=server.id)
    net.update_port(port, qos_policy_id=policy.id)
    rule = net.create_qos_bandwidth_limit_rule(policy, max_kbps=1000, max_burst_kbps=800, direction="egress")
    assert site.fabric.shaping.shapes[port.id] == PortShape(egress=PortRate(1e6, 100_000))
    net.create_qos_bandwidth_limit_rule(policy, max_kbps=2000, direction="ingress")
    net.update_qos_bandwidth_limit_rule(rule, policy, max_kbps=500, max_burst_kbps=0)
    assert site.fabric.shaping.shapes[port.id] == PortShape(PortRate(5e5), PortRate(2e6))
    with pytest.raises(exceptions.ConflictException, match="conflicts"):
        net.create_qos_bandwidth_limit_rule(policy, max_kbps=100, direction="egress")
    assert [one["type"] for one in net.get_qos_policy(policy.id).rules] == ["bandwidth_limit"] * 2
    assert len(list(net.qos_bandwidth_limit_rules(policy))) == 2
    with pytest.raises(exceptions.ConflictException, match="is used by port"):
        net.delete_qos_policy(policy, ignore_missing=False)
    net.delete_qos_bandwidth_limit_rule(rule, policy, ignore_missing=False)
    assert site.fabric.shaping.shapes[port.id] == PortShape(ingress=PortRate(2e6))
    net.update_port(port, qos_policy_id=None)
    assert site.fabric.shaping.shapes[port.id] == PortShape()
    net.delete_qos_policy(policy, ignore_missing=False)


def test_marks_reach_ports(site: Site, cloud: Any) -> None:
    net = cloud.network
    policy = net.create_qos_policy(name="voice")
    network = network_of(cloud)
    server = boot(cloud, networks=[{"uuid": network.id}])
    (port,) = net.ports(device_id=server.id)
    net.update_port(port, qos_policy_id=policy.id)
    rule = net.create_qos_dscp_marking_rule(policy, dscp_mark=46)
    limit = net.create_qos_bandwidth_limit_rule(policy, max_kbps=1000)
    assert site.fabric.shaping.shapes[port.id] == PortShape(egress=PortRate(1e6), dscp=46)
    assert {one["type"] for one in net.get_qos_policy(policy.id).rules} == {"bandwidth_limit", "dscp_marking"}
    assert [one.dscp_mark for one in net.qos_dscp_marking_rules(policy)] == [46]
    assert net.update_qos_dscp_marking_rule(rule, policy, dscp_mark=10).dscp_mark == 10
    with pytest.raises(exceptions.ConflictException, match="conflicts"):
        net.create_qos_dscp_marking_rule(policy, dscp_mark=12)
    with pytest.raises(exceptions.BadRequestException, match="dscp_mark"):
        net.update_qos_dscp_marking_rule(rule.id, policy, dscp_mark=1)
    assert net.get(f"/qos/policies/{policy.id}/dscp_marking_rules/{limit.id}").status_code == 404
    assert net.get("/qos/rule-types/dscp_marking").json()["rule_type"]["type"] == "dscp_marking"
    net.delete_qos_dscp_marking_rule(rule, policy, ignore_missing=False)
    assert site.fabric.shaping.shapes[port.id] == PortShape(egress=PortRate(1e6))


def test_ports_inherit_from_their_network(site: Site, cloud: Any) -> None:
    net = cloud.network
    policy = net.create_qos_policy(name="slow", is_default=True)
    net.create_qos_bandwidth_limit_rule(policy, max_kbps=1000)
    network = network_of(cloud)
    assert net.get_network(network.id).qos_policy_id == policy.id
    server = boot(cloud, networks=[{"uuid": network.id}])
    (port,) = net.ports(device_id=server.id)
    assert (port.qos_policy_id, port.qos_network_policy_id) == (None, policy.id)
    assert site.fabric.shaping.shapes[port.id] == PortShape(egress=PortRate(1e6))
    net.update_network(network, qos_policy_id=None)
    assert site.fabric.shaping.shapes[port.id] == PortShape()
    with pytest.raises(exceptions.ConflictException, match="default QoS policy"):
        net.create_qos_policy(name="other", is_default=True)


def test_policies_of_floating_ips_and_gateways_reach_their_router(site: Site, cloud: Any) -> None:
    net = cloud.network
    policy = net.create_qos_policy(name="slow")
    rule = net.create_qos_bandwidth_limit_rule(policy, max_kbps=1000)
    network, external = network_of(cloud), net.find_network("external")
    gateway = {"network_id": external.id, "qos_policy_id": policy.id}
    router = net.create_router(name="r", external_gateway_info=gateway)
    (subnet,) = net.subnets(network_id=network.id)
    net.add_interface_to_router(router, subnet_id=subnet.id)
    port = net.create_port(network_id=network.id)
    address = net.create_ip(floating_network_id=external.id, port_id=port.id, qos_policy_id=policy.id)

    def shapes() -> dict[str, PortShape]:
        spec = site.fabric.networks.routers[router.id]
        return {str(one): shape for one, shape in spec.shapes.items()}

    own = str(site.fabric.networks.routers[router.id].external.ip)  # type: ignore[union-attr]
    slow = PortShape(egress=PortRate(1e6))
    assert shapes() == {own: slow, address.floating_ip_address: slow}
    net.update_qos_bandwidth_limit_rule(rule, policy, max_kbps=500)
    assert set(shapes().values()) == {PortShape(egress=PortRate(5e5))}
    net.update_ip(address, qos_policy_id=None)
    assert set(shapes()) == {own}
    with pytest.raises(exceptions.ConflictException, match="is used by router"):
        net.delete_qos_policy(policy, ignore_missing=False)
    net.update_ip(address, qos_policy_id=policy.id)
    with pytest.raises(exceptions.ConflictException, match="is used by floating IP"):
        net.delete_qos_policy(policy, ignore_missing=False)
    kept = net.update_router(router, external_gateway_info={"network_id": external.id})
    assert kept.external_gateway_info["qos_policy_id"] == policy.id
    gateway["qos_policy_id"] = None
    assert net.update_router(router, external_gateway_info=gateway).external_gateway_info["qos_policy_id"] is None
    net.update_ip(address, qos_policy_id=None)
    assert shapes() == {}
    net.delete_qos_policy(policy, ignore_missing=False)
    answer = net.post("/floatingips", json={"floatingip": {"floating_network_id": external.id, "qos_policy_id": "no"}})
    assert (answer.status_code, answer.json()["NeutronError"]["type"]) == (404, "QosPolicyNotFound")


def test_what_cannot_be_enforced_is_refused(cloud: Any) -> None:
    net = cloud.network
    policy = net.create_qos_policy(name="q")
    assert [one.type for one in net.qos_rule_types()] == ["bandwidth_limit", "dscp_marking"]
    for kind in ("minimum_bandwidth", "packet_rate_limit"):
        answer = net.post(f"/qos/policies/{policy.id}/{kind}_rules", json={f"{kind}_rule": {}})
        assert (answer.status_code, answer.json()["NeutronError"]["type"]) == (409, "QosRuleNotSupported")
    network = network_of(cloud)
    for path, key in ((f"/networks/{network.id}", "network"), ("/ports", "port")):
        body = {key: {"qos_policy_id": "nope", **({"network_id": network.id} if key == "port" else {})}}
        answer = (net.put if key == "network" else net.post)(path, json=body)
        assert (answer.status_code, answer.json()["NeutronError"]["type"]) == (404, "QosPolicyNotFound")
    with pytest.raises(exceptions.BadRequestException, match="max_kbps"):
        net.create_qos_bandwidth_limit_rule(policy, max_kbps=-1)


def test_trunks_need_what_this_kernel_has_not(cloud: Any) -> None:
    assert cloud.network.find_extension("trunk") is None
    answer = cloud.network.post("/trunks", json={"trunk": {"port_id": "p"}})
    assert (answer.status_code, answer.json()["NeutronError"]["type"]) == (404, "HTTPNotFound")
