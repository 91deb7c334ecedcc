"""Networks, subnets, ports, routers, floating IPs and security groups, declared field by field.

Source: OpenStack Networking API v2.0 reference.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import sonata.emulator.cloud.network.dhcp_options as dhcp_options
from sonata.api.openstack.call import Call
from sonata.api.openstack.fields import (
    ADDRESS,
    CIDR,
    FLAG,
    IP_VERSION,
    MAC,
    OBJECT,
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
from sonata.api.openstack.schemas import ID, many, maybe, record
from sonata.api.openstack.topic import Truth
from sonata.emulator.cloud import Cloud
from sonata.emulator.cloud.causes import NoSuch
from sonata.emulator.cloud.entities.network import (
    AddressRange,
    FixedIp,
    Network,
    Port,
    StaticRoute,
    Subnet,
    SubnetPool,
)
from sonata.emulator.cloud.network.ports import AddressWish
from sonata.emulator.cloud.rollback import undone_on_failure
from sonata.errors import InvalidInput

UP = {True: "ACTIVE", False: "DOWN"}
LARGEST_MTU = 1550
"""Wrapped in VXLAN such packets have 1,600 bytes, the largest that links carry."""


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


def read_routes(value: Any) -> tuple[StaticRoute, ...]:
    """Routes of a subnet or router."""
    if not isinstance(value, list) or not all(
        isinstance(route, dict) and set(route) == {"destination", "nexthop"} for route in value
    ):
        raise ValueError(f"'{value}' is not a list of objects with destination and nexthop.")
    routes = tuple(StaticRoute(CIDR.read(route["destination"]), ADDRESS.read(route["nexthop"])) for route in value)
    if mixed := [route for route in routes if route.destination.version != route.nexthop.version]:
        raise ValueError(f"route to {mixed[0].destination} over {mixed[0].nexthop} mixes versions of IP.")
    if len(set(routes)) < len(routes):
        raise ValueError("a route is given twice.")
    return routes


def _read_dhcp_options(value: Any) -> tuple[dict[str, str | int | None], ...]:
    """`extra_dhcp_opts`; an option with the value null is to be taken away."""
    if not isinstance(value, list) or not all(isinstance(one, dict) and one.get("opt_name") for one in value):
        raise ValueError(f"'{value}' is not a list of objects with opt_name and opt_value.")
    return tuple(map(_read_dhcp_option, value))


def _read_dhcp_option(asked: dict[str, Any]) -> dict[str, str | int | None]:
    name, version = TEXT.read(asked["opt_name"]), IP_VERSION.read(asked.get("ip_version", 4))
    value = asked.get("opt_value")
    if value is not None:
        dhcp_options.encode(name, TEXT.read(value), version)
    return {"opt_name": name, "opt_value": value, "ip_version": version}


def _must_be(allowed: object, why: str) -> Kind:
    """A field that clients send, with the only value that is true here."""

    def read(value: Any) -> Any:
        if value not in (allowed, None):
            raise ValueError(f"'{value}' is not available here: {why}.")
        return value

    return Kind(read)


IP = dict(ADDRESS.schema)
POOLS = Kind(
    _read_pools,
    lambda pools: [{"start": str(first), "end": str(last)} for first, last in pools],
    many(record({"start": IP, "end": IP}, ["start", "end"])),
)
WISHES = Kind(read_wishes, schema=many(record({"subnet_id": ID, "ip_address": IP})))
ROUTES = Kind(
    read_routes,
    lambda routes: [{"destination": str(route.destination), "nexthop": str(route.nexthop)} for route in routes],
    many(record({"destination": dict(CIDR.schema), "nexthop": IP}, ["destination", "nexthop"])),
)
DHCP_OPTION = record(
    {"opt_name": ID, "opt_value": maybe(ID), "ip_version": {"enum": [4, 6]}}, ["opt_name", "opt_value"]
)
DHCP_OPTIONS = Kind(_read_dhcp_options, list, many(DHCP_OPTION))


def shown_addresses(fixed_ips: tuple[FixedIp, ...]) -> list[dict[str, str]]:
    """`fixed_ips` of a document."""
    return [{"subnet_id": fixed.subnet_id, "ip_address": str(fixed.address)} for fixed in fixed_ips]


# networks


async def _create_network(call: Call, values: Values) -> Network:
    _drop(values, "vlan_transparent", "segments")
    require_zones(values, call.cloud.site.zone_pops)
    shared = values.pop("shared", False)
    if values.get("external") or shared:
        call.require_admin("create_network:shared or router:external")
    require_policy(call, values)
    values.setdefault("qos_policy", call.cloud.qos.default_of(values["project_id"]))
    network = await call.cloud.networks.create(Network(**values))
    call.cloud.rbac.share("network", network, shared=shared)
    return call.cloud.tables.networks.get(network.id)


async def _update_network(call: Call, network: Network, values: Values) -> Network:
    if "shared" in values:
        call.require_admin("update_network:shared")
        call.cloud.rbac.share("network", network, shared=values.pop("shared"))
    require_policy(call, values)
    call.cloud.qos.check_network(replace(network, qos_policy=values.get("qos_policy", network.qos_policy)))
    changed = await call.cloud.networks.update(network.id, **values)
    await call.cloud.qos.follow()
    return changed


async def _delete_network(call: Call, network: Network) -> None:
    await call.cloud.networks.delete(network.id)
    call.cloud.rbac.forget(network.id)


def require_zones(values: Values, known: Iterable[str]) -> None:
    """Refuse hints that name no availability zone.

    Raises:
        NoSuch: there is no such zone for what is to be made.
    """
    for zone in values.get("zone_hints", ()):
        if zone not in known:
            raise NoSuch("AvailabilityZone", zone)


def _zones(cloud: Cloud, network: Network) -> list[str]:
    """The zones that a network is served in; none without DHCP."""
    if not any(subnet.enable_dhcp for subnet in cloud.networks.subnets_of(network.id)):
        return []
    served = cloud.site.service_pop(network)
    return [zone for zone, pop in cloud.site.zone_pops.items() if pop is served]


NO_SEGMENTS = _must_be([], "a network has one segment")
NOT_TRANSPARENT = _must_be(False, "VLAN tags do not pass")

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
        Field("mtu", integer(576, LARGEST_MTU), access="cu"),
        computed("ipv4_address_scope", lambda cloud, network: cloud.subnet_pools.scope_of_network(network.id, 4)),
        computed("ipv6_address_scope", lambda cloud, network: cloud.subnet_pools.scope_of_network(network.id, 6)),
        Field("availability_zone_hints", TEXTS, attr="zone_hints", access="c"),
        computed("availability_zones", _zones),
        Field("port_security_enabled", FLAG, attr="port_security", access="cu"),
        Field(
            "provider:network_type",
            one_of("vxlan", "geneve", "vlan", "flat"),
            attr="network_type",
            access="c",
            admin=True,
        ),
        Field(
            "provider:physical_network",
            or_none(TEXT),
            attr="physical_network",
            access="c",
            admin=True,
            computed=lambda _cloud, network: "external" if network.external else network.physical_network,
        ),
        Field(
            "provider:segmentation_id", or_none(integer(1, 2**24 - 1)), attr="segmentation_id", access="c", admin=True
        ),
        Field("segments", NO_SEGMENTS, access="c", hidden=True),
        Field("is_default", FLAG),
        Field("qos_policy_id", or_none(TEXT, ""), attr="qos_policy", access="cu"),
        Field("vlan_transparent", NOT_TRANSPARENT, access="c", computed=lambda *_: None),
        constant("l2_adjacency", True),
        Field("dns_domain", or_none(TEXT, ""), access="cu", computed=lambda _cloud, network: network.dns_domain),
    ),
    create=_create_network,
    update=_update_network,
    delete=_delete_network,
    truth=Truth(
        real=(
            "a bridge of its own; projects with the same addresses stay apart; MTU (576 to 1550), state and "
            "sharing reach running servers",
            "a network with DHCP serves addresses, names and metadata to its ports, in the zone of its "
            "`availability_zone_hints`",
        ),
        simplified=(
            "segmentation ids are given out and shown; one external network, named `external`, is there from the "
            "beginning, with a subnet of IPv4",
            "networks of the types `vlan` and `flat` are on the one physical network `physnet1`, and are bridges, too",
        ),
        refused=(
            "further external networks, several segments, VLAN transparency (400); trunks are not there (404): VLANs "
            "of the world outside are joined by layer 2 gateways",
        ),
    ),
)


# subnets


async def _create_subnet(call: Call, values: Values) -> Subnet:
    network = call.cloud.tables.networks.get(values["network_id"])
    if not call.sees(network):
        raise NoSuch("Network", network.id)
    if network.project_id != call.project_id:
        call.require_admin("create_subnet on a network of another project")
    _drop(values, "segment_id")
    _take_prefix(call, values)
    asked = values.pop("gateway", "default")
    gateway = None if asked in (None, "default") else asked
    subnet = Subnet(shared=network.shared, gateway_ip=gateway, **values)
    return await call.cloud.networks.create_subnet(subnet, default_gateway=asked == "default")


def _take_prefix(call: Call, values: Values) -> None:
    """Find out the subnet's prefix: the one given, or one of a pool."""
    version = values.pop("ip_version", None)
    length = values.pop("prefixlen", None)
    pool = _pool_of(call, values.pop("use_default_subnetpool", False), version, values.get("subnetpool_id"))
    asked = values.get("cidr")
    if pool is None and asked is None:
        raise InvalidInput("Bad subnets request: a subnetpool must be specified in the absence of a cidr.")
    if pool is not None:
        values["cidr"] = call.cloud.subnet_pools.allocate(pool, values["project_id"], length, asked)
        values["subnetpool_id"] = pool.id
    elif length is not None:
        raise InvalidInput("Invalid input for operation: prefixlen needs a subnetpool.")
    elif asked is not None and asked.version != (version or asked.version):
        raise InvalidInput(
            f"Invalid input for operation: requested cidr '{asked}' does not match the ip_version '{version}'."
        )


