"""Networks, ports and routers of a VIM."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sonata.adapters.vim_openstack.calls import Calls, Document
from sonata.adapters.vim_openstack.faults import VimConflict
from sonata.adapters.vim_openstack.marks import mark, tagged
from sonata.errors import PermanentError
from sonata.ports.vim import NetworkRequest, PortRequest, VimNetwork, VimPort


def ensure_marked(calls: Calls, path: str, kind: str, tag: str, body: Document, **filters: str) -> Document:
    """Find the Neutron object with this tag, or create it."""
    listed = calls.list("network", path, description=mark(tag), **filters)
    found = tagged(listed, tag)
    if found is not None:
        return found
    created: Document = calls.post("network", path, {kind: {**body, "description": mark(tag)}})[kind]
    return created


def ensure_network(calls: Calls, request: NetworkRequest) -> VimNetwork:
    """Find or create a network and its subnet; a network left without subnet is finished."""
    network = ensure_marked(calls, "/networks", "network", request.tag, {"name": request.name})
    wanted: dict[str, Any] = {
        "name": request.name,
        "network_id": network["id"],
        "ip_version": 4,
        "cidr": request.cidr,
    }
    if not request.gateway:
        wanted["gateway_ip"] = None
    elif request.gateway_address:
        wanted["gateway_ip"] = request.gateway_address
    if request.pool is not None:
        wanted["allocation_pools"] = [{"start": request.pool[0], "end": request.pool[1]}]
    subnet = ensure_marked(calls, "/subnets", "subnet", request.tag, wanted, network_id=network["id"])
    return VimNetwork(network["id"], subnet["id"], subnet["cidr"])


def ensure_port(calls: Calls, request: PortRequest) -> VimPort:
    """Find or create a port."""
    network = request.network
    wanted: dict[str, Any] = {"name": request.name, "network_id": network.id}
    fixed = {"subnet_id": network.subnet_id}
    if request.address:
        fixed["ip_address"] = request.address
    if request.mac:
        wanted["mac_address"] = request.mac
    port = ensure_marked(calls, "/ports", "port", request.tag, {**wanted, "fixed_ips": [fixed]}, network_id=network.id)
    address = port["fixed_ips"][0]["ip_address"] if port["fixed_ips"] else ""
    return VimPort(port["id"], port["network_id"], port["mac_address"].lower(), address)


def ensure_router(calls: Calls, tag: str, name: str, networks: Sequence[VimNetwork]) -> str:
    """Find or create a router with external gateway, and give it the legs that it lacks."""
    gateway = {"network_id": external_network(calls)}
    router = ensure_marked(calls, "/routers", "router", tag, {"name": name, "external_gateway_info": gateway})
    legs = {port["network_id"] for port in calls.list("network", "/ports", device_id=router["id"])}
    for network in networks:
        if network.id not in legs:
            _add_leg(calls, router["id"], network)
    router_id: str = router["id"]
    return router_id


def _add_leg(calls: Calls, router_id: str, network: VimNetwork) -> None:
    body = {"subnet_id": network.subnet_id}
    try:
        calls.put("network", f"/routers/{router_id}/add_router_interface", body)
    except VimConflict:
        # Somebody was faster with the very same leg; any other conflict leaves the network without one.
        ports = calls.list("network", "/ports", device_id=router_id, network_id=network.id)
        if not any(port["network_id"] == network.id for port in ports):
            raise


def external_network(calls: Calls) -> str:
    """Id of the first external network; raises PermanentError when there is none."""
    found = calls.list("network", "/networks", **{"router:external": "true"})
    external = [network["id"] for network in found if network.get("router:external")]
    if not external:
        raise PermanentError(
            f"VIM `{calls.vim}` has no external network",
            hint="ask its operator for a network with router:external",
            call="GET /networks?router:external=true",
        )
    first: str = external[0]
    return first
