"""Networks, subnets, ports, routers, floating IPs and security groups, declared field by field.

Source: OpenStack Networking API v2.0 reference.
"""

from __future__ import annotations

from ipaddress import IPv4Address
from typing import Any

from sonata.api.openstack.call import Call
from sonata.api.openstack.fields import (
    ADDRESS,
    CIDR,
    FLAG,
    MAC,
    TEXT,
    TEXTS,
    Field,
    Kind,
    computed,
    constant,
    integer,
    one_of,
    or_none,
)
from sonata.api.openstack.network.qos import require_policy
from sonata.api.openstack.network.security import PORT_FIELDS, secure_changed, secure_new
from sonata.api.openstack.resource import Resource, Values
from sonata.emulator.cloud import Cloud
from sonata.emulator.cloud.causes import NoSuch
from sonata.emulator.cloud.entities.network import (
    AddressRange,
    FixedIp,
    FloatingIp,
    Network,
    Port,
    Router,
    Subnet,
)
from sonata.emulator.cloud.network.ports import AddressWish
from sonata.emulator.cloud.rollback import undone_on_failure

ZONE = "nova"
UP = {True: "ACTIVE", False: "DOWN"}


def read_wishes(value: Any) -> tuple[AddressWish, ...] | None:
    """`fixed_ips` of a port; null means that the network decides."""
    if value is None:
        return None
    if not isinstance(value, list) or not all(isinstance(entry, dict) for entry in value):
        raise ValueError(f"'{value}' is not a list of objects with subnet_id and ip_address.")
    return tuple(_read_wish(entry) for entry in value)


def _read_wish(entry: dict[str, Any]) -> AddressWish:
    address = entry.get("ip_address")
    return AddressWish(str(entry.get("subnet_id") or ""), ADDRESS.read(address) if address else None)


def _read_pools(value: Any) -> tuple[AddressRange, ...]:
    if not isinstance(value, list) or not all(
        isinstance(pool, dict) and {"start", "end"} <= set(pool) for pool in value
    ):
        raise ValueError(f"'{value}' is not a list of objects with start and end.")
    return tuple((ADDRESS.read(pool["start"]), ADDRESS.read(pool["end"])) for pool in value)


def _read_ip_version(value: Any) -> int:
    if value not in (4, "4"):
        raise ValueError(f"'{value}' is not in [4]: this cloud has IPv4 networks only.")
    return 4


def _must_be(allowed: object, why: str) -> Kind:
    """A field that clients send, with the only value that is true here."""

    def read(value: Any) -> Any:
        if value not in (allowed, None):
            raise ValueError(f"'{value}' is not available here: {why}.")
        return value

    return Kind(read)


POOLS = Kind(_read_pools, lambda pools: [{"start": str(first), "end": str(last)} for first, last in pools])
WISHES = Kind(read_wishes)
NO_DHCP_OPTIONS = _must_be([], "there is no DHCP server: machines get their addresses from the data plane")


def shown_addresses(fixed_ips: tuple[FixedIp, ...]) -> list[dict[str, str]]:
    """`fixed_ips` of a document."""
    return [{"subnet_id": fixed.subnet_id, "ip_address": str(fixed.address)} for fixed in fixed_ips]


# networks


async def _create_network(call: Call, values: Values) -> Network:
    if values.get("external") or values.get("shared"):
        call.require_admin("create_network:shared or router:external")
    require_policy(call, values)
    values.setdefault("qos_policy", call.cloud.qos.default_of(values["project_id"]))
    return await call.cloud.networks.create(Network(**values))


async def _update_network(call: Call, network: Network, values: Values) -> Network:
    require_policy(call, values)
    changed = await call.cloud.networks.update(network.id, **values)
    await call.cloud.qos.follow()
    return changed


async def _delete_network(call: Call, network: Network) -> None:
    await call.cloud.networks.delete(network.id)