def _pool_of(call: Call, use_default: bool, version: int | None, pool_id: str | None) -> SubnetPool | None:
    if use_default and pool_id:
        raise InvalidInput("Bad subnets request: subnetpool_id and use_default_subnetpool cannot both be specified.")
    if use_default:
        pool = call.cloud.subnet_pools.default(version or 4)
        if pool is None:
            raise InvalidInput(f"Bad subnets request: No default subnetpool found for IPv{version or 4}.")
        return pool
    if not pool_id:
        return None
    if pool_id == "prefix_delegation":
        raise InvalidInput("Bad subnets request: prefix delegation is not available here.")
    pool = call.cloud.tables.subnet_pools.get(pool_id)
    if not call.sees(pool):
        raise NoSuch("SubnetPool", pool_id)
    if version not in (None, pool.ip_version):
        raise InvalidInput("Bad subnets request: ip_version must match the subnetpool's.")
    return pool


async def _update_subnet(call: Call, subnet: Subnet, values: Values) -> Subnet:
    if "gateway" in values:
        values["gateway_ip"] = values.pop("gateway")
    return await call.cloud.networks.update_subnet(subnet.id, **values)


async def _delete_subnet(call: Call, subnet: Subnet) -> None:
    await call.cloud.networks.delete_subnet(subnet.id)


