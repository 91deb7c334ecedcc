"""The Networking API of a PoP: versions, extensions, resources, quotas, agents, zones."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import sonata.api.openstack.network.agents as agents
import sonata.api.openstack.network.l2gw as l2gw
import sonata.api.openstack.network.l3 as l3
import sonata.api.openstack.network.qos as network_qos
import sonata.api.openstack.network.quotas as network_quotas
import sonata.api.openstack.network.security as network_security
import sonata.api.openstack.network.service as network_service
import sonata.api.openstack.network.sharing as sharing
from sonata.api.openstack.call import Call
from sonata.api.openstack.network.l3 import FLOATING_IPS, PORT_FORWARDINGS, ROUTERS
from sonata.api.openstack.network.resources import (
    NETWORKS,
    PORTS,
    SUBNETS,
)
from sonata.api.openstack.network.sfc import FLOW_CLASSIFIERS, PORT_CHAINS, PORT_PAIR_GROUPS, PORT_PAIRS, SERVICE_GRAPHS
from sonata.api.openstack.network.sharing import ADDRESS_SCOPES, RBAC_POLICIES, SUBNET_POOLS
from sonata.api.openstack.reply import Reply, json_reply
from sonata.api.openstack.resource import Resource, Service
from sonata.api.openstack.routing import Routes
from sonata.api.openstack.schemas import ID, record
from sonata.emulator.cloud.causes import NoSuch
from sonata.emulator.cloud.network.routers import Leg
from sonata.errors import InvalidInput

EXTENSIONS: Mapping[str, str] = {
    "agent": "agent",
    "address-scope": "Address scope",
    "auto-allocated-topology": "Auto Allocated Topology Services",
    "data-plane-status": "Port data plane status",
    "default-subnetpools": "Default Subnetpools",
    "dhcp_agent_scheduler": "DHCP Agent Scheduler",
    "dns-domain-ports": "dns_domain for ports",
    "dns-integration": "DNS Integration",
    "expose-port-forwarding-in-fip": "Expose Port Forwarding in FIP",
    "extra_dhcp_opt": "Neutron Extra DHCP options",
    "extraroute-atomic": "Atomically add/remove extra routes",
    "fip-port-details": "Floating IP Port Details Extension",
    "floating-ip-port-forwarding": "Floating IP Port Forwarding",
    "floating-ip-port-forwarding-description": "Floating IP Port Forwarding description",
    "floating-ip-port-forwarding-port-ranges": "Floating IP Port Forwarding support port ranges",
    "ip_allocation": "IP Allocation",
    **l2gw.EXTENSIONS,
    "l3_agent_scheduler": "L3 Agent Scheduler",
    "net-mtu-writable": "Network MTU (writable)",
    "network-ip-availability": "Network IP Availability",
    "port-numa-affinity-policy": "Port NUMA affinity policy",
    "rbac-address-scope": "Add address_scope type to RBAC",
    "rbac-policies": "RBAC Policies",
    "rbac-security-groups": "Add security_group type to network RBAC",
    "rbac-subnetpool": "Add subnetpool type to RBAC",
    "revision-if-match": "If-Match constraints based on revision_number",
    "subnet-dns-publish-fixed-ip": "Subnet DNS publish fixed IP",
    "subnet-service-types": "Subnet service types",
    "subnet_allocation": "Subnet Allocation",
    "subnet_onboard": "Subnet Onboard",
    "uplink-status-propagation": "Port uplink status propagation",
    "availability_zone": "Availability Zone",
    "binding": "Port Binding",
    "external-net": "Neutron external network",
    "ext-gw-mode": "Neutron L3 Configurable external gateway mode",
    "extraroute": "Neutron Extra Route",
    "flow_classifier": "Flow Classifier",
    "net-mtu": "Network MTU",
    "network_availability_zone": "Network Availability Zone",
    "pagination": "Pagination support",
    "project-id": "project_id field enabled",
    "provider": "Provider Network",
    "quotas": "Quota management support",
    "quota_details": "Quota details management support",
    "quota-check-limit": "Quota engine limit check",
    "router": "Neutron L3 Router",
    "router_availability_zone": "Router Availability Zone",
    **network_qos.EXTENSIONS,
    **network_security.EXTENSIONS,
    "service_graph": "Service Graph",
    "sfc": "Service Function Chaining",
    "sorting": "Sorting support",
    "standard-attr-description": "standard-attr-description",
    "standard-attr-revisions": "Resource revision numbers",
    "standard-attr-tag": "Tag support for resources with standard attribute: all",
    "standard-attr-timestamp": "Resource timestamps",
    "tag-creation": "Tag creation at the creation of a resource",
    "tag-ports-during-bulk-creation": "Tag Ports During Bulk Creation",
}
RESOURCES: tuple[Resource[Any], ...] = (
    NETWORKS,
    SUBNETS,
    PORTS,
    ROUTERS,
    FLOATING_IPS,
    PORT_FORWARDINGS,
    SUBNET_POOLS,
    ADDRESS_SCOPES,
    RBAC_POLICIES,
    *network_security.RESOURCES,
    network_qos.QOS_POLICIES,
    PORT_PAIRS,
    PORT_PAIR_GROUPS,
    FLOW_CLASSIFIERS,
    PORT_CHAINS,
    SERVICE_GRAPHS,
    l2gw.L2_GATEWAYS,
    l2gw.L2_GATEWAY_CONNECTIONS,
)

LEG = record({"subnet_id": ID, "port_id": ID})


def network_routes() -> Routes:
    """All routes of the service."""
    routes = Routes()
    routes.add("GET", "/", _versions, public=True)
    routes.add("GET", "/v2.0", _resources, public=True)
    routes.add("GET", "/v2.0/extensions", _extensions)
    routes.add("GET", "/v2.0/extensions/{alias}", _extension)
    for resource in RESOURCES:
        Service(resource).register(routes)
    l3.register(routes)
    routes.add("PUT", "/v2.0/routers/{id}/add_router_interface", _add_interface, body=LEG)
    routes.add("PUT", "/v2.0/routers/{id}/remove_router_interface", _remove_interface, body=LEG)
    network_quotas.register(routes)
    network_security.register(routes)
    network_qos.register(routes)
    sharing.register(routes)
    agents.register(routes)
    network_service.register(routes)
    return routes


async def _versions(call: Call) -> Reply:
    link = {"rel": "self", "href": call.url("network", "/v2.0/")}
    return json_reply({"versions": [{"id": "v2.0", "status": "CURRENT", "links": [link]}]})


async def _resources(call: Call) -> Reply:
    return json_reply(
        {
            "resources": [
                {
                    "name": resource.member,
                    "collection": resource.collection,
                    "links": [{"rel": "self", "href": call.url("network", f"/v2.0{resource.path}")}],
                }
                for resource in RESOURCES
            ]
        }
    )


def _extension_document(alias: str) -> dict[str, Any]:
    name = EXTENSIONS[alias]
    return {"alias": alias, "name": name, "description": name, "updated": "2024-01-01T00:00:00-00:00", "links": []}


async def _extensions(call: Call) -> Reply:
    return json_reply({"extensions": [_extension_document(alias) for alias in EXTENSIONS]})


async def _extension(call: Call) -> Reply:
    alias = call.params["alias"]
    if alias not in EXTENSIONS:
        raise NoSuch("Extension", alias)
    return json_reply({"extension": _extension_document(alias)})


async def _add_interface(call: Call) -> Reply:
    router = _visible_router(call)
    return json_reply(_leg_document(await call.cloud.routers.add_interface(router, **await _leg_wish(call))))


async def _remove_interface(call: Call) -> Reply:
    router = _visible_router(call)
    return json_reply(_leg_document(await call.cloud.routers.remove_interface(router, **await _leg_wish(call))))


def _visible_router(call: Call) -> str:
    router = call.cloud.tables.routers.get(call.params["id"])
    if not call.sees(router):
        raise NoSuch("Router", router.id)
    return router.id


async def _leg_wish(call: Call) -> dict[str, str]:
    """`subnet_id` or `port_id` of the body."""
    body = await call.json()
    wish = {key: value for key in ("subnet_id", "port_id") if isinstance(value := body.get(key), str)}
    if not wish:
        raise InvalidInput("Bad router request: Either subnet_id or port_id must be specified.")
    return {"port_id": wish["port_id"]} if "port_id" in wish else wish


def _leg_document(leg: Leg) -> dict[str, Any]:
    return {
        "id": leg.router.id,
        "project_id": leg.router.project_id,
        "tenant_id": leg.router.project_id,
        "network_id": leg.port.network_id,
        "port_id": leg.port.id,
        "subnet_id": leg.subnet.id,
        "subnet_ids": [fixed.subnet_id for fixed in leg.port.fixed_ips],
        "tags": list(leg.router.tags),
    }
