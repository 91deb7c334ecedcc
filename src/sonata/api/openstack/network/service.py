"""What the Networking API tells of the PoP itself: availability of addresses, flavors, and shortcuts.

Source: OpenStack Networking API v2.0 reference.
"""

from __future__ import annotations

from ipaddress import IPv4Network
from typing import Any

from sonata.api.openstack.call import Call
from sonata.api.openstack.listing import filtered
from sonata.api.openstack.reply import NO_CONTENT, Reply, json_reply
from sonata.api.openstack.routing import Routes
from sonata.api.openstack.topic import Topic, Truth
from sonata.emulator.cloud.entities.network import Network, Subnet

_LISTS = ("flavors", "service_profiles", "service-providers", "metering/metering-labels", "network-segment-ranges")


def register(routes: Routes) -> None:
    """Add the routes."""
    routes.about(
        Topic(
            "the network service itself",
            Truth(
                real=("addresses used and free by network; auto-allocated topologies",),
                simplified=("flavors and service providers are empty lists",),
            ),
        )
    )
    routes.add("GET", "/v2.0/network-ip-availabilities", _availabilities, needs="admin")
    routes.add("GET", "/v2.0/network-ip-availabilities/{id}", _availability, needs="admin")
    routes.add("GET", "/v2.0/auto-allocated-topology/{project}", _auto_topology)
    routes.add("DELETE", "/v2.0/auto-allocated-topology/{project}", _delete_auto_topology)
    for path in _LISTS:
        routes.add("GET", f"/v2.0/{path}", _nothing)


# availability of addresses


def _subnet_availability(call: Call, subnet: Subnet) -> dict[str, Any]:
    used = sum(fixed.subnet_id == subnet.id for port in call.cloud.tables.ports for fixed in port.fixed_ips)
    return {
        "subnet_id": subnet.id,
        "subnet_name": subnet.name,
        "cidr": str(subnet.cidr),
        "ip_version": subnet.cidr.version,
        "total_ips": _total(subnet),
        "used_ips": used,
    }


def _total(subnet: Subnet) -> int:
    """Addresses that are given out: those of the pools; of a prefix without pools, all hosts."""
    if subnet.pools:
        return sum(int(last) - int(first) + 1 for first, last in subnet.pools)
    return subnet.cidr.num_addresses - (2 if isinstance(subnet.cidr, IPv4Network) else 1)


def _availability_document(call: Call, network: Network) -> dict[str, Any]:
    versions = [value for key, value in call.query if key == "ip_version"]
    subnets = [_subnet_availability(call, subnet) for subnet in call.cloud.networks.subnets_of(network.id)]
    subnets = [one for one in subnets if not versions or str(one["ip_version"]) in versions]
    return {
        "network_id": network.id,
        "network_name": network.name,
        "project_id": network.project_id,
        "tenant_id": network.project_id,
        "total_ips": sum(one["total_ips"] for one in subnets),
        "used_ips": sum(one["used_ips"] for one in subnets),
        "subnet_ip_availability": subnets,
    }


async def _availabilities(call: Call) -> Reply:
    documents = [_availability_document(call, network) for network in call.cloud.tables.networks]
    query = [pair for pair in call.query if pair[0] != "ip_version"]
    return json_reply({"network_ip_availabilities": filtered(documents, query)})


async def _availability(call: Call) -> Reply:
    network = call.cloud.tables.networks.get(call.params["id"])
    return json_reply({"network_ip_availability": _availability_document(call, network)})


# topologies, zones, lists


def _topology_project(call: Call) -> str:
    """The project of the path: one's own, or for an administrator any; `None` and `null` stand for one's own."""
    project = call.params["project"]
    if project in ("None", "null"):
        return call.project_id
    if project != call.project_id:
        call.require_admin("get_auto_allocated_topology of another project")
    return project


async def _auto_topology(call: Call) -> Reply:
    project = _topology_project(call)
    if ("fields", "dry-run") in call.query:
        call.cloud.auto_topology.check()
        return json_reply({"auto_allocated_topology": {"id": "dry-run=pass", "tenant_id": project}})
    network = await call.cloud.auto_topology.ensure(project)
    shown = {"id": network.id, "tenant_id": project, "project_id": project}
    return json_reply({"auto_allocated_topology": shown})


async def _delete_auto_topology(call: Call) -> Reply:
    await call.cloud.auto_topology.delete(_topology_project(call))
    return NO_CONTENT


async def _nothing(call: Call) -> Reply:
    """A list with nothing in it: this cloud has none of these."""
    name = call.request.url.path.rstrip("/").rpartition("/")[2].replace("-", "_")
    return json_reply({name: []})
