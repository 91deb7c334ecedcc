"""Networks, ports and routers of a VIM."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sonata.adapters.vim_openstack.calls import Calls, Document
from sonata.adapters.vim_openstack.faults import VimConflict
from sonata.adapters.vim_openstack.marks import mark, tag_of
from sonata.errors import PermanentError
from sonata.ports.vim import NetworkRequest, PortRequest, VimNetwork, VimPort

MAX_LOOKED_UP = 20
"""Tags that one look-up names: the address of a request has bounds."""


def ensure_marked(calls: Calls, path: str, kind: str, tag: str, body: Document) -> Document:
    """Find the Neutron object with this tag, or create it."""
    return ensure_all_marked(calls, path, kind, {tag: body})[tag]


def ensure_all_marked(
    calls: Calls, path: str, kind: str, wanted: Mapping[str, Document], *, in_bulk: bool = True
) -> dict[str, Document]:
    """Find the Neutron objects with these tags, and create those that are not there, in one call if `in_bulk`."""
    found = find_marked(calls, path, wanted)
    bodies = [{**body, "description": mark(tag)} for tag, body in wanted.items() if tag not in found]
    if in_bulk and len(bodies) > 1:
        created = calls.post("network", path, {f"{kind}s": bodies})[f"{kind}s"]
    else:
        created = [calls.post("network", path, {kind: body})[kind] for body in bodies]
    return {**found, **{tag_of(document): document for document in created}}


def find_marked(calls: Calls, path: str, tags: Iterable[str]) -> dict[str, Document]:
    """The Neutron objects with these tags that are there; of several with the same tag the first."""
    names, found = list(tags), dict[str, Document]()
    for start in range(0, len(names), MAX_LOOKED_UP):
        asked = names[start : start + MAX_LOOKED_UP]
        for document in calls.list("network", path, description=[mark(tag) for tag in asked]):
            if (tag := tag_of(document)) in asked:
                found.setdefault(tag, document)
    return found


def ensure_networks(calls: Calls, requests: Sequence[NetworkRequest]) -> list[VimNetwork]:
    """Find or create networks with a subnet each; a network left without subnet is finished."""
    bodies = {request.tag: {"name": request.name} for request in requests}
    networks = ensure_all_marked(calls, "/networks", "network", bodies)
    wanted = {request.tag: _subnet(request, networks[request.tag]["id"]) for request in requests}
    subnets = ensure_all_marked(calls, "/subnets", "subnet", wanted)
    return [VimNetwork(subnets[r.tag]["network_id"], subnets[r.tag]["id"], subnets[r.tag]["cidr"]) for r in requests]


def _subnet(request: NetworkRequest, network_id: str) -> Document:
    wanted: dict[str, Any] = {"name": request.name, "network_id": network_id, "ip_version": 4, "cidr": request.cidr}
    if not request.gateway:
        wanted["gateway_ip"] = None
    elif request.gateway_address:
        wanted["gateway_ip"] = request.gateway_address
    if request.pool is not None:
        wanted["allocation_pools"] = [{"start": request.pool[0], "end": request.pool[1]}]
    return wanted


def ensure_ports(calls: Calls, requests: Sequence[PortRequest]) -> list[VimPort]:
    """Find or create ports."""
    ports = ensure_all_marked(calls, "/ports", "port", {request.tag: _port(request) for request in requests})
    return [_vim_port(ports[request.tag]) for request in requests]


def _port(request: PortRequest) -> Document:
    # Functions forward what others sent, and chains hand them packets of any address: no port of theirs is secured.
    wanted: dict[str, Any] = {
        "name": request.name,
        "network_id": request.network.id,
        "port_security_enabled": False,
    }
    fixed = {"subnet_id": request.network.subnet_id}
    if request.address:
        fixed["ip_address"] = request.address
    if request.mac:
        wanted["mac_address"] = request.mac
    return {**wanted, "fixed_ips": [fixed]}


def _vim_port(port: Document) -> VimPort:
    address = port["fixed_ips"][0]["ip_address"] if port["fixed_ips"] else ""
    return VimPort(port["id"], port["network_id"], port["mac_address"].lower(), address)


def ensure_router(calls: Calls, tag: str, name: str, networks: Sequence[VimNetwork]) -> str:
    """Find or create a router with external gateway, and give it the legs that it lacks."""
    router = find_marked(calls, "/routers", [tag]).get(tag)
    legs: set[str] = set()  # a new router has none
    if router is not None:
        legs = {port["network_id"] for port in calls.list("network", "/ports", device_id=router["id"])}
    else:
        wanted = {"name": name, "external_gateway_info": {"network_id": external_network(calls)}}
        body = {"router": {**wanted, "description": mark(tag)}}
        router = calls.post("network", "/routers", body)["router"]
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


def ensure_floating_ip(calls: Calls, tag: str, port_id: str) -> str:
    """Find or create the floating IP with this tag that leads to a port; returns its address."""
    body = {"floating_network_id": external_network(calls), "port_id": port_id}
    floating = ensure_marked(calls, "/floatingips", "floatingip", tag, body)
    if floating["port_id"] != port_id:
        calls.put("network", f"/floatingips/{floating['id']}", {"floatingip": {"port_id": port_id}})
    return str(floating["floating_ip_address"])


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
