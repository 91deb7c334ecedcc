"""The Networking API, judged by openstacksdk."""

from __future__ import annotations

from typing import Any

import pytest
from openstack import exceptions
from tests.contract.openstack.conftest import Site
from tests.contract.openstack.test_compute import FAST, boot, network_of


def test_networks_and_subnets(cloud: Any) -> None:
    network = cloud.network.create_network(name="n", description="a network", is_shared=True)
    subnet = cloud.network.create_subnet(
        network_id=network.id,
        name="s",
        ip_version=4,
        cidr="10.5.0.0/24",
        gateway_ip="10.5.0.2",
        allocation_pools=[{"start": "10.5.0.100", "end": "10.5.0.110"}],
        dns_nameservers=["1.1.1.1"],
        description="a subnet",
    )
    network = cloud.network.get_network(network.id)
    assert (network.description, network.is_shared, network.subnet_ids) == ("a network", True, [subnet.id])
    assert subnet.allocation_pools == [{"start": "10.5.0.100", "end": "10.5.0.110"}]
    assert (subnet.gateway_ip, subnet.dns_nameservers, subnet.description) == ("10.5.0.2", ["1.1.1.1"], "a subnet")
    assert cloud.network.update_network(network, name="m").name == "m"
    assert cloud.network.update_subnet(subnet, gateway_ip=None).gateway_ip is None
    cloud.network.delete_subnet(subnet, ignore_missing=False)
    cloud.network.delete_network(network, ignore_missing=False)
    assert cloud.network.find_network("m") is None


def test_a_subnet_without_gateway_keeps_none(cloud: Any) -> None:
    network = cloud.network.create_network(name="n")
    body = {"subnet": {"network_id": network.id, "cidr": "10.1.0.0/24", "ip_version": 4, "gateway_ip": None}}
    answer = cloud.network.post("/subnets", json=body)
    assert answer.json()["subnet"]["gateway_ip"] is None


def test_lists_are_filtered_sorted_paged_and_narrowed(cloud: Any) -> None:
    made = [cloud.network.create_network(name=f"n{number}", description="mine") for number in (2, 1, 3)]

    def names(**query: Any) -> list[str]:
        return [network.name for network in cloud.network.networks(**query)]

    assert names(description="mine") == ["n2", "n1", "n3"]
    assert names(name="n1") == ["n1"]
    assert names(is_router_external=True) == ["external"]
    assert names(is_router_external=False, sort_key="name", sort_dir="desc") == ["n3", "n2", "n1"]
    assert names(description="mine", limit=1) == ["n2", "n1", "n3"]
    assert names(name="nothing") == []
    listed = cloud.network.get(f"/networks?id={made[0].id}&id={made[2].id}&fields=name&fields=id").json()["networks"]
    assert listed == [{"id": made[0].id, "name": "n2"}, {"id": made[2].id, "name": "n3"}]
    assert cloud.network.get("/networks?marker=nope").status_code == 400
    assert cloud.network.get("/networks?limit=x").status_code == 400
    assert cloud.network.get("/networks?sort_key=nope").status_code == 400


def test_tags(cloud: Any) -> None:
    one, two = (cloud.network.create_network(name=name) for name in ("one", "two"))
    cloud.network.set_tags(one, ["a", "b"])
    cloud.network.set_tags(two, ["b"])

    def names(**query: Any) -> set[str]:
        return {network.name for network in cloud.network.networks(**query)}

    assert names(tags="a,b") == {"one"}
    assert names(any_tags="a,b") == {"one", "two"}
    assert names(not_tags="a", name="two") == {"two"}
    assert names(not_any_tags="a,b") == {"external"}
    assert cloud.network.put(f"/networks/{two.id}/tags/c").status_code == 201
    assert cloud.network.get(f"/networks/{two.id}/tags/c").status_code == 204
    assert cloud.network.get(f"/networks/{two.id}/tags/d").status_code == 404
    assert cloud.network.delete(f"/networks/{two.id}/tags/b").status_code == 204
    assert cloud.network.get_network(two.id).tags == ["c"]
    cloud.network.set_tags(one, [])
    assert cloud.network.get_network(one.id).tags == []
    port = cloud.network.post("/ports", json={"port": {"network_id": one.id, "tags": ["t"]}}).json()["port"]
    assert [found.id for found in cloud.network.ports(tags="t")] == [port["id"]]


