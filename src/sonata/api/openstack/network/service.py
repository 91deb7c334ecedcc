"""What the Networking API tells of the PoP itself: agents, availability of addresses, zones, flavors, and shortcuts.

A PoP is one host that switches, routes and gives out addresses, so each kind of agent is there once, and alive as long
as somebody answers. Source: OpenStack Networking API v2.0 reference.
"""

from __future__ import annotations

import time
import uuid
from ipaddress import IPv4Network
from typing import Any

from sonata.api.openstack.call import Call
from sonata.api.openstack.fields import timestamp
from sonata.api.openstack.listing import filtered, narrowed
from sonata.api.openstack.network.l3 import ROUTERS
from sonata.api.openstack.network.resources import NETWORKS, ZONE
from sonata.api.openstack.reply import NO_CONTENT, Reply, json_reply
from sonata.api.openstack.resource import Service
from sonata.api.openstack.routing import Routes
from sonata.api.openstack.topic import Topic, Truth
from sonata.emulator.cloud.causes import NoSuch
from sonata.emulator.cloud.entities.network import Network, Subnet
from sonata.errors import Conflict

AGENTS = {
    "L3 agent": ("neutron-l3-agent", "l3_agent"),
    "DHCP agent": ("neutron-dhcp-agent", "dhcp_agent"),
    "Linux bridge agent": ("neutron-linuxbridge-agent", "N/A"),
}
"""Binary and topic by agent type."""
_LISTS = ("flavors", "service_profiles", "service-providers", "metering/metering-labels", "network-segment-ranges")
_FIXED = "agents of this PoP are fixed: there is one of each kind, and it serves everything"


def register(routes: Routes) -> None:
    """Add the routes."""
    routes.about(
        Topic(
            "the network service itself",
            Truth(
                real=("addresses used and free by network; auto-allocated topologies",),
                simplified=("one agent of each kind, alive; flavors and service providers are empty lists",),
                refused=("moving networks and routers between agents (409)",),
            ),
        )
    )
    routes.add("GET", "/v2.0/agents", _agents, needs="admin")
    routes.add("GET", "/v2.0/agents/{id}", _agent, needs="admin")
    for method, path in (("PUT", "agents/{id}"), ("DELETE", "agents/{id}")):
        routes.add(method, f"/v2.0/{path}", _agents_are_fixed, needs="admin")
    for kind, things in (("dhcp-networks", _networks_of_agent), ("l3-routers", _routers_of_agent)):
        routes.add("GET", f"/v2.0/agents/{{id}}/{kind}", things, needs="admin")
        routes.add("POST", f"/v2.0/agents/{{id}}/{kind}", _agents_are_fixed, needs="admin")
        routes.add("DELETE", f"/v2.0/agents/{{id}}/{kind}/{{thing}}", _agents_are_fixed, needs="admin")
    routes.add("GET", "/v2.0/networks/{id}/dhcp-agents", _agents_of_network, needs="admin")
    routes.add("GET", "/v2.0/routers/{id}/l3-agents", _agents_of_router, needs="admin")
    routes.add("GET", "/v2.0/network-ip-availabilities", _availabilities, needs="admin")
    routes.add("GET", "/v2.0/network-ip-availabilities/{id}", _availability, needs="admin")
    routes.add("GET", "/v2.0/auto-allocated-topology/{project}", _auto_topology)
    routes.add("DELETE", "/v2.0/auto-allocated-topology/{project}", _delete_auto_topology)
    routes.add("GET", "/v2.0/availability_zones", _zones)
    for path in _LISTS:
        routes.add("GET", f"/v2.0/{path}", _nothing)


def _agent_id(call: Call, kind: str) -> str:
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"{call.pop}/{kind}"))


