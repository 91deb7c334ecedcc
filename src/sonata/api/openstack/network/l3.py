"""Routers, floating IPs and their port forwardings, declared field by field.

Source: OpenStack Networking API v2.0 reference.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sonata.api.openstack.call import Call
from sonata.api.openstack.fields import (
    FLAG,
    IPV4_ADDRESS,
    TEXT,
    TEXTS,
    Field,
    Kind,
    computed,
    constant,
    one_of,
    or_none,
)
from sonata.api.openstack.network.qos import require_policy
from sonata.api.openstack.network.resources import ROUTES, UP, WISHES, read_wishes, require_zones, shown_addresses
from sonata.api.openstack.reply import Reply, json_reply
from sonata.api.openstack.resource import Resource, Service, Values
from sonata.api.openstack.routing import Routes
from sonata.api.openstack.schemas import ID, SWITCH, maybe, record
from sonata.api.openstack.topic import Truth
from sonata.emulator.cloud import Cloud
from sonata.emulator.cloud.causes import NoSuch
from sonata.emulator.cloud.entities.network import FloatingIp, PortForwarding, Router, StaticRoute
from sonata.emulator.cloud.network.ports import AddressWish
from sonata.emulator.cloud.site import DEFAULT_ZONE
from sonata.errors import InvalidInput

POLICY = or_none(TEXT, "")

# routers


def _read_gateway(value: Any) -> dict[str, Any]:
    """`external_gateway_info`; null and an empty object take the gateway away."""
    if value in (None, {}):
        return {}
    if not isinstance(value, dict) or not isinstance(value.get("network_id"), str):
        raise ValueError(f"'{value}' is not an object with network_id.")
    if unknown := sorted(set(value) - {"network_id", "enable_snat", "external_fixed_ips", "qos_policy_id"}):
        raise ValueError(f"'{unknown[0]}' is not an attribute of external_gateway_info.")
    snat = FLAG.read(value.get("enable_snat", True))
    read = {"network_id": value["network_id"], "wishes": read_wishes(value.get("external_fixed_ips")), "snat": snat}
    return {**read, "qos_policy": POLICY.read(value["qos_policy_id"])} if "qos_policy_id" in value else read


async def _create_router(call: Call, values: Values) -> Router:
    for read_only_here in ("unused_distributed", "unused_ha"):
        values.pop(read_only_here, None)
    gateway = values.pop("gateway_info", None) or {}
    require_policy(call, gateway)
    require_zones(values, [DEFAULT_ZONE])
    way_out = gateway.get("wishes"), gateway.get("network_id", ""), gateway.get("snat", True)
    return await call.cloud.routers.create(Router(**values), *way_out, gateway.get("qos_policy", ""))


async def _update_router(call: Call, router: Router, values: Values) -> Router:
    if "gateway_info" in values:
        gateway = values.pop("gateway_info")
        require_policy(call, gateway)
        router = await call.cloud.routers.set_gateway(
            router.id,
            gateway.get("network_id", ""),
            gateway.get("wishes"),
            snat=gateway.get("snat", True),
            qos_policy=gateway.get("qos_policy"),
        )
    return await call.cloud.routers.update(router.id, **values) if values else router


async def _delete_router(call: Call, router: Router) -> None:
    await call.cloud.routers.delete(router.id)


def _gateway_info(cloud: Cloud, router: Router) -> dict[str, Any] | None:
    outer = cloud.routers.specs.external_port(router)
    if outer is None:
        return None
    return {
        "network_id": outer.network_id,
        "enable_snat": router.gateway is None or router.gateway.snat,
        "external_fixed_ips": shown_addresses(outer.fixed_ips),
        "qos_policy_id": (router.gateway and router.gateway.qos_policy) or None,
    }


def _is_missing(cloud: Cloud, router: Router) -> bool:
    """Whether a router was called and could not be made, e.g. for want of file descriptors."""
    return router.id in cloud.site.plane.missing_routers


def _read_not_distributed(value: Any) -> bool:
    if value not in (False, None):
        raise ValueError(f"'{value}' is not available here: a PoP has one network node.")
    return False


GATEWAY = Kind(
    _read_gateway,
    schema=maybe(
        record(
            {
                "network_id": ID,
                "enable_snat": SWITCH,
                "external_fixed_ips": dict(WISHES.schema),
                "qos_policy_id": maybe(ID),
            }
        )
    ),
)
NOT_DISTRIBUTED = Kind(_read_not_distributed, schema=SWITCH)

ROUTERS = Resource[Router](
    member="router",
    collection="routers",
    path="/routers",
    table=lambda tables: tables.routers,
    fields=(
        Field("admin_state_up", FLAG, access="cu"),
        computed("status", lambda cloud, router: "ERROR" if _is_missing(cloud, router) else "ACTIVE"),
        Field(
            "external_gateway_info",
            GATEWAY,
            attr="gateway_info",
            access="cu",
            computed=_gateway_info,
        ),
        Field("routes", ROUTES, access="u"),
        Field("distributed", NOT_DISTRIBUTED, access="c", attr="unused_distributed", computed=lambda *_: False),
        Field("ha", NOT_DISTRIBUTED, access="c", attr="unused_ha", computed=lambda *_: False),
        Field("availability_zone_hints", TEXTS, attr="zone_hints", access="c"),
        constant("availability_zones", [DEFAULT_ZONE]),
        constant("flavor_id", None),
    ),
    create=_create_router,
    update=_update_router,
    delete=_delete_router,
    truth=Truth(
        real=(
            "legs in networks of both versions of IP, by subnet or by port; IPv6 is routed, never translated",
            "the gateway with chosen addresses, masquerading of inner sources, `enable_snat: false`; its QoS policy "
            "holds for the router's own address, which masqueraded sources share",
            "`ERROR` while the machine has no room for it, which shows when it is called; the next call tries again",
            "extra routes, also added and removed one by one; `admin_state_up: false` stops all forwarding",
        ),
        refused=("distributed and highly available routers (400); several gateways (404)",),
    ),
)


async def _change_routes(call: Call, *, add: bool) -> Reply:
    service = Service(ROUTERS)
    router = service.own(call)
    body = await call.member("router")
    try:
        given = ROUTES.read(body.get("routes"))
    except ValueError as error:
        raise InvalidInput(f"Invalid input for routes. Reason: {error}") from None
    router = await call.cloud.routers.update(router.id, routes=_merged(router.routes, given, add=add))
    return json_reply({"router": service.document(call, router)})


def _merged(before: tuple[StaticRoute, ...], given: tuple[StaticRoute, ...], *, add: bool) -> tuple[StaticRoute, ...]:
    kept = tuple(route for route in before if route not in given)
    return kept + given if add else kept


async def _add_routes(call: Call) -> Reply:
    """PUT of further routes: none that is there is touched."""
    return await _change_routes(call, add=True)


async def _remove_routes(call: Call) -> Reply:
    """PUT of routes to be dropped; those that are not there are no mistake."""
    return await _change_routes(call, add=False)


# floating IPs


async def _create_floating_ip(call: Call, values: Values) -> FloatingIp:
    asked, subnet_id = values.pop("asked", None), values.pop("subnet_id", "")
    if asked:
        call.require_admin("create_floatingip:floating_ip_address")
    wishes = AddressWish(subnet_id, asked) if asked or subnet_id else None
    port_id, fixed = values.pop("port_id", ""), values.pop("fixed", None)
    _require_port(call, port_id)
    require_policy(call, values)
    return await call.cloud.floating_ips.create(FloatingIp(**values), wishes, port_id, fixed)


async def _update_floating_ip(call: Call, floating: FloatingIp, values: Values) -> FloatingIp:
    fixed = values.pop("fixed", None)
    require_policy(call, values)
    if "port_id" in values:
        port_id = values.pop("port_id")
        _require_port(call, port_id)
        floating = await call.cloud.floating_ips.associate(floating.id, port_id, fixed)
    elif fixed is not None:
        raise InvalidInput("Bad floatingip request: fixed_ip_address cannot be specified without a port_id.")
    return await call.cloud.floating_ips.update(floating.id, **values) if values else floating


async def _delete_floating_ip(call: Call, floating: FloatingIp) -> None:
    await call.cloud.floating_ips.delete(floating.id)


def _require_port(call: Call, port_id: str) -> None:
    if port_id and not call.sees(call.cloud.tables.ports.get(port_id)):
        raise NoSuch("Port", port_id)


def _port_details(cloud: Cloud, floating: FloatingIp) -> dict[str, Any] | None:
    port = cloud.tables.ports.peek(floating.port_id)
    if port is None:
        return None
    return {
        "name": port.name,
        "network_id": port.network_id,
        "mac_address": port.mac,
        "admin_state_up": port.admin_state_up,
        "status": UP[port.plugged],
        "device_id": port.device_id,
        "device_owner": port.device_owner,
    }


def _is_translated(cloud: Cloud, floating: FloatingIp) -> bool:
    """Whether a router that is up leads the address somewhere."""
    routers = {floating.router_id, *(one.router_id for one in cloud.port_forwardings.of(floating))} - {""}
    found = map(cloud.tables.routers.get, routers)
    return any(router.admin_state_up and not _is_missing(cloud, router) for router in found)


def _brief_forwardings(cloud: Cloud, floating: FloatingIp) -> list[dict[str, Any]]:
    return [
        {
            "protocol": one.protocol,
            "internal_ip_address": str(one.inner_address),
            "internal_port": one.inner_ports[0],
            "external_port": one.outer_ports[0],
        }
        for one in cloud.port_forwardings.of(floating)
    ]


FLOATING_IPS = Resource[FloatingIp](
    member="floatingip",
    collection="floatingips",
    path="/floatingips",
    table=lambda tables: tables.floating_ips,
    fields=(
        Field("name", hidden=True),
        Field("floating_network_id", TEXT, attr="network_id", access="c", required=True),
        Field(
            "floating_ip_address",
            or_none(IPV4_ADDRESS),
            attr="asked",
            access="c",
            computed=lambda _cloud, floating: str(floating.address),
        ),
        Field("subnet_id", or_none(TEXT, ""), access="c", hidden=True),
        Field("port_id", or_none(TEXT, ""), access="cu"),
        Field(
            "fixed_ip_address",
            or_none(IPV4_ADDRESS),
            attr="fixed",
            access="cu",
            computed=lambda _cloud, floating: str(floating.fixed_address) if floating.fixed_address else None,
        ),
        Field("router_id", or_none(TEXT, "")),
        computed("status", lambda cloud, floating: UP[_is_translated(cloud, floating)]),
        computed("port_details", _port_details),
        computed("port_forwardings", _brief_forwardings),
        Field("dns_domain", or_none(TEXT, ""), access="c", computed=lambda _cloud, floating: floating.dns_domain),
        Field("dns_name", or_none(TEXT, ""), access="c", computed=lambda _cloud, floating: floating.dns_name),
        Field("qos_policy_id", POLICY, attr="qos_policy", access="cu"),
    ),
    create=_create_floating_ip,
    update=_update_floating_ip,
    delete=_delete_floating_ip,
    truth=Truth(
        real=(
            "translation both ways while a router leads to the port; chosen address and subnet",
            "the QoS policy: bandwidth limits in both directions, and DSCP marks of what is sent, at the router's "
            "external leg, besides those of the port",
        ),
    ),
)


# port forwardings


def _read_range(value: Any) -> tuple[int, int]:
    """A port `80`, or a range `80:89`."""
    first, _, last = str(value).partition(":")
    if not (first.isdigit() and (last or first).isdigit() and 0 < int(first) <= int(last or first) <= 65535):
        raise ValueError(f"'{value}' is not a port or a range of ports FIRST:LAST.")
    return int(first), int(last or first)


def _show_range(ports: tuple[int, int]) -> str:
    return f"{ports[0]}:{ports[1]}"


def _single(ports: tuple[int, int]) -> int | None:
    return ports[0] if ports[0] == ports[1] else None


PORT_RANGE = Kind(_read_range, _show_range, {"type": "string", "pattern": "^[0-9]{1,5}(:[0-9]{1,5})?$"})


def _placed(values: Values) -> Values:
    """Ports may be given as one number or as a range; both become a range."""
    for side in ("inner", "outer"):
        one, several = values.pop(f"{side}_port", None), values.pop(f"{side}_ports", None)
        if one and several and one != several:
            raise InvalidInput(f"Invalid input for port_forwarding. Reason: {side} port and range differ.")
        if one or several:
            values[f"{side}_ports"] = one or several
    return values


async def _create_forwarding(call: Call, values: Values) -> PortForwarding:
    floating = _floating(call)
    values = _placed(values)
    if missing := sorted({"inner_ports", "outer_ports"} - values.keys()):
        raise InvalidInput(f"Failed to parse request. Required attribute '{missing[0]}' not specified")
    _require_port(call, values["port_id"])
    own = {**values, "project_id": floating.project_id, "floating_ip_id": floating.id}
    return await call.cloud.port_forwardings.create(PortForwarding(**own))


async def _update_forwarding(call: Call, forwarding: PortForwarding, values: Values) -> PortForwarding:
    return await call.cloud.port_forwardings.update(forwarding.id, **_placed(values))


async def _delete_forwarding(call: Call, forwarding: PortForwarding) -> None:
    await call.cloud.port_forwardings.delete(forwarding.id)


def _floating(call: Call) -> FloatingIp:
    floating = call.cloud.tables.floating_ips.get(call.params["floatingip"])
    if not call.sees(floating):
        raise NoSuch("FloatingIP", floating.id)
    return floating


def _forwardings_of(call: Call) -> Callable[[PortForwarding], bool]:
    floating_id = _floating(call).id
    return lambda forwarding: forwarding.floating_ip_id == floating_id


PORT_FORWARDINGS = Resource[PortForwarding](
    member="port_forwarding",
    collection="port_forwardings",
    path="/floatingips/{floatingip}/port_forwardings",
    table=lambda tables: tables.port_forwardings,
    within=_forwardings_of,
    tag_routes=False,
    fields=(
        Field("name", hidden=True),
        Field("project_id", TEXT, hidden=True),
        Field("tenant_id", TEXT, attr="project_id", hidden=True),
        Field("tags", hidden=True),
        Field("internal_port_id", TEXT, attr="port_id", access="cu", required=True),
        Field("internal_ip_address", IPV4_ADDRESS, attr="inner_address", access="cu", required=True),
        Field("protocol", one_of("tcp", "udp"), access="cu", required=True),
        Field(
            "internal_port",
            PORT_RANGE,
            attr="inner_port",
            access="cu",
            computed=lambda _c, one: _single(one.inner_ports),
        ),
        Field(
            "external_port",
            PORT_RANGE,
            attr="outer_port",
            access="cu",
            computed=lambda _c, one: _single(one.outer_ports),
        ),
        Field("internal_port_range", PORT_RANGE, attr="inner_ports", access="cu"),
        Field("external_port_range", PORT_RANGE, attr="outer_ports", access="cu"),
    ),
    create=_create_forwarding,
    update=_update_forwarding,
    delete=_delete_forwarding,
    truth=Truth(real=("single ports and ranges of TCP and UDP",), refused=("other protocols (400)",)),
)

EXTRA_ROUTES = record({"router": record({"routes": dict(ROUTES.schema)}, ["routes"])}, ["router"])


def register(routes: Routes) -> None:
    """Add what the resources do not declare."""
    routes.add("PUT", "/v2.0/routers/{id}/add_extraroutes", _add_routes, body=EXTRA_ROUTES)
    routes.add("PUT", "/v2.0/routers/{id}/remove_extraroutes", _remove_routes, body=EXTRA_ROUTES)
