"""Resources of a stack need what Neutron needs for them, also where no property says so."""

from __future__ import annotations

from typing import Any

from sonata.emulator.cloud.orchestration.implied import implied
from sonata.formats.hot.template import ResourceDefinition

NET = {"get_resource": "net"}


def resources(**types: tuple[str, dict[str, Any]]) -> dict[str, ResourceDefinition]:
    return {
        name: ResourceDefinition(name, f"OS::{kind}", properties=properties)
        for name, (kind, properties) in types.items()
    }


def test_ports_and_servers_need_the_subnets_of_their_networks() -> None:
    found = implied(
        resources(
            net=("Neutron::Net", {}),
            other=("Neutron::Subnet", {"network": "elsewhere"}),
            old=("Neutron::Subnet", {"network_id": NET}),
            new=("Neutron::Subnet", {"network": NET}),
            port=("Neutron::Port", {"network": NET}),
            server=("Nova::Server", {"networks": [{"network": NET}, {"port": {"get_resource": "port"}}]}),
            auto=("Nova::Server", {"networks": "auto"}),
        )
    )
    assert found["port"] == found["server"] == {"old", "new"}
    assert not found["net"] | found["new"] | found["auto"]


def test_floating_addresses_need_the_way_from_outside_to_their_port() -> None:
    found = implied(
        resources(
            subnet=("Neutron::Subnet", {"network": NET}),
            port=("Neutron::Port", {"network": NET}),
            pinned=("Neutron::Port", {"network": "n", "fixed_ips": [{"subnet": "given"}]}),
            router=("Neutron::Router", {"external_gateway_info": {"network": "external"}}),
            inner=("Neutron::Router", {}),
            gateway=("Neutron::RouterGateway", {"router": "r", "network": "external"}),
            leg=("Neutron::RouterInterface", {"router": "r", "subnet": {"get_resource": "subnet"}}),
            far=("Neutron::RouterInterface", {"router": "r", "subnet": "given"}),
            free=("Neutron::FloatingIP", {"floating_network": "external"}),
            used=("Neutron::FloatingIP", {"floating_network": "external", "port_id": {"get_resource": "port"}}),
            late=("Neutron::FloatingIPAssociation", {"floatingip_id": "f", "port_id": {"get_resource": "pinned"}}),
        )
    )
    assert found["free"] == {"router", "gateway"}
    assert found["used"] == {"router", "gateway", "leg"}
    assert found["late"] == {"far"}