NETWORKS = Resource[Network](
    member="network",
    collection="networks",
    path="/networks",
    table=lambda tables: tables.networks,
    fields=(
        Field("admin_state_up", FLAG, access="cu"),
        computed("status", lambda _cloud, network: UP[network.admin_state_up]),
        computed("subnets", lambda cloud, network: [subnet.id for subnet in cloud.networks.subnets_of(network.id)]),
        Field("shared", FLAG, access="cu"),
        Field("router:external", FLAG, attr="external", access="c"),
        Field("mtu", integer(576, 1500), access="c"),
        constant("ipv4_address_scope", None),
        constant("ipv6_address_scope", None),
        constant("availability_zone_hints", []),
        constant("availability_zones", [ZONE]),
        Field("port_security_enabled", FLAG, attr="port_security", access="cu"),
        computed("provider:network_type", lambda _cloud, network: "flat" if network.external else "geneve"),
        computed("provider:physical_network", lambda _cloud, network: "external" if network.external else None),
        constant("provider:segmentation_id", None),
        constant("is_default", False),
        Field("qos_policy_id", or_none(TEXT, ""), attr="qos_policy", access="cu"),
        constant("vlan_transparent", None),
        constant("l2_adjacency", True),
        constant("dns_domain", ""),
    ),
    create=_create_network,
    update=_update_network,
    delete=_delete_network,
)


# subnets


async def _create_subnet(call: Call, values: Values) -> Subnet:
    _drop(values, "ip_version", "ipv6_address_mode", "ipv6_ra_mode", "host_routes")
    network = call.cloud.tables.networks.get(values["network_id"])
    asked = values.pop("gateway", "default")
    subnet = Subnet(shared=network.shared, gateway_ip=asked if isinstance(asked, IPv4Address) else None, **values)
    return await call.cloud.networks.create_subnet(subnet, default_gateway=asked == "default")


async def _update_subnet(call: Call, subnet: Subnet, values: Values) -> Subnet:
    _drop(values, "host_routes")
    if "gateway" in values:
        values["gateway_ip"] = values.pop("gateway")
    return await call.cloud.networks.update_subnet(subnet.id, **values)


async def _delete_subnet(call: Call, subnet: Subnet) -> None:
    await call.cloud.networks.delete_subnet(subnet.id)


NO_HOST_ROUTES = _must_be([], "machines get no host routes")
NO_IPV6 = _must_be(None, "this cloud has IPv4 networks only")

SUBNETS = Resource[Subnet](
    member="subnet",
    collection="subnets",
    path="/subnets",
    table=lambda tables: tables.subnets,
    fields=(
        Field("network_id", TEXT, access="c", required=True),
        Field("ip_version", Kind(_read_ip_version), access="c", computed=lambda *_: 4),
        Field("cidr", CIDR, access="c", required=True),
        Field(
            "gateway_ip",
            or_none(ADDRESS),
            attr="gateway",
            access="cu",
            computed=lambda _cloud, subnet: str(subnet.gateway_ip) if subnet.gateway_ip else None,
        ),
        Field("allocation_pools", POOLS, attr="pools", access="cu"),
        Field("enable_dhcp", FLAG, access="cu"),
        Field("dns_nameservers", TEXTS, access="cu"),
        Field("host_routes", NO_HOST_ROUTES, access="cu", computed=lambda *_: []),
        Field("ipv6_address_mode", NO_IPV6, access="c", computed=lambda *_: None),
        Field("ipv6_ra_mode", NO_IPV6, access="c", computed=lambda *_: None),
        constant("subnetpool_id", None),
        constant("segment_id", None),
        constant("service_types", []),
        constant("dns_publish_fixed_ip", False),
        constant("router:external", False),
    ),
    create=_create_subnet,
    update=_update_subnet,
    delete=_delete_subnet,
)


# ports


def _split_port(values: Values) -> tuple[AddressWish, ...] | None:
    """Take the wished addresses out of a port's values, and what is read but not kept."""
    _drop(values, "host_id", "profile", "extra_dhcp_opts")
    wishes: tuple[AddressWish, ...] | None = values.pop("wishes", None)
    return wishes