def test_ports_carry_what_clients_ask_for(cloud: Any) -> None:
    network = network_of(cloud)
    port = cloud.network.create_port(
        network_id=network.id,
        name="p",
        mac_address="02:00:00:00:00:AA",
        fixed_ips=[{"ip_address": "10.1.0.99"}],
        description="stands for another",
        is_port_security_enabled=True,
        binding_vnic_type="normal",
    )
    assert (port.mac_address, port.status, port.device_id) == ("02:00:00:00:00:aa", "DOWN", "")
    assert port.fixed_ips[0]["ip_address"] == "10.1.0.99"
    assert [found.id for found in cloud.network.ports(fixed_ips="ip_address=10.1.0.99")] == [port.id]
    server = boot(cloud, networks=[{"port": port.id}])
    (found,) = cloud.network.ports(device_id=server.id)
    assert (found.status, found.device_owner, found.binding_host_id) == ("ACTIVE", "compute:nova", "access")
    assert cloud.network.update_port(port, name="q").name == "q"
    assert cloud.network.update_port(port, fixed_ips=[{"ip_address": "10.1.0.98"}]).status == "ACTIVE"
    with pytest.raises(exceptions.ConflictException):
        cloud.network.update_port(port, mac_address="02:00:00:00:00:ab")
    several = {"ports": [{"network_id": network.id}, {"network_id": network.id}]}
    assert len(cloud.network.post("/ports", json=several).json()["ports"]) == 2


def test_what_is_in_use_answers_409(cloud: Any) -> None:
    network = network_of(cloud)
    port = cloud.network.create_port(network_id=network.id)
    for call in (
        lambda: cloud.network.delete_network(network, ignore_missing=False),
        lambda: cloud.network.delete_subnet(network.subnet_ids[0] if network.subnet_ids else subnet_of(cloud, network)),
        lambda: cloud.network.create_port(network_id=network.id, fixed_ips=port.fixed_ips),
    ):
        with pytest.raises(exceptions.ConflictException) as caught:
            call()
        assert caught.value.request_id.startswith("req-")


def subnet_of(cloud: Any, network: Any) -> str:
    """The id of a network's subnet."""
    return str(cloud.network.get_network(network.id).subnet_ids[0])


def test_a_router_that_could_not_be_made_is_told_until_it_is(cloud: Any, site: Site) -> None:
    net = cloud.network
    network, external = net.create_network(name="n"), net.find_network("external")
    subnet = net.create_subnet(network_id=network.id, ip_version=4, cidr="10.1.0.0/24")
    router = net.create_router(name="r", external_gateway_info={"network_id": external.id})
    net.add_interface_to_router(router, subnet_id=subnet.id)
    floating = net.create_ip(floating_network_id=external.id, port_id=net.create_port(network_id=network.id).id)

    def statuses() -> tuple[str, set[str], str]:
        legs = {port.status for port in net.ports(device_id=router.id)}
        return net.get_router(router).status, legs, net.get_ip(floating).status

    assert statuses() == ("ACTIVE", {"ACTIVE"}, "ACTIVE")
    site.fabric.networks.missing_routers[router.id] = "too many open files"
    assert statuses() == ("ERROR", {"DOWN"}, "DOWN")
    del site.fabric.networks.missing_routers[router.id]
    assert statuses() == ("ACTIVE", {"ACTIVE"}, "ACTIVE")


