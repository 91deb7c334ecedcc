"""Security groups, their rules and groups of addresses, declared field by field; what ports say of them.

Source: OpenStack Networking API v2.0 reference: security groups, security group rules, address groups, port security.
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import ip_network
from typing import Any

from sonata._lib.ip import Prefix
from sonata.api.openstack.call import Call
from sonata.api.openstack.fields import CIDR, FLAG, MAC, TEXT, Field, Kind, computed, one_of, or_none, read_fields
from sonata.api.openstack.reply import Reply, json_reply
from sonata.api.openstack.resource import Resource, Service, Values
from sonata.api.openstack.routing import Routes
from sonata.api.openstack.schemas import NOTHING, either, many, number, record
from sonata.api.openstack.topic import Truth
from sonata.emulator.cloud import Cloud
from sonata.emulator.cloud.causes import NoSuch
from sonata.emulator.cloud.entities.network import Port, SecurityGroup
from sonata.emulator.cloud.entities.security import AddressGroup, SecurityGroupRule
from sonata.emulator.cloud.network.causes import (
    AddressPairAndPortSecurityRequired,
    PortSecurityAndIPRequiredForSecurityGroups,
    PortSecurityPortHasSecurityGroup,
)
from sonata.emulator.cloud.network.protocols import normalised
from sonata.emulator.cloud.network.security import DEFAULT_GROUP

EXTENSIONS = {
    "address-group": "Address group",
    "allowed-address-pairs": "Allowed Address Pairs",
    "port-security": "Port Security",
    "security-group": "security-group",
    "security-groups-normalized-cidr": "Normalized CIDR field for security group rules",
    "security-groups-remote-address-group": "Remote address group id field for security group rules",
    "security-groups-rules-belongs-to-default-sg": "Rules know whether they belong to the default security group",
    "security-groups-shared-filtering": "Security group filtering on the shared field",
    "stateful-security-group": "Stateful security group",
}
MOST_PAIRS = 10


def read_prefix(value: Any) -> Prefix:
    """A prefix of either version of IP, host bits dropped."""
    try:
        return ip_network(str(value), strict=False)
    except ValueError:
        raise ValueError(f"'{value}' is neither a valid IP address, nor is it a valid IP subnet.") from None


PREFIX = Kind(read_prefix, str, dict(CIDR.schema))


# groups


async def _create_group(call: Call, values: Values) -> SecurityGroup:
    return call.cloud.security_groups.create(SecurityGroup(**values))


async def _update_group(call: Call, group: SecurityGroup, values: Values) -> SecurityGroup:
    return await call.cloud.security_groups.update(group.id, **values)


async def _delete_group(call: Call, group: SecurityGroup) -> None:
    await call.cloud.security_groups.delete(group.id, even_default=call.token.is_admin)


def _make_default(call: Call) -> None:
    """Have the group `default` before groups are listed, as Neutron does: the caller's, or whose is asked for."""
    asked = {value for key, value in call.query if key in ("project_id", "tenant_id")} or {call.project_id}
    for project_id in asked & {project.id for project in call.cloud.tables.projects}:
        if project_id == call.project_id or call.token.is_admin:
            call.cloud.security_groups.default(project_id)


def _rules_of(cloud: Cloud, group: SecurityGroup) -> list[dict[str, Any]]:
    shown = [field for field in SECURITY_GROUP_RULES.all_fields if not field.hidden]
    return [
        {field.name: field.show(cloud, rule) for field in shown} for rule in cloud.security_groups.rules_of(group.id)
    ]


SECURITY_GROUPS = Resource[SecurityGroup](
    member="security_group",
    collection="security_groups",
    path="/security-groups",
    table=lambda tables: tables.security_groups,
    fields=(
        Field("stateful", FLAG, access="cu"),
        Field("shared", FLAG),
        computed("security_group_rules", _rules_of),
    ),
    create=_create_group,
    update=_update_group,
    delete=_delete_group,
    before_list=_make_default,
    truth=Truth(
        real=(
            "Packets that no rule of a port's groups lets pass are dropped where its bridge forwards, outside of the "
            "server; connections are tracked, or not where a group is stateless.",
            "A rule that is deleted ends the connections that only it allowed.",
        ),
        simplified=(
            "What a port chain steers does not pass the groups of the chain's ports: switch their port security off.",
        ),
        refused=("Where the kernel module br_netfilter is not loaded, servers with secured ports do not start.",),
    ),
)


# rules

PROTOCOL_NAME = {"type": "string", "format": "ip-protocol"}


def _read_protocol(value: Any) -> str | None:
    """A protocol's name in lower case, or its number; null, `any` and -1 mean any."""
    text = str(value).lower() if value is not None and not isinstance(value, bool) else ""
    return None if text in ("", "any", "-1") else text