IPV6_MODE = or_none(one_of("slaac", "dhcpv6-stateful", "dhcpv6-stateless"))
NO_SEGMENT = _must_be(None, "a network has one segment")

SUBNETS = Resource[Subnet](
    member="subnet",
    collection="subnets",
    path="/subnets",
    table=lambda tables: tables.subnets,
    fields=(
        Field("network_id", TEXT, access="c", required=True),
        Field("ip_version", IP_VERSION, access="c", computed=lambda _cloud, subnet: subnet.cidr.version),
        Field("cidr", or_none(CIDR), access="c"),
        Field("prefixlen", integer(0, 128), access="c", hidden=True),
        Field("use_default_subnetpool", FLAG, access="c", hidden=True),
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
        Field("host_routes", ROUTES, access="cu"),
        Field("ipv6_address_mode", IPV6_MODE, attr="address_mode", access="c"),
        Field("ipv6_ra_mode", IPV6_MODE, attr="ra_mode", access="c"),
        Field("subnetpool_id", or_none(TEXT), access="c"),
        Field("segment_id", NO_SEGMENT, access="c", computed=lambda *_: None),
        Field("service_types", TEXTS, access="cu"),
        Field("dns_publish_fixed_ip", FLAG, access="cu"),
        computed("router:external", lambda cloud, subnet: cloud.tables.networks.get(subnet.network_id).external),
    ),
    create=_create_subnet,
    update=_update_subnet,
    delete=_delete_subnet,
    truth=Truth(
        real=(
            "several of both versions of IP on one network; pools, gateway, host routes, DNS servers; "
            "changes reach running servers",
            "`slaac` and `dhcpv6-stateless` give each port its EUI-64 address",
            "a subnet of IPv6 of the external network (a /64, from an administrator): its gateway is the PoP's router, "
            "endpoints of the PoP have addresses in it, and the PoP's router knows the way to the prefixes behind "
            "routers that have a gateway in it",
            "`ipv6_ra_mode` is what hosts that solicit are told, `ipv6_address_mode` what DHCPv6 gives them: "
            "addresses, or name servers alone",
        ),
        simplified=(
            "machines have IPv6 addresses and routes from the data plane; router advertisements answer solicitations "
            "alone, come from the port `network:dhcp` and name no default router",
        ),
        refused=("segments, prefix delegation (400); further subnets of the external network than one of IPv6 (409)",),
    ),
)