def test_router_gateway_and_interfaces(cloud: Any, site: Site) -> None:
    network = network_of(cloud)
    subnet = subnet_of(cloud, network)
    external = cloud.network.find_network("external")
    router = cloud.network.create_router(name="r", external_gateway_info={"network_id": external.id})
    assert router.external_gateway_info["external_fixed_ips"][0]["ip_address"] == "100.64.0.64"
    leg = cloud.network.add_interface_to_router(router, subnet_id=subnet)
    assert leg["subnet_id"] == subnet
    owners = {port.device_owner for port in cloud.network.ports(device_id=router.id)}
    assert owners == {"network:router_interface", "network:router_gateway"}
    assert str(site.fabric.networks.routers[router.id].interfaces[0].address) == "10.1.0.1/24"
    with pytest.raises(exceptions.ConflictException):
        cloud.network.delete_router(router, ignore_missing=False)
    cloud.network.remove_interface_from_router(router, subnet_id=subnet)
    router = cloud.network.update_router(router, external_gateway_info={})
    assert router.external_gateway_info is None
    cloud.network.delete_router(router, ignore_missing=False)
    assert site.fabric.networks.routers == {}


def test_floating_ips(cloud: Any, site: Site) -> None:
    network = network_of(cloud)
    external = cloud.network.find_network("external")
    router = cloud.network.create_router(name="r", external_gateway_info={"network_id": external.id})
    cloud.network.add_interface_to_router(router, subnet_id=subnet_of(cloud, network))
    server = boot(cloud, networks=[{"uuid": network.id}])
    (port,) = cloud.network.ports(device_id=server.id)
    floating = cloud.network.create_ip(floating_network_id=external.id)
    assert floating.status == "DOWN"
    floating = cloud.network.update_ip(floating, port_id=port.id)
    assert (floating.status, floating.fixed_ip_address, floating.router_id) == ("ACTIVE", "10.1.0.2", router.id)
    kinds = {entry["OS-EXT-IPS:type"] for entry in cloud.compute.get_server(server.id).addresses["inner"]}
    assert kinds == {"fixed", "floating"}
    assert [found.id for found in cloud.network.ips(port_id=port.id)] == [floating.id]
    assert cloud.network.get("/floatingips/None").status_code == 404
    cloud.network.delete_ip(floating, ignore_missing=False)
    assert dict(site.fabric.networks.routers[router.id].floating) == {}


def test_a_chain_waits_for_its_source(cloud: Any, site: Site) -> None:
    network, net = network_of(cloud), cloud.network
    functions = [net.create_port(network_id=network.id, port_security_enabled=False) for _ in range(2)]
    source = net.create_port(network_id=network.id)
    pair = net.create_sfc_port_pair(ingress=functions[0].id, egress=functions[1].id)
    group = net.create_sfc_port_pair_group(port_pairs=[pair.id])
    classifier = net.create_sfc_flow_classifier(protocol="tcp", logical_source_port=source.id)
    chain = net.create_sfc_port_chain(port_pair_groups=[group.id], flow_classifiers=[classifier.id])
    assert chain.id not in site.fabric.steering.chains
    boot(cloud, networks=[{"port": source.id}])
    assert site.fabric.steering.chains[chain.id].classifiers[0].source_port_id == source.id


def test_service_function_chains(cloud: Any, site: Site) -> None:
    network = network_of(cloud)
    server = boot(cloud, networks=[{"uuid": network.id}, {"uuid": network.id}])
    ingress, egress = (one.port_id for one in cloud.compute.server_interfaces(server))
    net = cloud.network
    pair = net.create_sfc_port_pair(name="pair", ingress=ingress, egress=egress, description="d")
    group = net.create_sfc_port_pair_group(name="group", port_pairs=[pair.id])
    classifier = net.create_sfc_flow_classifier(
        name="web",
        protocol="tcp",
        ethertype="IPv4",
        source_ip_prefix="100.64.0.0/10",
        destination_ip_prefix="10.9.0.1/32",
        destination_port_range_min=80,
        destination_port_range_max=80,
    )
    chain = net.create_sfc_port_chain(
        name="chain",
        port_pair_groups=[group.id],
        flow_classifiers=[classifier.id],
        chain_parameters={"symmetric": True},
        description="first",
    )
    assert chain.chain_parameters["symmetric"] is True
    assert site.fabric.steering.chains[chain.id].symmetric
    for listed in (net.sfc_port_pairs, net.sfc_port_pair_groups, net.sfc_flow_classifiers, net.sfc_port_chains):
        assert len(list(listed())) == 1
    assert net.find_sfc_port_chain("chain").id == chain.id
    assert net.update_sfc_port_chain(chain, description="second", flow_classifiers=[]).description == "second"
    assert site.fabric.steering.chains == {}
    with pytest.raises(exceptions.ConflictException):
        net.delete_sfc_port_pair(pair, ignore_missing=False)
    net.delete_sfc_port_chain(chain, ignore_missing=False)
    net.delete_sfc_port_pair_group(group, ignore_missing=False)
    net.delete_sfc_port_pair(pair, ignore_missing=False)
    net.delete_sfc_flow_classifier(classifier, ignore_missing=False)
    assert net.find_sfc_port_chain("chain") is None


