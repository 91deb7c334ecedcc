"""What resources need without naming it, as in Heat: the subnets of their networks, the ways to their addresses.

A port names its network alone. Were it made before the network's subnet it had no address, and were the subnet deleted
before the port, that would be refused. Compared are properties as they are written, before they are resolved.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from sonata.formats.hot.template import ResourceDefinition

_SUBNET, _PORT, _SERVER = "OS::Neutron::Subnet", "OS::Neutron::Port", "OS::Nova::Server"
_ROUTER, _GATEWAY, _LEG = "OS::Neutron::Router", "OS::Neutron::RouterGateway", "OS::Neutron::RouterInterface"
_FLOATING, _ASSOCIATION = "OS::Neutron::FloatingIP", "OS::Neutron::FloatingIPAssociation"

Resources = Mapping[str, ResourceDefinition]


def implied(resources: Resources) -> dict[str, set[str]]:
    """The names of the resources that each one needs beside those that it refers to."""
    return {name: {*_needs(one, resources)} - {name} for name, one in resources.items()}


def _needs(one: ResourceDefinition, resources: Resources) -> Iterator[str]:
    if one.type in (_PORT, _SERVER):
        for network in _networks_of(one):
            yield from _subnets_of(network, resources)
    if one.type == _FLOATING:
        yield from _ways_out(_given(one.properties, "floating_network"), resources)
    if one.type in (_FLOATING, _ASSOCIATION):
        yield from _legs_to(_given(one.properties, "port"), resources)


def _networks_of(one: ResourceDefinition) -> Iterator[Any]:
    """The networks that a port or a server names."""
    if one.type == _PORT:
        yield _given(one.properties, "network")
    networks = one.properties.get("networks")
    for each in networks if isinstance(networks, list) else ():
        if isinstance(each, Mapping):
            yield each.get("network", each.get("uuid"))


def _subnets_of(network: Any, resources: Resources) -> Iterator[str]:
    for name, one in resources.items():
        if network is not None and one.type == _SUBNET and _given(one.properties, "network") == network:
            yield name


def _ways_out(network: Any, resources: Resources) -> Iterator[str]:
    """Routers that lead to an external network."""
    for name, one in resources.items():
        outside = one.properties.get("external_gateway_info") if one.type == _ROUTER else one.properties
        if one.type in (_ROUTER, _GATEWAY) and isinstance(outside, Mapping) and _given(outside, "network") == network:
            yield name


def _legs_to(port: Any, resources: Resources) -> Iterator[str]:
    """The legs of routers in the subnets of a port."""
    end = resources.get(str(port.get("get_resource"))) if isinstance(port, Mapping) else None
    if end is None:
        return
    fixed = end.properties.get("fixed_ips")
    wished = [_given(each, "subnet") for each in fixed if isinstance(each, Mapping)] if isinstance(fixed, list) else []
    subnets = [{"get_resource": one} for one in _needs(end, resources)]
    for leg, one in resources.items():
        if one.type == _LEG and _given(one.properties, "subnet") in (*subnets, *filter(None, wished)):
            yield leg


def _given(properties: Mapping[str, Any], name: str) -> Any:
    """A property by its name, or by its older one."""
    return properties.get(name, properties.get(f"{name}_id"))