def _read_number(value: Any) -> int:
    try:
        number = int(value)
    except (TypeError, ValueError):
        raise ValueError(f"Invalid value for port {value}") from None
    if isinstance(value, bool | float) or not 0 <= number <= 65535:
        raise ValueError(f"Invalid value for port {value}")
    return number


async def _create_rule(call: Call, values: Values) -> SecurityGroupRule:
    for name in ("security_group_id", "remote_group_id"):
        if group_id := values.get(name):
            visible_group(call, group_id)
    group = visible_group(call, values["security_group_id"])
    if group.project_id != call.project_id:
        call.require_admin("create_security_group_rule")
    rule = SecurityGroupRule(**{**values, "project_id": group.project_id})
    await call.cloud.security_groups.add_rules([rule])
    return rule


async def _delete_rule(call: Call, rule: SecurityGroupRule) -> None:
    await call.cloud.security_groups.delete_rule(rule.id)


def _is_default(cloud: Cloud, rule: SecurityGroupRule) -> bool:
    return cloud.tables.security_groups.get(rule.security_group_id).name == DEFAULT_GROUP


SECURITY_GROUP_RULES = Resource[SecurityGroupRule](
    member="security_group_rule",
    collection="security_group_rules",
    path="/security-group-rules",
    table=lambda tables: tables.security_group_rules,
    fields=(
        Field("name", hidden=True),
        Field("security_group_id", TEXT, access="c", required=True),
        Field("direction", one_of("ingress", "egress"), access="c", required=True),
        Field("ethertype", one_of("IPv4", "IPv6"), access="c"),
        Field("protocol", Kind(_read_protocol, schema=either(PROTOCOL_NAME, number(0, 255), NOTHING)), access="c"),
        Field("port_range_min", or_none(Kind(_read_number, schema=number(0, 65535))), access="c"),
        Field("port_range_max", or_none(Kind(_read_number, schema=number(0, 65535))), access="c"),
        Field("remote_ip_prefix", or_none(PREFIX), access="c"),
        Field("remote_group_id", or_none(TEXT, ""), access="c"),
        Field("remote_address_group_id", or_none(TEXT, ""), access="c"),
        computed("normalized_cidr", lambda _cloud, rule: normalised(rule)),
        computed("belongs_to_default_sg", _is_default),
    ),
    create=_create_rule,
    delete=_delete_rule,
    truth=Truth(
        real=(
            "all of IPv4 and IPv6 by protocol, ports or ICMP type, and remote prefix, group or address "
            "group; groups follow their members",
        ),
    ),
)


def visible_group(call: Call, group_id: str) -> SecurityGroup:
    """A group that the caller may use.

    Raises:
        NoSuch: there is none.
    """
    group = call.cloud.tables.security_groups.get(group_id)
    if not call.sees(group):
        raise NoSuch("SecurityGroup", group_id)
    return group


# groups of addresses


def _read_prefixes(value: Any) -> tuple[Prefix, ...]:
    if not isinstance(value, list):
        raise ValueError(f"'{value}' is not a list.")
    return tuple(dict.fromkeys(map(read_prefix, value)))


PREFIXES = Kind(_read_prefixes, lambda prefixes: [str(one) for one in prefixes], many(dict(CIDR.schema)))
ADDRESSES = record({"addresses": dict(PREFIXES.schema)}, ["addresses"])


async def _create_addresses(call: Call, values: Values) -> AddressGroup:
    return await call.cloud.security_groups.create_addresses(AddressGroup(**values))


async def _update_addresses(call: Call, group: AddressGroup, values: Values) -> AddressGroup:
    return await call.cloud.security_groups.change_addresses(group.id, **values)


async def _delete_addresses(call: Call, group: AddressGroup) -> None:
    await call.cloud.security_groups.delete_addresses(group.id)


ADDRESS_GROUPS = Resource[AddressGroup](
    member="address_group",
    collection="address_groups",
    path="/address-groups",
    table=lambda tables: tables.address_groups,
    fields=(Field("addresses", PREFIXES, access="c"), Field("shared", FLAG)),
    create=_create_addresses,
    update=_update_addresses,
    delete=_delete_addresses,
    truth=Truth(
        real=("the remote side of rules; a change reaches running servers",),
    ),
)
RESOURCES: tuple[Resource[Any], ...] = (SECURITY_GROUPS, SECURITY_GROUP_RULES, ADDRESS_GROUPS)


def register(routes: Routes) -> None:
    """Add the routes beyond the resources' own."""
    routes.add("PUT", "/v2.0/address-groups/{id}/add_addresses", _add_addresses, body=ADDRESSES)
    routes.add("PUT", "/v2.0/address-groups/{id}/remove_addresses", _remove_addresses, body=ADDRESSES)


async def _add_addresses(call: Call) -> Reply:
    group, given = await _addresses_given(call)
    return await _with_addresses(call, group, (*group.addresses, *given))


