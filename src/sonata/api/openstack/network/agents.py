"""Agents of the network service, and its availability zones.

A site switches on each of its hosts, gives out addresses and metadata in each of its PoPs, and routes in its own one:
an agent stands for each of these. It is alive while its PoP is in reach over links and it does its work.
Source: OpenStack Networking API v2.0 reference.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any

from sonata._lib.values import dataclass
from sonata.api.openstack.call import Call
from sonata.api.openstack.fields import timestamp
from sonata.api.openstack.listing import filtered, narrowed
from sonata.api.openstack.network.l3 import ROUTERS
from sonata.api.openstack.network.resources import NETWORKS
from sonata.api.openstack.reply import Reply, json_reply
from sonata.api.openstack.resource import Service
from sonata.api.openstack.routing import Routes
from sonata.api.openstack.topic import Topic, Truth
from sonata.emulator.cloud import Cloud
from sonata.emulator.cloud.causes import NoSuch
from sonata.emulator.cloud.entities.network import Network
from sonata.emulator.cloud.site import DEFAULT_ZONE
from sonata.errors import Conflict

L3, DHCP, METADATA, BRIDGE = "L3 agent", "DHCP agent", "Metadata agent", "Linux bridge agent"
AGENTS = {
    L3: ("neutron-l3-agent", "l3_agent"),
    DHCP: ("neutron-dhcp-agent", "dhcp_agent"),
    METADATA: ("neutron-metadata-agent", "N/A"),
    BRIDGE: ("neutron-linuxbridge-agent", "N/A"),
}
"""Binary and topic by agent type."""
_FIXED = "agents are fixed: each serves what is in its place; name an availability zone for a network instead"


@dataclass(frozen=True, slots=True)
class Agent:
    """An agent: what it is, on which host, in which PoP and zone."""

    kind: str
    host: str
    pop: str
    zone: str

    @property
    def id(self) -> str:
        """Always the same for the same place."""
        return str(uuid.uuid5(uuid.NAMESPACE_URL, f"{self.host}/{self.kind}"))


def register(routes: Routes) -> None:
    """Add the routes."""
    routes.about(
        Topic(
            "agents and availability zones",
            Truth(
                real=(
                    "the zones of networks are the site's own PoP (`nova`) and the PoPs that it manages; a network is "
                    "served (addresses, names, metadata) in the first zone of its `availability_zone_hints`",
                    "an agent for bridges on each host, for DHCP and for metadata in each PoP, for routers in the "
                    "site's own one; dead while its PoP is cut off, DHCP and metadata also while a network that they "
                    "should serve is not; so are zones",
                ),
                refused=(
                    "hints that name no zone of the kind (404 AvailabilityZoneNotFound): routers stand in the site's "
                    "own PoP; moving networks and routers between agents (409)",
                ),
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
    routes.add("GET", "/v2.0/availability_zones", _zones)


def _all(cloud: Cloud) -> Iterator[Agent]:
    yield Agent(L3, cloud.pop.name, cloud.pop.name, DEFAULT_ZONE)
    for zone, pop in cloud.site.zone_pops.items():
        yield from (Agent(kind, pop.name, pop.name, zone) for kind in (DHCP, METADATA))
        yield from (Agent(BRIDGE, host.name, pop.name, "") for host in pop.hypervisors)


def _serves_all(cloud: Cloud, agent: Agent) -> bool:
    """Whether all networks that an agent is to serve are served."""
    if agent.kind not in (DHCP, METADATA):
        return True
    failed = filter(None, map(cloud.tables.networks.peek, cloud.services.failed))
    return not any(cloud.site.service_pop(network).name == agent.pop for network in failed)


def _document(cloud: Cloud, agent: Agent) -> dict[str, Any]:
    binary, topic = AGENTS[agent.kind]
    began = min((network.created_at for network in cloud.tables.networks), default=0.0)
    heard = cloud.site.zones.heard_of(agent.pop)
    return {
        "id": agent.id,
        "agent_type": agent.kind,
        "binary": binary,
        "topic": topic,
        "host": agent.host,
        "admin_state_up": True,
        "alive": _is_alive(cloud, agent),
        "availability_zone": agent.zone or None,
        "created_at": timestamp(began),
        "started_at": timestamp(began),
        "heartbeat_timestamp": timestamp(heard),
        "description": None,
        "resources_synced": None,
        "configurations": _configuration(cloud, agent),
    }


def _is_alive(cloud: Cloud, agent: Agent) -> bool:
    return cloud.site.zones.reaches(agent.pop) and _serves_all(cloud, agent)


def _configuration(cloud: Cloud, agent: Agent) -> dict[str, Any]:
    """What an agent looks after, counted."""
    tables = cloud.tables
    if agent.kind == L3:
        return {
            "agent_mode": "legacy",
            "routers": len(tables.routers),
            "interfaces": sum(len(router.interfaces) for router in tables.routers),
            "floating_ips": len(tables.floating_ips),
            "ex_gw_ports": sum(router.gateway is not None for router in tables.routers),
        }
    if agent.kind in (DHCP, METADATA):
        networks = [network.id for network in _networks_of(cloud, agent)]
        subnets = [one for one in tables.subnets if one.enable_dhcp and one.network_id in networks]
        return {"networks": len(networks), "subnets": len(subnets)}
    hosts = {server.id: server.host for server in tables.servers}
    devices = sum(port.plugged and hosts.get(port.device_id) == agent.host for port in tables.ports)
    return {"devices": devices, "tunnel_types": ["vxlan"], "bridge_mappings": {}}


def _networks_of(cloud: Cloud, agent: Agent) -> list[Network]:
    """The networks whose subnets have DHCP and that are served where an agent is."""
    with_dhcp = {subnet.network_id for subnet in cloud.tables.subnets if subnet.enable_dhcp}
    networks = [network for network in cloud.tables.networks if network.id in with_dhcp]
    return [network for network in networks if cloud.site.service_pop(network).name == agent.pop]


def _find(call: Call) -> Agent:
    for agent in _all(call.cloud):
        if agent.id == call.params["id"]:
            return agent
    raise NoSuch("Agent", call.params["id"])


async def _agents(call: Call) -> Reply:
    documents = [_document(call.cloud, agent) for agent in _all(call.cloud)]
    return json_reply({"agents": [narrowed(one, call.query) for one in filtered(documents, call.query)]})


async def _agent(call: Call) -> Reply:
    return json_reply({"agent": _document(call.cloud, _find(call))})


async def _agents_are_fixed(call: Call) -> Reply:
    _find(call)
    raise Conflict(_FIXED)


async def _networks_of_agent(call: Call) -> Reply:
    """Networks that a DHCP agent serves."""
    agent = _find(call)
    found = _networks_of(call.cloud, agent) if agent.kind == DHCP else []
    return json_reply({"networks": [Service(NETWORKS).document(call, network) for network in found]})


async def _routers_of_agent(call: Call) -> Reply:
    found = list(call.cloud.tables.routers) if _find(call).kind == L3 else []
    return json_reply({"routers": [Service(ROUTERS).document(call, router) for router in found]})


async def _agents_of_network(call: Call) -> Reply:
    network = call.cloud.tables.networks.get(call.params["id"])
    agents = [one for one in _all(call.cloud) if one.kind == DHCP and network in _networks_of(call.cloud, one)]
    return json_reply({"agents": [_document(call.cloud, one) for one in agents]})


async def _agents_of_router(call: Call) -> Reply:
    call.cloud.tables.routers.get(call.params["id"])
    (agent,) = (one for one in _all(call.cloud) if one.kind == L3)
    return json_reply({"agents": [{**_document(call.cloud, agent), "ha_state": None}]})


async def _zones(call: Call) -> Reply:
    """Zones of networks are those with a DHCP agent, of routers those with an L3 agent."""
    found = [
        {"name": agent.zone, "resource": resource, "state": _state(call.cloud, agent)}
        for resource, kind in (("network", DHCP), ("router", L3))
        for agent in _all(call.cloud)
        if agent.kind == kind
    ]
    return json_reply({"availability_zones": filtered(found, call.query)})


def _state(cloud: Cloud, agent: Agent) -> str:
    return "available" if _is_alive(cloud, agent) else "unavailable"