# ports


def _split_port(values: Values) -> tuple[AddressWish, ...] | None:
    """Take the wished addresses out of a port's values, and what is read but not kept."""
    wishes: tuple[AddressWish, ...] | None = values.pop("wishes", None)
    return wishes


async def _create_port(call: Call, values: Values) -> Port:
    wishes = _split_port(values)
    if not call.sees(call.cloud.tables.networks.get(values["network_id"])):
        raise NoSuch("Network", values["network_id"])
    secure_new(call, values)
    require_policy(call, values)
    values["dhcp_options"] = dhcp_options.merged((), values.get("dhcp_options", ()))
    wanted = Port(**values)
    call.cloud.qos.check(wanted)
    port = call.cloud.ports.create(wanted, wishes)
    await call.cloud.filters.follow()
    return port


async def _update_port(call: Call, port: Port, values: Values) -> Port:
    wishes = _split_port(values)
    secure_changed(call, port, values)
    require_policy(call, values)
    if "dhcp_options" in values:
        values["dhcp_options"] = dhcp_options.merged(port.dhcp_options, values["dhcp_options"])
    kept = {name: values[name] for name in ("qos_policy", "vnic_type") if name in values}
    call.cloud.qos.check(replace(port, **kept))
    changed = await call.cloud.port_changes.update(port.id, wishes, **values)
    with undone_on_failure(lambda: call.cloud.tables.ports.put_back(port, values)):
        await call.cloud.filters.follow()
        await call.cloud.qos.follow()
    return changed


async def _delete_port(call: Call, port: Port) -> None:
    await call.cloud.nics.delete_port(port.id)


def _network_policy(cloud: Cloud, port: Port) -> str | None:
    return cloud.tables.networks.get(port.network_id).qos_policy or None


def _host_of(cloud: Cloud, port: Port) -> str:
    """The host that a port is bound to: its server's, else the one where routers and services are."""
    server = cloud.tables.servers.peek(port.device_id)
    return (server.host if server else cloud.pop.name) if port.device_id else port.host_id


def _vif_type(_cloud: Cloud, port: Port) -> str:
    return ("hw_veb" if port.is_direct else "bridge") if port.device_id else "unbound"


def _vif_details(_cloud: Cloud, port: Port) -> dict[str, Any]:
    return {"port_filter": not port.is_direct, "connectivity": "l2"} if port.device_id else {}