async def _remove_addresses(call: Call) -> Reply:
    group, given = await _addresses_given(call)
    return await _with_addresses(call, group, (one for one in group.addresses if one not in given))


async def _addresses_given(call: Call) -> tuple[AddressGroup, tuple[Prefix, ...]]:
    group = call.cloud.tables.address_groups.get(call.params["id"])
    if not call.sees(group):
        raise NoSuch("AddressGroup", group.id)
    fields = (Field("addresses", PREFIXES, access="u"),)
    return group, read_fields(fields, await call.json(), "u").get("addresses", ())


async def _with_addresses(call: Call, group: AddressGroup, addresses: Iterable[Prefix]) -> Reply:
    kept = tuple(dict.fromkeys(addresses))
    changed = await call.cloud.security_groups.change_addresses(group.id, addresses=kept)
    return json_reply({"address_group": Service(ADDRESS_GROUPS).document(call, changed)})


# what ports say


def _read_pairs(value: Any) -> tuple[dict[str, str], ...]:
    if not isinstance(value, list) or not all(isinstance(pair, dict) and "ip_address" in pair for pair in value):
        raise ValueError("AllowedAddressPair must contain ip_address")
    if len(value) > MOST_PAIRS:
        raise ValueError(f"The number of allowed address pair exceeds the maximum {MOST_PAIRS}.")
    pairs = tuple(_read_pair(pair) for pair in value)
    if any(pair in pairs[:index] for index, pair in enumerate(pairs)):
        raise ValueError("Request contains duplicate address pair")
    return pairs


def _read_pair(pair: dict[str, Any]) -> dict[str, str]:
    if unknown := pair.keys() - {"ip_address", "mac_address"}:
        raise ValueError(f"Unrecognized attribute(s) '{', '.join(sorted(unknown))}'")
    read_prefix(pair["ip_address"])
    mac = {"mac_address": MAC.read(pair["mac_address"])} if pair.get("mac_address") else {}
    return {"ip_address": str(pair["ip_address"]), **mac}


def _show_pairs(cloud: Cloud, port: Port) -> list[dict[str, str]]:
    return [{"mac_address": port.mac, **pair} for pair in port.allowed_address_pairs]


PAIR = record({"ip_address": dict(CIDR.schema), "mac_address": dict(MAC.schema)}, ["ip_address"])
PORT_FIELDS = (
    Field("port_security_enabled", FLAG, attr="port_security", access="cu"),
    Field("allowed_address_pairs", or_none(Kind(_read_pairs, list, many(PAIR)), ()), access="cu", computed=_show_pairs),
)


def secure_new(call: Call, values: Values) -> None:
    """Complete the values of a new port: groups and port security are the network's, unless something is said.

    Raises:
        PortSecurityAndIPRequiredForSecurityGroups: groups are wanted on an open port.
        AddressPairAndPortSecurityRequired: so are address pairs.
        NoSuch: a group does not exist.
    """
    network = call.cloud.tables.networks.get(values["network_id"])
    secured = values.setdefault("port_security", network.port_security)
    wanted = values.get("security_groups")
    _refuse_open(secured, wanted or (), values.get("allowed_address_pairs", ()))
    if not secured or (wanted is None and str(values.get("device_owner", "")).startswith("network:")):
        values["security_groups"] = ()
    else:
        values["security_groups"] = _groups(call, wanted, values["project_id"])


def secure_changed(call: Call, port: Port, values: Values) -> None:
    """Check what a port's update says of its groups.

    Raises:
        PortSecurityPortHasSecurityGroup: port security is to go while groups stay.
        PortSecurityAndIPRequiredForSecurityGroups: groups are wanted on an open port.
        AddressPairAndPortSecurityRequired: so are address pairs.
        NoSuch: a group does not exist.
    """
    secured = values.get("port_security", port.port_security)
    wanted = values.get("security_groups")
    if not secured and wanted is None and port.security_groups:
        raise PortSecurityPortHasSecurityGroup(
            "Port has security group associated. Cannot disable port security or IP address until security group is "
            "removed."
        )
    _refuse_open(secured, wanted or (), values.get("allowed_address_pairs", port.allowed_address_pairs))
    if wanted is not None:
        values["security_groups"] = _groups(call, wanted, port.project_id)


def _refuse_open(secured: bool, groups: Iterable[str], pairs: Iterable[Any]) -> None:
    if secured:
        return
    if tuple(groups):
        raise PortSecurityAndIPRequiredForSecurityGroups(
            "Port security must be enabled and port must have an IP address in order to use security groups."
        )
    if tuple(pairs):
        raise AddressPairAndPortSecurityRequired(
            "Port Security must be enabled in order to have allowed address pairs on a port."
        )


def _groups(call: Call, wanted: Iterable[str] | None, project_id: str) -> tuple[str, ...]:
    known = None if wanted is None else [visible_group(call, group_id).id for group_id in wanted]
    return call.cloud.security_groups.of_port(known, project_id)