def test_classifier_lists_can_be_iterated_over_l7_parameters(cloud: Any) -> None:
    cloud.network.create_sfc_flow_classifier(name="any")
    (document,) = cloud.network.get("/sfc/flow_classifiers").json()["flow_classifiers"]
    assert document["l7_parameters"] == {}


def test_extensions_agents_zones_quotas(cloud: Any) -> None:
    aliases = {extension.alias for extension in cloud.network.extensions()}
    assert {"sfc", "router", "standard-attr-tag", "availability_zone"} <= aliases
    assert cloud.network.find_extension("sfc").name == "Service Function Chaining"
    assert cloud.network.find_extension("external-gateway-multihoming") is None
    assert all(agent.is_alive for agent in cloud.network.agents())
    assert {zone.name for zone in cloud.network.availability_zones()} == {"nova"}
    project = cloud.session.get_project_id()
    assert cloud.network.get_quota(project).networks == 5000
    assert cloud.network.get_quota(project, details=True).ports["used"] == 0


BAD = (400, "HTTPBadRequest")


def sfc(kind: str, **wish: Any) -> tuple[str, dict[str, Any]]:
    """Path and body of a creation."""
    return f"/sfc/{kind}s", {kind: wish}


def test_chains_and_functions_with_nsh(cloud: Any, site: Site) -> None:
    network = network_of(cloud)
    server = boot(cloud, networks=[{"uuid": network.id}, {"uuid": network.id}])
    ingress, egress = (one.port_id for one in cloud.compute.server_interfaces(server))
    net = cloud.network
    knows = {"correlation": "nsh"}
    knowing = net.create_sfc_port_pair(ingress=ingress, egress=egress, service_function_parameters=knows)
    plain = net.create_sfc_port_pair(ingress=egress, egress=ingress)
    assert knowing.service_function_parameters["correlation"] == "nsh"
    mixed = net.post("/sfc/port_pair_groups", json={"port_pair_group": {"port_pairs": [knowing.id, plain.id]}})
    assert (mixed.status_code, mixed.json()["NeutronError"]["type"]) == (400, "InconsistentCorrelations")
    group = net.create_sfc_port_pair_group(port_pairs=[knowing.id])
    classifier = net.create_sfc_flow_classifier(destination_ip_prefix="10.9.0.1/32")
    wanted = {"port_pair_groups": [group.id], "flow_classifiers": [classifier.id]}
    refused = net.post("/sfc/port_chains", json={"port_chain": wanted})
    assert (refused.status_code, refused.json()["NeutronError"]["type"]) == (400, "PortChainInconsistentCorrelations")
    chain = net.create_sfc_port_chain(**wanted, chain_parameters=knows)
    assert chain.chain_parameters == {"correlation": "nsh", "symmetric": False}
    steered = site.fabric.steering.chains[chain.id]
    assert steered.with_nsh
    assert [hop.knows_nsh for hop in steered.hops] == [True]
    net.update_sfc_port_pair_group(group, port_pairs=[plain.id])
    assert [hop.knows_nsh for hop in site.fabric.steering.chains[chain.id].hops] == [False]


def test_chains_with_nsh_are_refused_where_nothing_makes_them(cloud: Any, site: Site) -> None:
    site.fabric.steering.why_no_nsh = "Open vSwitch is not installed"
    wanted = {"port_pair_groups": [], "chain_parameters": {"correlation": "nsh"}}
    answer = cloud.network.post("/sfc/port_chains", json={"port_chain": wanted})
    assert answer.status_code == 501
    assert "Open vSwitch" in answer.json()["NeutronError"]["message"]
    assert not list(cloud.network.sfc_port_chains())