def _port_status(cloud: Cloud, port: Port) -> str:
    network = cloud.tables.networks.get(port.network_id)
    stands = port.plugged and port.device_id not in cloud.site.plane.missing_routers
    answers = stands or cloud.services.serves(port)
    return UP[answers and port.admin_state_up and network.admin_state_up]


def _dns_assignment(cloud: Cloud, port: Port) -> list[dict[str, str]]:
    """The names under which a port's addresses are known; one without a name is called after its address."""
    domain = port.dns_domain or cloud.tables.networks.get(port.network_id).dns_domain or "openstacklocal."
    return [
        {"ip_address": str(fixed.address), "hostname": name, "fqdn": f"{name}.{domain.rstrip('.')}."}
        for fixed in port.fixed_ips
        for name in (port.dns_name or "host-" + str(fixed.address).replace(".", "-").replace(":", "-"),)
    ]


def _ip_allocation(_cloud: Cloud, port: Port) -> str:
    return "immediate" if port.fixed_ips else "none"


def _read_dns_name(value: Any) -> str:
    name: str = TEXT.read(value)
    if name and not re.fullmatch(r"(?!-)[A-Za-z0-9-]{1,63}(?<!-)(\.(?!-)[A-Za-z0-9-]{1,63}(?<!-))*\.?", name):
        raise ValueError(f"'{name}' not a valid PQDN or FQDN.")
    return name


DNS_NAME = Kind(_read_dns_name, schema={"type": "string", "format": "hostname"})

PORTS = Resource[Port](
    member="port",
    collection="ports",
    path="/ports",
    table=lambda tables: tables.ports,
    fields=(
        Field("network_id", TEXT, access="c", required=True),
        Field("admin_state_up", FLAG, access="cu"),
        computed("status", _port_status),
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
        Field(
            "binding:vnic_type", one_of("normal", "direct", "direct-physical", "macvtap"), attr="vnic_type", access="cu"
        ),
        Field("binding:host_id", or_none(TEXT, ""), attr="host_id", access="cu", computed=_host_of, admin=True),
        Field("binding:profile", OBJECT, attr="profile", access="cu", admin=True),
        Field("binding:vif_type", computed=_vif_type, admin=True),
        Field("binding:vif_details", computed=_vif_details, admin=True),
        Field("extra_dhcp_opts", DHCP_OPTIONS, attr="dhcp_options", access="cu"),
        Field("dns_name", or_none(DNS_NAME, ""), access="cu", computed=lambda _cloud, port: port.dns_name),
        Field("dns_domain", or_none(TEXT, ""), access="cu", computed=lambda _cloud, port: port.dns_domain),
        computed("dns_assignment", _dns_assignment),
        Field("qos_policy_id", or_none(TEXT, ""), attr="qos_policy", access="cu"),
        computed("qos_network_policy_id", _network_policy),
        constant("resource_request", None),
        computed("ip_allocation", _ip_allocation),
        Field("propagate_uplink_status", FLAG, access="cu"),
        Field("numa_affinity_policy", or_none(one_of("required", "preferred", "legacy")), access="cu", admin=True),
        Field("data_plane_status", or_none(one_of("ACTIVE", "DOWN")), access="u", admin=True),
    ),
    create=_create_port,
    update=_update_port,
    delete=_delete_port,
    truth=Truth(
        real=(
            "ACTIVE when packets pass; fixed and MAC addresses; `admin_state_up: false` stops them; spoofed "
            "senders are dropped while port security is on",
            "`extra_dhcp_opts`: who asks for DHCP is told them, instead of what the network would say",
            "`binding:vnic_type` `direct` and `macvtap`: the server has a function of the network's card (`hw_veb`, a "
            "macvlan) beside the bridge; security groups do not apply, as with SR-IOV; QoS limits, chains and live "
            "migration are refused (409)",
        ),
        simplified=(
            "`binding:profile` and the `binding:vnic_type` `direct-physical` are kept, without effect; ports of "
            "routers, DHCP and load balancers are trusted",
        ),
        refused=("`extra_dhcp_opts` of unknown names, or with values that do not fit (400)",),
    ),
)


def _drop(values: Values, *names: str) -> None:
    """Forget what is read to be checked only."""
    for name in names:
        values.pop(name, None)
