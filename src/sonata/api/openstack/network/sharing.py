"""Subnet pools, address scopes and RBAC policies, declared field by field.

Source: OpenStack Networking API v2.0 reference.
"""

from __future__ import annotations

from typing import Any

from sonata.api.openstack.call import Call
from sonata.api.openstack.fields import CIDR, FLAG, IP_VERSION, TEXT, Field, Kind, computed, integer, one_of, or_none
from sonata.api.openstack.reply import Reply, json_reply
from sonata.api.openstack.resource import Resource, Service, Values
from sonata.api.openstack.routing import Routes
from sonata.api.openstack.schemas import ID, record
from sonata.api.openstack.topic import Truth
from sonata.emulator.cloud.causes import NoSuch
from sonata.emulator.cloud.entities.network import AddressScope, RbacPolicy, SubnetPool
from sonata.emulator.cloud.network.pools import LONGEST


def _read_prefixes(value: Any) -> tuple[Any, ...]:
    if not isinstance(value, list) or not value:
        raise ValueError(f"'{value}' is not a list of prefixes.")
    return tuple(sorted(map(CIDR.read, value), key=lambda prefix: (prefix.version, int(prefix.network_address))))


PREFIXES = Kind(
    _read_prefixes, lambda prefixes: [str(prefix) for prefix in prefixes], {"type": "array", "items": dict(CIDR.schema)}
)
LENGTH = integer(0, 128)
SMALLEST = {4: 8, 6: 64}


async def _create_pool(call: Call, values: Values) -> SubnetPool:
    shared = values.pop("shared", False)
    if shared or values.get("is_default"):
        call.require_admin("create_subnetpool:shared or is_default")
    version = values["prefixes"][0].version
    low = values.setdefault("min_prefixlen", SMALLEST[version])
    values.setdefault("max_prefixlen", LONGEST[version])
    values.setdefault("default_prefixlen", low)
    _require_scope(call, values.get("address_scope_id"))
    pool = call.cloud.subnet_pools.create(SubnetPool(ip_version=version, **values))
    call.cloud.rbac.share("subnetpool", pool, shared=shared)
    return call.cloud.tables.subnet_pools.get(pool.id)


async def _update_pool(call: Call, pool: SubnetPool, values: Values) -> SubnetPool:
    if "is_default" in values:
        call.require_admin("update_subnetpool:is_default")
    _require_scope(call, values.get("address_scope_id"))
    if "prefixes" in values:
        kept = [one for one in pool.prefixes if not any(one.overlaps(new) for new in values["prefixes"])]
        values["prefixes"] = _read_prefixes([str(prefix) for prefix in (*kept, *values["prefixes"])])
    changed = call.cloud.subnet_pools.update(pool.id, **values)
    if changed.address_scope_id != pool.address_scope_id:
        await call.cloud.routers.follow_scopes()
    return changed


async def _delete_pool(call: Call, pool: SubnetPool) -> None:
    call.cloud.subnet_pools.delete(pool.id)
    call.cloud.rbac.forget(pool.id)


def _require_scope(call: Call, scope_id: str | None) -> None:
    if scope_id and not call.sees(call.cloud.tables.address_scopes.get(scope_id)):
        raise NoSuch("AddressScope", scope_id)


SUBNET_POOLS = Resource[SubnetPool](
    member="subnetpool",
    collection="subnetpools",
    path="/subnetpools",
    table=lambda tables: tables.subnet_pools,
    fields=(
        Field("name", TEXT, access="cu", required=True),
        Field("prefixes", PREFIXES, access="cu", required=True),
        computed("ip_version", lambda _cloud, pool: pool.ip_version),
        Field("default_prefixlen", LENGTH, access="cu"),
        Field("min_prefixlen", LENGTH, access="cu"),
        Field("max_prefixlen", LENGTH, access="cu"),
        Field("default_quota", or_none(integer(0, 2**31 - 1)), access="cu"),
        Field("address_scope_id", or_none(TEXT), access="cu"),
        Field("shared", FLAG, access="c"),
        Field("is_default", FLAG, access="cu"),
    ),
    create=_create_pool,
    update=_update_pool,
    delete=_delete_pool,
    truth=Truth(
        real=(
            "prefixes, bounds and quota hold for each subnet that is cut from a pool; default pools; onboarding of "
            "subnets, those of the external network among them",
        ),
        refused=("prefix delegation (400)",),
    ),
)


ONBOARD = record({"network_id": ID}, ["network_id"])