@pytest.mark.parametrize(
    ("path", "body", "status", "kind"),
    [
        ("/networks", {"network": {"nmae": "x"}}, 400, "HTTPBadRequest"),
        ("/networks", {"network": {"name": 7}}, 400, "HTTPBadRequest"),
        ("/networks", {"network": []}, 400, "HTTPBadRequest"),
        ("/networks", {}, 400, "HTTPBadRequest"),
        ("/networks", {"network": {"id": "x"}}, 400, "HTTPBadRequest"),
        (
            "/subnets",
            {"subnet": {"network_id": "nope", "cidr": "10.0.0.0/24", "ip_version": 4}},
            404,
            "NetworkNotFound",
        ),
        ("/subnets", {"subnet": {"network_id": "nope", "cidr": "x", "ip_version": 4}}, 400, "HTTPBadRequest"),
        ("/subnets", {"subnet": {"network_id": "nope", "cidr": "fd00::/64", "ip_version": 6}}, 404, "NetworkNotFound"),
        ("/ports", {"port": {"network_id": "nope"}}, 404, "NetworkNotFound"),
        ("/ports", {"port": {}}, 400, "HTTPBadRequest"),
        ("/ports", {"port": {"network_id": "nope", "mac_address": "01:00:00:00:00:01"}}, 400, "HTTPBadRequest"),
        ("/routers", {"router": {"external_gateway_info": {"network_id": "nope"}}}, 404, "NetworkNotFound"),
        ("/floatingips", {"floatingip": {"floating_network_id": "nope"}}, 404, "NetworkNotFound"),
        ("/sfc/port_pairs", {"port_pair": {"ingress": "nope", "egress": "nope"}}, 404, "PortNotFound"),
        ("/sfc/flow_classifiers", {"flow_classifier": {"ethertype": "IPX"}}, 400, "HTTPBadRequest"),
        (*sfc("port_pair", ingress="p", egress="p", service_function_parameters={"correlation": "mpls"}), *BAD),
        (*sfc("port_pair", ingress="p", egress="p", service_function_parameters={"correlation": "gre"}), *BAD),
        (*sfc("port_pair", ingress="p", egress="p", service_function_parameters={"colour": "red"}), *BAD),
        (*sfc("port_pair_group", port_pair_group_parameters={"lb_fields": ["eth_src"]}), *BAD),
        (
            *sfc("port_pair_group", port_pair_group_parameters={"ppg_n_tuple_mapping": {"egress_n_tuple": {"a": 1}}}),
            *BAD,
        ),
        (*sfc("port_chain", port_pair_groups=[], chain_parameters={"correlation": "gre"}), *BAD),
        (*sfc("port_chain", port_pair_groups=[], chain_parameters={"symmetric": "often"}), *BAD),
        (*sfc("flow_classifier", logical_destination_port="p"), *BAD),
        (*sfc("flow_classifier", l7_parameters={"url": "/"}), *BAD),
        ("/nothing", {}, 404, "HTTPNotFound"),
    ],
)
def test_wrong_requests_are_told_as_neutron_tells_them(
    cloud: Any, path: str, body: dict[str, Any], status: int, kind: str
) -> None:
    answer = cloud.network.post(path, json=body)
    error = answer.json()["NeutronError"]
    assert (answer.status_code, error["type"]) == (status, kind)
    assert error["message"]


def test_documents_are_complete_where_clients_need_it(cloud: Any) -> None:
    network = network_of(cloud)
    subnet = cloud.network.get("/subnets").json()["subnets"][-1]
    assert {"allocation_pools", "dns_nameservers", "host_routes", "service_types"} <= set(subnet)
    assert subnet["network_id"] == network.id
    group = cloud.network.get("/security-groups").json()["security_groups"][0]
    assert isinstance(group["security_group_rules"], list)


def test_a_deleted_server_frees_its_network(cloud: Any) -> None:
    network = network_of(cloud)
    server = boot(cloud, networks=[{"uuid": network.id}])
    with pytest.raises(exceptions.ConflictException):
        cloud.network.delete_network(network, ignore_missing=False)
    cloud.compute.delete_server(server)
    cloud.compute.wait_for_delete(server, interval=FAST, wait=10)
    cloud.network.delete_network(network, ignore_missing=False)