async def _create_port(call: Call, values: Values) -> Port:
    wishes = _split_port(values)
    if not call.sees(call.cloud.tables.networks.get(values["network_id"])):
        raise NoSuch("Network", values["network_id"])
    secure_new(call, values)
    require_policy(call, values)
    port = call.cloud.ports.create(Port(**values), wishes)
    await call.cloud.filters.follow()
    return port


async def _update_port(call: Call, port: Port, values: Values) -> Port:
    wishes = _split_port(values)
    secure_changed(call, port, values)
    require_policy(call, values)
    changed = call.cloud.ports.update(port.id, wishes, **values)
    with undone_on_failure(lambda: call.cloud.tables.ports.restore(port)):
        await call.cloud.filters.follow()
        await call.cloud.qos.follow()
    return changed


async def _delete_port(call: Call, port: Port) -> None:
    await call.cloud.nics.delete_port(port.id)


def _network_policy(cloud: Cloud, port: Port) -> str | None:
    return cloud.tables.networks.get(port.network_id).qos_policy or None


def _host_of(cloud: Cloud, port: Port) -> str:
    return cloud.pop.name if port.device_id else ""


PORTS = Resource[Port](
    member="port",
    collection="ports",
    path="/ports",
    table=lambda tables: tables.ports,
    fields=(
        Field("network_id", TEXT, access="c", required=True),
        Field("admin_state_up", FLAG, access="cu"),
        computed("status", lambda _cloud, port: UP[port.plugged]),
        Field("mac_address", MAC, attr="mac", access="cu"),
        Field(
            "fixed_ips",
            WISHES,
            attr="wishes",
            access="cu",
            computed=lambda _cloud, port: shown_addresses(port.fixed_ips),
        ),
        Field("device_id", or_none(TEXT, ""), access="cu", computed=lambda _cloud, port: port.device_id),
        Field("device_owner", or_none(TEXT, ""), access="cu", computed=lambda _cloud, port: port.device_owner),
        Field("security_groups", or_none(TEXTS, ()), access="cu", computed=lambda _c, port: list(port.security_groups)),
        *PORT_FIELDS,
        Field("binding:vnic_type", one_of("normal", "direct", "macvtap"), attr="vnic_type", access="cu"),
        Field("binding:host_id", attr="host_id", access="cu", computed=_host_of),
        Field("binding:profile", attr="profile", access="cu", computed=lambda *_: {}),
        constant("binding:vif_type", "bridge"),
        constant("binding:vif_details", {"port_filter": True}),
        Field("extra_dhcp_opts", NO_DHCP_OPTIONS, access="cu", computed=lambda *_: []),
        constant("dns_name", ""),
        constant("dns_domain", ""),
        constant("dns_assignment", []),
        Field("qos_policy_id", or_none(TEXT, ""), attr="qos_policy", access="cu"),
        computed("qos_network_policy_id", _network_policy),
        constant("resource_request", None),
        constant("ip_allocation", "immediate"),
        constant("propagate_uplink_status", False),
        constant("numa_affinity_policy", None),
        constant("data_plane_status", None),
    ),
    create=_create_port,
    update=_update_port,
    delete=_delete_port,
)


# routers


def _read_gateway(value: Any) -> dict[str, Any]:
    """`external_gateway_info`; null and an empty object take the gateway away."""
    if value in (None, {}):
        return {}
    if not isinstance(value, dict) or not isinstance(value.get("network_id"), str):
        raise ValueError(f"'{value}' is not an object with network_id.")
    if value.get("enable_snat") is False:
        raise ValueError("enable_snat cannot be false: routers here always masquerade towards the external network.")
    fixed_ips = read_wishes(value.get("external_fixed_ips")) or (None,)
    return {"network_id": value["network_id"], "wish": fixed_ips[0]}


async def _create_router(call: Call, values: Values) -> Router:
    _drop(values, "routes", "unused_distributed", "unused_ha")
    gateway = values.pop("gateway_info", None) or {}
    router = Router(**values)
    return await call.cloud.routers.create(router, gateway.get("wish"), gateway.get("network_id", ""))


