"""Stock clients of the clouds of a running emulation."""

from __future__ import annotations

from typing import Any

import openstack

from sonata.sdk.emulation_records import EmulationRecord

FAST = 0.05


def site(record: EmulationRecord, pop: str) -> Any:
    """A connection to the cloud of a PoP, as its administrator."""
    return openstack.connect(
        load_yaml_config=False,
        load_envvars=False,
        auth_url=f"{record.url}/{pop}/identity/v3",
        username="admin",
        password=record.admin_password,
        project_name="admin",
        user_domain_name="Default",
        project_domain_name="Default",
        region_name="RegionOne",
    )


def let_in(cloud: Any, protocol: str) -> None:
    """Let a protocol in from anywhere at servers of the default security group, which keeps strangers out."""
    group = cloud.network.find_security_group("default")
    cloud.network.create_security_group_rule(security_group_id=group.id, direction="ingress", protocol=protocol)


def boot(cloud: Any, name: str, network_id: str) -> Any:
    image, flavor = cloud.image.find_image("host"), cloud.compute.find_flavor("tiny")
    server = cloud.compute.create_server(
        name=name, image_id=image.id, flavor_id=flavor.id, networks=[{"uuid": network_id}]
    )
    return cloud.compute.wait_for_server(server, interval=FAST, wait=30)


def network_of(cloud: Any, cidr: str, first: str, last: str) -> Any:
    network = cloud.network.create_network(name="inner")
    pool = [{"start": first, "end": last}]
    cloud.network.create_subnet(network_id=network.id, ip_version=4, cidr=cidr, allocation_pools=pool)
    return network


def route(cloud: Any, network: Any) -> Any:
    external = cloud.network.find_network("external")
    router = cloud.network.create_router(name="r", external_gateway_info={"network_id": external.id})
    (subnet,) = cloud.network.subnets(network_id=network.id)
    cloud.network.add_interface_to_router(router, subnet_id=subnet.id)
    return router