def test_service_graphs(cloud: Any, site: Site) -> None:
    network, net = network_of(cloud), cloud.network
    chains = []
    for name, protocol in (("first", None), ("web", "tcp"), ("names", "udp")):
        server = boot(cloud, name=name, networks=[{"uuid": network.id}])
        port = next(iter(cloud.compute.server_interfaces(server))).port_id
        pair = net.create_sfc_port_pair(ingress=port, egress=port)
        group = net.create_sfc_port_pair_group(port_pairs=[pair.id])
        classifier = net.create_sfc_flow_classifier(protocol=protocol, destination_ip_prefix="10.9.0.0/24")
        wanted = {"port_pair_groups": [group.id], "flow_classifiers": [classifier.id]}
        chains.append(net.create_sfc_port_chain(name=name, **wanted).id)
    first, web, names = chains
    graph = net.create_sfc_service_graph(name="tree", port_chains={first: [web, names]})
    assert graph.port_chains == {first: [web, names]}
    assert [one.id for one in site.fabric.steering.chains[web].after] == [first]
    assert net.find_sfc_service_graph("tree").id == graph.id
    with pytest.raises(exceptions.ConflictException, match=f"Port Chain {web} in use"):
        net.delete_sfc_port_chain(web, ignore_missing=False)
    assert net.update_sfc_service_graph(graph, description="d").description == "d"
    looped = net.post("/sfc/service_graphs", json={"service_graph": {"port_chains": {first: [first]}}})
    assert looped.status_code == 409
    net.delete_sfc_service_graph(graph, ignore_missing=False)
    assert site.fabric.steering.chains[web].after == ()
    looped = net.post("/sfc/service_graphs", json={"service_graph": {"port_chains": {first: [first]}}})
    assert (looped.status_code, looped.json()["NeutronError"]["type"]) == (400, "ServiceGraphLoopDetected")
    unknown = net.post("/sfc/service_graphs", json={"service_graph": {"port_chains": {first: ["nope"]}}})
    assert unknown.status_code == 404


@pytest.mark.parametrize("change", [{"device_owner": ""}, {"device_id": ""}])
def test_legs_of_routers_and_ports_of_floating_ips_stay_theirs(cloud: Any, change: dict[str, str]) -> None:
    net, external = cloud.network, cloud.network.find_network("external")
    inner = network_of(cloud)
    router = net.create_router(external_gateway_info={"network_id": external.id})
    net.add_interface_to_router(router, subnet_id=subnet_of(cloud, inner))
    floating = net.create_ip(floating_network_id=external.id)
    legs = {port.device_owner: port for port in net.ports() if port.device_id in (router.id, floating.id)}
    assert legs.keys() == {"network:router_interface", "network:router_gateway", "network:floatingip"}
    for port in legs.values():
        with pytest.raises(exceptions.ConflictException):
            net.update_port(port, **change)
        with pytest.raises(exceptions.ConflictException):
            net.delete_port(port, ignore_missing=False)
    net.delete_ip(floating, ignore_missing=False)
    net.remove_interface_from_router(router, subnet_id=subnet_of(cloud, inner))
    net.delete_router(router, ignore_missing=False)


@pytest.mark.parametrize("another", [False, True])
def test_a_port_that_was_taken_from_a_server_and_deleted_is_gone_from_it(cloud: Any, another: bool) -> None:
    net, compute = cloud.network, cloud.compute
    network = network_of(cloud)
    server = boot(cloud, networks=[{"uuid": network.id}])
    compute.stop_server(server)
    compute.wait_for_server(server, status="SHUTOFF", interval=FAST)
    (port,) = net.ports(device_id=server.id)
    other = boot(cloud, name="other") if another else None
    net.update_port(port, device_id=other.id if other else "")
    net.delete_port(port, ignore_missing=False)
    assert list(compute.server_interfaces(server)) == []
    compute.start_server(server)
    compute.wait_for_server(server, status="ACTIVE", interval=FAST)