async def _update_router(call: Call, router: Router, values: Values) -> Router:
    _drop(values, "routes")
    if "gateway_info" in values:
        gateway = values.pop("gateway_info")
        router = await _move_gateway(call, router, gateway.get("network_id", ""), gateway.get("wish"))
    return await call.cloud.routers.update(router.id, **values) if values else router


async def _move_gateway(call: Call, router: Router, network_id: str, wish: AddressWish | None) -> Router:
    """Give a router the gateway asked for, unless it has it already."""
    if wish is None and network_id == (router.gateway.network_id if router.gateway else ""):
        return router
    return await call.cloud.routers.set_gateway(router.id, network_id, wish)


async def _delete_router(call: Call, router: Router) -> None:
    await call.cloud.routers.delete(router.id)


def _gateway_info(cloud: Cloud, router: Router) -> dict[str, Any] | None:
    outer = cloud.routers.external_port(router)
    if outer is None:
        return None
    fixed_ips = shown_addresses(outer.fixed_ips)
    return {"network_id": outer.network_id, "enable_snat": True, "external_fixed_ips": fixed_ips, "qos_policy_id": None}


NO_ROUTES = _must_be([], "routers take no extra routes")
NOT_DISTRIBUTED = _must_be(False, "a PoP has one network node")

ROUTERS = Resource[Router](
    member="router",
    collection="routers",
    path="/routers",
    table=lambda tables: tables.routers,
    fields=(
        Field("admin_state_up", FLAG, access="cu"),
        computed("status", lambda *_: "ACTIVE"),
        Field("external_gateway_info", Kind(_read_gateway), attr="gateway_info", access="cu", computed=_gateway_info),
        Field("routes", NO_ROUTES, access="u", computed=lambda *_: []),
        Field("distributed", NOT_DISTRIBUTED, access="c", attr="unused_distributed", computed=lambda *_: False),
        Field("ha", NOT_DISTRIBUTED, access="c", attr="unused_ha", computed=lambda *_: False),
        constant("availability_zone_hints", []),
        constant("availability_zones", [ZONE]),
        constant("flavor_id", None),
    ),
    create=_create_router,
    update=_update_router,
    delete=_delete_router,
)


# floating IPs


async def _create_floating_ip(call: Call, values: Values) -> FloatingIp:
    asked, subnet_id = values.pop("asked", None), values.pop("subnet_id", "")
    wish = AddressWish(subnet_id, asked) if asked or subnet_id else None
    port_id, fixed = values.pop("port_id", ""), values.pop("fixed", None)
    return await call.cloud.floating_ips.create(FloatingIp(**values), wish, port_id, fixed)


async def _update_floating_ip(call: Call, floating: FloatingIp, values: Values) -> FloatingIp:
    fixed = values.pop("fixed", None)
    if "port_id" in values:
        floating = await call.cloud.floating_ips.associate(floating.id, values.pop("port_id"), fixed)
    return await call.cloud.floating_ips.update(floating.id, **values) if values else floating


async def _delete_floating_ip(call: Call, floating: FloatingIp) -> None:
    await call.cloud.floating_ips.delete(floating.id)


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
            or_none(ADDRESS),
            attr="asked",
            access="c",
            computed=lambda _cloud, floating: str(floating.address),
        ),
        Field("subnet_id", or_none(TEXT, ""), access="c", hidden=True),
        Field("port_id", or_none(TEXT, ""), access="cu"),
        Field(
            "fixed_ip_address",
            or_none(ADDRESS),
            attr="fixed",
            access="cu",
            computed=lambda _cloud, floating: str(floating.fixed_address) if floating.fixed_address else None,
        ),
        Field("router_id", or_none(TEXT, "")),
        computed("status", lambda _cloud, floating: UP[bool(floating.port_id)]),
        computed("port_details", _port_details),
        constant("port_forwardings", []),
        constant("dns_domain", ""),
        constant("dns_name", ""),
        constant("qos_policy_id", None),
    ),
    create=_create_floating_ip,
    update=_update_floating_ip,
    delete=_delete_floating_ip,
)


def _drop(values: Values, *names: str) -> None:
    """Forget what is read to be checked only."""
    for name in names:
        values.pop(name, None)