def _agent_document(call: Call, kind: str) -> dict[str, Any]:
    binary, topic = AGENTS[kind]
    began = min((network.created_at for network in call.cloud.tables.networks), default=0.0)
    return {
        "id": _agent_id(call, kind),
        "agent_type": kind,
        "binary": binary,
        "topic": topic,
        "host": call.cloud.pop.name,
        "admin_state_up": True,
        "alive": True,
        "availability_zone": None if topic == "N/A" else ZONE,
        "created_at": timestamp(began),
        "started_at": timestamp(began),
        "heartbeat_timestamp": timestamp(time.time()),
        "description": None,
        "resources_synced": None,
        "configurations": _configuration(call, kind),
    }


def _configuration(call: Call, kind: str) -> dict[str, Any]:
    """What an agent looks after, counted."""
    tables = call.cloud.tables
    if kind == "L3 agent":
        return {
            "agent_mode": "legacy",
            "routers": len(tables.routers),
            "interfaces": sum(len(router.interfaces) for router in tables.routers),
            "floating_ips": len(tables.floating_ips),
            "ex_gw_ports": sum(router.gateway is not None for router in tables.routers),
        }
    if kind == "DHCP agent":
        networks = {subnet.network_id for subnet in tables.subnets if subnet.enable_dhcp}
        return {"networks": len(networks), "subnets": sum(subnet.enable_dhcp for subnet in tables.subnets)}
    return {"devices": sum(port.plugged for port in tables.ports), "tunnel_types": ["vxlan"], "bridge_mappings": {}}


def _all_agents(call: Call) -> list[dict[str, Any]]:
    return [_agent_document(call, kind) for kind in AGENTS]


async def _agents(call: Call) -> Reply:
    found = [narrowed(agent, call.query) for agent in filtered(_all_agents(call), call.query)]
    return json_reply({"agents": found})


def _find_agent(call: Call) -> dict[str, Any]:
    for agent in _all_agents(call):
        if agent["id"] == call.params["id"]:
            return agent
    raise NoSuch("Agent", call.params["id"])


async def _agent(call: Call) -> Reply:
    return json_reply({"agent": _find_agent(call)})


async def _agents_are_fixed(call: Call) -> Reply:
    _find_agent(call)
    raise Conflict(_FIXED)


def _is(agent: dict[str, Any], kind: str) -> bool:
    return bool(agent["agent_type"] == kind)


async def _networks_of_agent(call: Call) -> Reply:
    """Networks whose subnets have DHCP, at the DHCP agent."""
    served = {subnet.network_id for subnet in call.cloud.tables.subnets if subnet.enable_dhcp}
    found = [one for one in call.cloud.tables.networks if one.id in served and _is(_find_agent(call), "DHCP agent")]
    return json_reply({"networks": [Service(NETWORKS).document(call, network) for network in found]})


async def _routers_of_agent(call: Call) -> Reply:
    found = list(call.cloud.tables.routers) if _is(_find_agent(call), "L3 agent") else []
    return json_reply({"routers": [Service(ROUTERS).document(call, router) for router in found]})


async def _agents_of_network(call: Call) -> Reply:
    network = call.cloud.tables.networks.get(call.params["id"])
    served = any(subnet.enable_dhcp for subnet in call.cloud.networks.subnets_of(network.id))
    return json_reply({"agents": [_agent_document(call, "DHCP agent")] if served else []})


async def _agents_of_router(call: Call) -> Reply:
    call.cloud.tables.routers.get(call.params["id"])
    return json_reply({"agents": [{**_agent_document(call, "L3 agent"), "ha_state": None}]})


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


async def _zones(call: Call) -> Reply:
    zones = [{"name": ZONE, "resource": resource, "state": "available"} for resource in ("network", "router")]
    return json_reply({"availability_zones": filtered(zones, call.query)})


async def _nothing(call: Call) -> Reply:
    """A list with nothing in it: this cloud has none of these."""
    name = call.request.url.path.rstrip("/").rpartition("/")[2].replace("-", "_")
    return json_reply({name: []})