async def _onboard(call: Call) -> Reply:
    """PUT of a network whose subnets are to be a pool's."""
    pool = Service(SUBNET_POOLS).own(call)
    network_id = str((await call.json()).get("network_id") or "")
    network = call.cloud.tables.networks.get(network_id)
    if network.project_id != call.project_id:
        call.require_admin("onboard_network_subnets of a network of another project")
    subnets = call.cloud.subnet_pools.onboard(pool.id, network.id)
    await call.cloud.routers.follow_scopes()
    return json_reply([{"id": subnet.id, "cidr": str(subnet.cidr)} for subnet in subnets])


def register(routes: Routes) -> None:
    """Add what the resources do not declare."""
    routes.add("PUT", "/v2.0/subnetpools/{id}/onboard_network_subnets", _onboard, body=ONBOARD)


async def _create_scope(call: Call, values: Values) -> AddressScope:
    shared = values.pop("shared", False)
    if shared:
        call.require_admin("create_address_scope:shared")
    scope = call.cloud.subnet_pools.create_scope(AddressScope(**values))
    call.cloud.rbac.share("address_scope", scope, shared=shared)
    return call.cloud.tables.address_scopes.get(scope.id)


async def _update_scope(call: Call, scope: AddressScope, values: Values) -> AddressScope:
    if "shared" in values:
        call.require_admin("update_address_scope:shared")
        shared = values.pop("shared")
        call.cloud.subnet_pools.update_scope(scope.id, shared=scope.shared and shared)
        call.cloud.rbac.share("address_scope", scope, shared=shared)
    return call.cloud.subnet_pools.update_scope(scope.id, **values)


async def _delete_scope(call: Call, scope: AddressScope) -> None:
    call.cloud.subnet_pools.delete_scope(scope.id)
    call.cloud.rbac.forget(scope.id)


ADDRESS_SCOPES = Resource[AddressScope](
    member="address_scope",
    collection="address_scopes",
    path="/address-scopes",
    table=lambda tables: tables.address_scopes,
    fields=(
        Field("name", TEXT, access="cu", required=True),
        Field("ip_version", IP_VERSION, access="c", required=True),
        Field("shared", FLAG, access="cu"),
    ),
    create=_create_scope,
    update=_update_scope,
    delete=_delete_scope,
    truth=Truth(
        real=(
            "prefixes of a scope's pools never overlap",
            "routers forward between networks of different scopes, or of one and none, only what they translate: "
            "floating IPs, port forwardings, masqueraded sources",
            "sources in the scope of the external network are not masqueraded, and the PoP's router knows the way to "
            "them, so that endpoints of the PoP reach them by their own addresses",
        ),
    ),
)


async def _create_policy(call: Call, values: Values) -> RbacPolicy:
    entity = call.cloud.rbac.object_of(values["object_type"], values["object_id"])
    if not call.sees(entity):
        raise NoSuch(values["object_type"].title().replace("_", ""), entity.id)
    if entity.project_id != call.project_id:
        call.require_admin("create_rbac_policy on an object of another project")
    if values["target_project"] == "*":
        call.require_admin("create_rbac_policy:target_tenant")
    return call.cloud.rbac.create(RbacPolicy(**values))


async def _update_policy(call: Call, policy: RbacPolicy, values: Values) -> RbacPolicy:
    if values.get("target_project") == "*":
        call.require_admin("update_rbac_policy:target_tenant")
    return call.cloud.rbac.update(policy.id, **values)


async def _delete_policy(call: Call, policy: RbacPolicy) -> None:
    call.cloud.rbac.delete(policy.id)


RBAC_POLICIES = Resource[RbacPolicy](
    member="rbac_policy",
    collection="rbac_policies",
    path="/rbac-policies",
    table=lambda tables: tables.rbac_policies,
    fields=(
        Field("name", hidden=True),
        Field("description", hidden=True),
        Field("tags", hidden=True),
        Field("created_at", hidden=True),
        Field("updated_at", hidden=True),
        Field("object_type", TEXT, access="c", required=True),
        Field("object_id", TEXT, access="c", required=True),
        Field("action", one_of("access_as_shared", "access_as_external"), access="c", required=True),
        Field("target_tenant", TEXT, attr="target_project", access="cu", required=True),
    ),
    create=_create_policy,
    update=_update_policy,
    delete=_delete_policy,
    truth=Truth(
        real=("networks, security groups, QoS policies, subnet pools and address scopes are seen and used by others",),
        refused=("`access_as_external` of a project's network (501); taking back what is in use (409)",),
    ),
)
