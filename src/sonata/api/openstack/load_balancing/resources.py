"""Load balancers, listeners, pools, members, health monitors, policies and rules, declared field by field.

Source: OpenStack Load Balancer API v2 reference.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, TypeVar

from sonata.api.openstack.call import Call
from sonata.api.openstack.fields import ADDRESS, CIDR, FLAG, Field, Kind, computed, constant, integer, one_of, or_none
from sonata.api.openstack.load_balancing.kinds import (
    COOKIE,
    DOMAIN,
    EXPECTED_CODES,
    HEADER_WISHES,
    HTTP_VERSION,
    LINE,
    PATH,
    PERSISTENCE,
    SECONDS,
    STANDARD,
    TIMEOUT,
    TOKEN,
    URL,
    matching,
    only,
    unused,
    with_default,
)
from sonata.api.openstack.resource import Resource, Values
from sonata.api.openstack.schemas import many
from sonata.api.openstack.topic import Truth
from sonata.emulator.cloud import Cloud
from sonata.emulator.cloud.causes import NoSuch
from sonata.emulator.cloud.entities.base import Entity
from sonata.emulator.cloud.entities.load_balancing import (
    HealthMonitor,
    L7Policy,
    L7Rule,
    Listener,
    LoadBalancer,
    Member,
    Pool,
)
from sonata.emulator.cloud.load_balancing.balancers import VipWish
from sonata.emulator.cloud.load_balancing.causes import Invalid
from sonata.emulator.cloud.tables import Table
from sonata.errors import InvalidInput

E = TypeVar("E", bound=Entity)
BASE = "/v2/lbaas"
ALGORITHM = one_of("ROUND_ROBIN", "LEAST_CONNECTIONS", "SOURCE_IP", "SOURCE_IP_PORT")
NO_KEYS = "there is no key manager in this cloud"
NO_QOS = "the VIP's port has no QoS policy of its own"
PORT_NUMBER = integer(1, 65535)


def seen(call: Call, table: Table[E], wanted: str) -> E:
    """An entity that the caller may see.

    Raises:
        NoSuch: there is none for this caller.
    """
    entity = table.get(wanted)
    if not call.sees(entity):
        raise NoSuch(table.kind, wanted)
    return entity


def made(kind: Callable[..., E], values: Values) -> E:
    """An entity of the values that a body had; those that are always the same reach none."""
    return kind(**kept(values))


def kept(values: Values) -> Values:
    """Values without those that are always the same here."""
    return {name: value for name, value in values.items() if not name.startswith("unused_")}


def ids(entities: Any) -> list[dict[str, str]]:
    """References to entities as the API shows them."""
    return [{"id": entity.id} for entity in entities]


# load balancers


async def _create_balancer(call: Call, values: Values) -> LoadBalancer:
    values = kept(values)
    wish = VipWish(
        values.pop("vip_network_id", None) or "",
        values.pop("vip_subnet_id", None) or "",
        values.pop("vip_port_id", None) or "",
        values.pop("vip_address", None),
    )
    _check_vip(call, wish)
    if (zone := values.get("availability_zone")) not in (None, "nova"):
        raise Invalid(f"Availability zone {zone} does not exist; there is `nova`.")
    if flavor_id := values.get("flavor_id"):
        flavor = call.cloud.tables.lb_flavors.peek(flavor_id)
        if flavor is None or not flavor.enabled:
            raise Invalid(f"Flavor {flavor_id} does not exist or is not enabled.")
    return call.cloud.load_balancing.balancers.create(values.pop("project_id"), wish, values)


def _check_vip(call: Call, wish: VipWish) -> None:
    """Refuse what the caller may not see, in Octavia's words."""
    tables = call.cloud.tables
    named: tuple[tuple[Table[Any], str], ...] = (
        (tables.networks, wish.network_id),
        (tables.subnets, wish.subnet_id),
        (tables.ports, wish.port_id),
    )
    for table, wanted in named:
        found = table.peek(wanted) if wanted else None
        if wanted and (found is None or not call.sees(found)):
            raise Invalid(f"{table.kind} {wanted} not found.")


async def _update_balancer(call: Call, balancer: LoadBalancer, values: Values) -> LoadBalancer:
    return call.cloud.load_balancing.balancers.update(balancer.id, **kept(values))


async def _delete_balancer(call: Call, balancer: LoadBalancer) -> None:
    cascade = call.first("cascade").lower() in ("true", "1")
    call.cloud.load_balancing.balancers.delete(balancer.id, cascade=cascade)


BALANCERS = Resource[LoadBalancer](
    member="loadbalancer",
    collection="loadbalancers",
    path="/loadbalancers",
    base=BASE,
    table=lambda tables: tables.load_balancers,
    standard=STANDARD,
    tag_routes=False,
    fields=(
        Field("vip_address", or_none(ADDRESS), access="c"),
        Field("vip_subnet_id", or_none(LINE), access="c"),
        Field("vip_network_id", or_none(LINE), access="c"),
        Field("vip_port_id", or_none(LINE), access="c"),
        Field("provider", or_none(LINE), access="c"),
        Field("flavor_id", or_none(LINE), access="c"),
        Field("availability_zone", or_none(LINE), access="c"),
        unused("vip_qos_policy_id", None, NO_QOS),
        unused("vip_sg_ids", [], "clients are limited by a listener's allowed_cidrs"),
        unused("additional_vips", [], "a load balancer has one VIP"),
        constant("vip_vnic_type", "normal"),
        computed("listeners", lambda cloud, one: ids(_of_balancer(cloud.tables.listeners, one.id))),
        computed("pools", lambda cloud, one: ids(_of_balancer(cloud.tables.pools, one.id))),
    ),
    create=_create_balancer,
    update=_update_balancer,
    delete=_delete_balancer,
    truth=Truth(
        real=(
            "each has a VIP port and an appliance of its own; floating IPs lead to it; packets are balanced",
            "`provisioning_status` is PENDING until the provider has done it, and changes meanwhile answer 409",
            "`operating_status` and statistics come from the provider; failover builds the appliance anew",
        ),
        refused=("QoS policies and security groups of VIPs, additional VIPs (400)",),
    ),
)


def _of_balancer(table: Any, balancer_id: str) -> list[Any]:
    return [one for one in table if one.load_balancer_id == balancer_id]


# listeners


async def _create_listener(call: Call, values: Values) -> Listener:
    tables = call.cloud.tables
    values["project_id"] = seen(call, tables.load_balancers, values["load_balancer_id"]).project_id
    if values.get("default_pool_id"):
        seen(call, tables.pools, values["default_pool_id"])
    _check_certificates(values)
    return call.cloud.load_balancing.listeners.create(made(Listener, values))


def _check_certificates(values: Values) -> None:
    """There is no key manager, so that nothing can be terminated; told as Octavia tells it."""
    references = values.pop("certificate", None), *(values.pop("certificates", None) or ())
    wanted = [one for one in references if one]
    if wanted:
        raise InvalidInput(f"Could not retrieve certificate: {wanted} ({NO_KEYS})")
    if values.get("protocol") == "TERMINATED_HTTPS":
        raise Invalid(
            "An SNI or default certificate container reference must be provided with protocol TERMINATED_HTTPS."
        )


async def _update_listener(call: Call, listener: Listener, values: Values) -> Listener:
    if values.get("default_pool_id"):
        seen(call, call.cloud.tables.pools, values["default_pool_id"])
    _check_certificates(values)
    return call.cloud.load_balancing.listeners.update(listener.id, kept(values))


async def _delete_listener(call: Call, listener: Listener) -> None:
    call.cloud.load_balancing.listeners.delete(listener.id)


def _read_references(value: Any) -> tuple[str, ...]:
    if value in (None, []):
        return ()
    if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
        raise ValueError(f"'{value}' is not a list of references.")
    return tuple(value)


def _read_networks(value: Any) -> Any:
    if not value:
        return None
    if not isinstance(value, list):
        raise ValueError(f"'{value}' is not a list.")
    return tuple(CIDR.read(one) for one in value)


NETWORKS = Kind(_read_networks, lambda value: [str(one) for one in value] if value else None, many(dict(CIDR.schema)))

LISTENERS = Resource[Listener](
    member="listener",
    collection="listeners",
    path="/listeners",
    base=BASE,
    table=lambda tables: tables.listeners,
    standard=STANDARD,
    tag_routes=False,
    fields=(
        Field("loadbalancer_id", LINE, attr="load_balancer_id", access="c", required=True, hidden=True),
        computed("loadbalancers", lambda _cloud, one: [{"id": one.load_balancer_id}]),
        Field(
            "protocol",
            one_of("HTTP", "HTTPS", "TCP", "TERMINATED_HTTPS", "UDP", "SCTP", "PROMETHEUS"),
            access="c",
            required=True,
        ),
        Field("protocol_port", PORT_NUMBER, access="c", required=True),
        Field("connection_limit", with_default(integer(-1, 2**31 - 1), -1), access="cu"),
        Field("default_pool_id", or_none(LINE), access="cu"),
        Field("insert_headers", HEADER_WISHES, access="cu", computed=lambda _cloud, one: dict(one.insert_headers)),
        Field("allowed_cidrs", NETWORKS, access="cu"),
        Field("timeout_client_data", with_default(TIMEOUT, 50_000), access="cu"),
        Field("timeout_member_connect", with_default(TIMEOUT, 5_000), access="cu"),
        Field("timeout_member_data", with_default(TIMEOUT, 50_000), access="cu"),
        Field("timeout_tcp_inspect", with_default(TIMEOUT, 0), access="cu"),
        Field("default_tls_container_ref", or_none(LINE), attr="certificate", access="cu", computed=lambda *_: None),
        Field("sni_container_refs", Kind(_read_references), attr="certificates", access="cu", computed=lambda *_: []),
        unused("client_ca_tls_container_ref", None, NO_KEYS),
        unused("client_crl_container_ref", None, NO_KEYS),
        unused("client_authentication", "NONE", NO_KEYS),
        unused("tls_ciphers", None, NO_KEYS),
        unused("tls_versions", None, NO_KEYS),
        unused("alpn_protocols", None, NO_KEYS),
        unused("hsts_max_age", None, NO_KEYS),
        unused("hsts_include_subdomains", False, NO_KEYS),
        unused("hsts_preload", False, NO_KEYS),
        computed("l7policies", lambda cloud, one: ids(p for p in cloud.tables.l7policies if p.listener_id == one.id)),
    ),
    create=_create_listener,
    update=_update_listener,
    delete=_delete_listener,
    truth=Truth(
        real=(
            "HTTP, HTTPS passthrough and TCP with the provider `haproxy`; limits, timeouts, inserted headers, "
            "`allowed_cidrs`, default pool",
        ),
        refused=("TERMINATED_HTTPS and everything else that needs certificates: there is no key manager (400)",),
    ),
)


# pools


async def _create_pool(call: Call, values: Values) -> Pool:
    tables = call.cloud.tables
    listener_id = values.pop("listener_id", None) or ""
    balancer_id = values.pop("load_balancer_id", None) or ""
    if not listener_id and not balancer_id:
        raise InvalidInput("Must provide at least one of: loadbalancer_id, listener_id")
    if listener_id:
        own = seen(call, tables.listeners, listener_id).load_balancer_id
        if balancer_id not in ("", own):
            raise Invalid(f"Listener {listener_id} belongs to another load balancer.")
        balancer_id = own
    values["project_id"] = seen(call, tables.load_balancers, balancer_id).project_id
    return call.cloud.load_balancing.pools.create(made(Pool, {**values, "load_balancer_id": balancer_id}), listener_id)


async def _update_pool(call: Call, pool: Pool, values: Values) -> Pool:
    return call.cloud.load_balancing.pools.update(pool.id, kept(values))


async def _delete_pool(call: Call, pool: Pool) -> None:
    call.cloud.load_balancing.pools.delete(pool.id)


def _monitor_of(cloud: Cloud, pool: Pool) -> str | None:
    return next((one.id for one in cloud.tables.health_monitors if one.pool_id == pool.id), None)


def _listeners_of(cloud: Cloud, pool: Pool) -> list[dict[str, str]]:
    return ids(one for one in cloud.tables.listeners if one.default_pool_id == pool.id)


POOLS = Resource[Pool](
    member="pool",
    collection="pools",
    path="/pools",
    base=BASE,
    table=lambda tables: tables.pools,
    standard=STANDARD,
    tag_routes=False,
    fields=(
        Field("loadbalancer_id", or_none(LINE), attr="load_balancer_id", access="c", hidden=True),
        Field("listener_id", or_none(LINE), access="c", hidden=True),
        computed("loadbalancers", lambda _cloud, one: [{"id": one.load_balancer_id}]),
        computed("listeners", _listeners_of),
        Field("protocol", one_of("HTTP", "HTTPS", "PROXY", "PROXYV2", "TCP", "UDP", "SCTP"), access="c", required=True),
        Field("lb_algorithm", ALGORITHM, access="cu", required=True),
        Field("session_persistence", PERSISTENCE, access="cu"),
        computed("members", lambda cloud, one: ids(m for m in cloud.tables.members if m.pool_id == one.id)),
        computed("healthmonitor_id", _monitor_of),
        unused("tls_enabled", False, NO_KEYS),
        unused("tls_container_ref", None, NO_KEYS),
        unused("ca_tls_container_ref", None, NO_KEYS),
        unused("crl_container_ref", None, NO_KEYS),
        unused("tls_ciphers", None, NO_KEYS),
        unused("tls_versions", None, NO_KEYS),
        unused("alpn_protocols", None, NO_KEYS),
    ),
    create=_create_pool,
    update=_update_pool,
    delete=_delete_pool,
    truth=Truth(
        real=("algorithms and session persistence; members, weights, backup members; PROXY protocol towards members",),
        refused=("TLS towards members (400); what a provider cannot do (501)",),
    ),
)


# members


def _pool(call: Call) -> Pool:
    return seen(call, call.cloud.tables.pools, call.params["pool_id"])


def _of_pool(call: Call) -> Callable[[Member], bool]:
    pool_id = _pool(call).id
    return lambda member: member.pool_id == pool_id


def member_of(call: Call, values: Values) -> Member:
    """A new member of the path's pool."""
    if subnet_id := values.get("subnet_id"):
        subnet = call.cloud.tables.subnets.peek(subnet_id)
        if subnet is None or not call.sees(subnet):
            raise Invalid(f"Subnet {subnet_id} not found.")
    pool = _pool(call)
    return made(Member, {**values, "pool_id": pool.id, "project_id": pool.project_id})


async def _create_member(call: Call, values: Values) -> Member:
    return call.cloud.load_balancing.members.create(member_of(call, values))


async def _update_member(call: Call, member: Member, values: Values) -> Member:
    return call.cloud.load_balancing.members.update(member.id, kept(values))


async def _delete_member(call: Call, member: Member) -> None:
    call.cloud.load_balancing.members.delete(member.id)


MEMBERS = Resource[Member](
    member="member",
    collection="members",
    path="/pools/{pool_id}/members",
    base=BASE,
    table=lambda tables: tables.members,
    standard=tuple(field for field in STANDARD if field.name != "description"),
    tag_routes=False,
    within=_of_pool,
    fields=(
        Field("address", ADDRESS, access="c", required=True),
        Field("protocol_port", PORT_NUMBER, access="c", required=True),
        Field("weight", with_default(integer(0, 256), 1), access="cu"),
        Field("backup", with_default(FLAG, False), access="cu"),
        Field("subnet_id", or_none(LINE), access="c"),
        Field("monitor_address", or_none(ADDRESS), access="cu"),
        Field("monitor_port", or_none(PORT_NUMBER), access="cu"),
        Field("request_sriov", only(False, "ports are virtual"), attr="unused_sriov", access="c", hidden=True),
        constant("vnic_type", "normal"),
    ),
    create=_create_member,
    update=_update_member,
    delete=_delete_member,
    truth=Truth(
        real=(
            "weights, backup, monitor address and port; a leg of the load balancer in the member's subnet; "
            "batch update",
        ),
    ),
)


# health monitors


async def _create_monitor(call: Call, values: Values) -> HealthMonitor:
    values["project_id"] = seen(call, call.cloud.tables.pools, values["pool_id"]).project_id
    if values["type"] in ("HTTP", "HTTPS"):
        values = {"http_method": "GET", "url_path": "/", "expected_codes": "200", **values}
    elif given := [name for name in ("http_method", "url_path", "expected_codes") if values.get(name)]:
        raise Invalid(f"{', '.join(given)} cannot be given with a health monitor of type {values['type']}.")
    _check_domain(values.get("domain_name"), values.get("http_version"))
    return call.cloud.load_balancing.health_monitors.create(made(HealthMonitor, values))


def _check_domain(domain: str | None, version: float | None) -> None:
    if domain and version != 1.1:
        raise Invalid("http_version 1.1 is needed for domain_name.")


async def _update_monitor(call: Call, monitor: HealthMonitor, values: Values) -> HealthMonitor:
    _check_domain(values.get("domain_name", monitor.domain_name), values.get("http_version", monitor.http_version))
    return call.cloud.load_balancing.health_monitors.update(monitor.id, kept(values))


async def _delete_monitor(call: Call, monitor: HealthMonitor) -> None:
    call.cloud.load_balancing.health_monitors.delete(monitor.id)


METHOD = one_of("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "CONNECT", "TRACE")

HEALTH_MONITORS = Resource[HealthMonitor](
    member="healthmonitor",
    collection="healthmonitors",
    path="/healthmonitors",
    base=BASE,
    table=lambda tables: tables.health_monitors,
    standard=tuple(field for field in STANDARD if field.name != "description"),
    tag_routes=False,
    fields=(
        Field("pool_id", LINE, access="c", required=True, hidden=True),
        computed("pools", lambda _cloud, one: [{"id": one.pool_id}]),
        Field(
            "type",
            one_of("HTTP", "HTTPS", "PING", "SCTP", "TCP", "TLS-HELLO", "UDP-CONNECT"),
            access="c",
            required=True,
        ),
        Field("delay", SECONDS, access="cu", required=True),
        Field("timeout", SECONDS, access="cu", required=True),
        Field("max_retries", integer(1, 10), access="cu", required=True),
        Field("max_retries_down", with_default(integer(1, 10), 3), access="cu"),
        Field("http_method", or_none(METHOD), access="cu"),
        Field("url_path", or_none(matching(PATH, "a path")), access="cu"),
        Field("expected_codes", or_none(EXPECTED_CODES), access="cu"),
        Field("http_version", or_none(HTTP_VERSION), access="cu"),
        Field("domain_name", or_none(matching(DOMAIN, "a domain name")), access="cu"),
    ),
    create=_create_monitor,
    update=_update_monitor,
    delete=_delete_monitor,
    truth=Truth(real=("members are probed by the provider, and those that fail get no connection",)),
)


# policies and rules


TARGETS = {
    "REDIRECT_TO_POOL": "redirect_pool_id",
    "REDIRECT_TO_URL": "redirect_url",
    "REDIRECT_PREFIX": "redirect_prefix",
}


def _checked_policy(call: Call, values: Values, action: str) -> Values:
    """Exactly what the action needs leads somewhere; the rest is empty."""
    wanted = TARGETS.get(action)
    if wanted and not values.get(wanted):
        raise Invalid(f"{wanted} must be specified for action {action}.")
    if values.get("redirect_pool_id"):
        seen(call, call.cloud.tables.pools, values["redirect_pool_id"])
    others = {name: None for name in TARGETS.values() if name != wanted}
    code = values.get("redirect_http_code")
    if code and action not in ("REDIRECT_TO_URL", "REDIRECT_PREFIX"):
        raise Invalid(f"redirect_http_code is not valid for action {action}.")
    redirects = {"redirect_http_code": code or 302} if action in ("REDIRECT_TO_URL", "REDIRECT_PREFIX") else {}
    return {**values, **others, **redirects}


async def _create_policy(call: Call, values: Values) -> L7Policy:
    values["project_id"] = seen(call, call.cloud.tables.listeners, values["listener_id"]).project_id
    values = {"position": 2**31 - 1, **_checked_policy(call, values, values["action"])}
    return call.cloud.load_balancing.policies.create(made(L7Policy, values))


async def _update_policy(call: Call, policy: L7Policy, values: Values) -> L7Policy:
    action = values.get("action", policy.action)
    if "action" in values or set(values) & {*TARGETS.values(), "redirect_http_code"}:
        before = {name: getattr(policy, name) for name in (*TARGETS.values(), "redirect_http_code")}
        if "action" in values and values["action"] != policy.action:
            before["redirect_http_code"] = None
        values = {**_checked_policy(call, {**before, **values}, action), "action": action}
    return call.cloud.load_balancing.policies.update(policy.id, values)


async def _delete_policy(call: Call, policy: L7Policy) -> None:
    call.cloud.load_balancing.policies.delete(policy.id)


def _read_redirect_code(value: Any) -> int:
    if value not in (301, 302, 303, 307, 308) or isinstance(value, bool):
        raise ValueError(f"'{value}' is not in [301, 302, 303, 307, 308].")
    return int(value)


REDIRECT_CODE = Kind(_read_redirect_code, schema={"enum": [301, 302, 303, 307, 308]})
POLICIES = Resource[L7Policy](
    member="l7policy",
    collection="l7policies",
    path="/l7policies",
    base=BASE,
    table=lambda tables: tables.l7policies,
    standard=STANDARD,
    tag_routes=False,
    fields=(
        Field("listener_id", LINE, access="c", required=True),
        Field(
            "action",
            one_of("REDIRECT_TO_POOL", "REDIRECT_TO_URL", "REDIRECT_PREFIX", "REJECT"),
            access="cu",
            required=True,
        ),
        Field("position", with_default(integer(1, 2**31 - 1), 2**31 - 1), access="cu"),
        Field("redirect_pool_id", or_none(LINE), access="cu"),
        Field("redirect_url", or_none(matching(URL, "a valid URL")), access="cu"),
        Field("redirect_prefix", or_none(matching(URL, "a valid URL")), access="cu"),
        Field(
            "redirect_http_code",
            or_none(REDIRECT_CODE),
            access="cu",
        ),
        computed("rules", lambda cloud, one: ids(rule for rule in cloud.tables.l7rules if rule.l7policy_id == one.id)),
    ),
    create=_create_policy,
    update=_update_policy,
    delete=_delete_policy,
    truth=Truth(real=("all actions and positions; rules by host, path, file type, header and cookie",)),
)


def _policy(call: Call) -> L7Policy:
    return seen(call, call.cloud.tables.l7policies, call.params["l7policy_id"])


def _of_policy(call: Call) -> Callable[[L7Rule], bool]:
    policy_id = _policy(call).id
    return lambda rule: rule.l7policy_id == policy_id


def _check_rule(values: Values) -> None:
    kind, compare, key = values["type"], values["compare_type"], values.get("key")
    if kind.startswith("SSL_"):
        raise Invalid(f"rules of type {kind} need a TERMINATED_HTTPS listener: {NO_KEYS}.")
    if kind in ("HEADER", "COOKIE"):
        pattern = TOKEN if kind == "HEADER" else COOKIE
        if not key or not pattern.fullmatch(key):
            raise Invalid(f"A rule of type {kind} needs a key that is a {kind.lower()} name.")
    elif key:
        raise Invalid(f"A rule of type {kind} has no key.")
    if kind == "FILE_TYPE" and compare not in ("EQUAL_TO", "REGEX"):
        raise Invalid(f"A rule of type FILE_TYPE compares by EQUAL_TO or REGEX, not {compare}.")
    if compare == "REGEX" and "value" in values:
        _check_regex(values["value"])


def _check_regex(text: str) -> None:
    try:
        re.compile(text)
    except re.error as error:
        raise Invalid(f"'{text}' is not a valid regular expression: {error}.") from None


async def _create_rule(call: Call, values: Values) -> L7Rule:
    policy = _policy(call)
    _check_rule(values)
    values = {**values, "l7policy_id": policy.id, "project_id": policy.project_id}
    return call.cloud.load_balancing.policies.create_rule(made(L7Rule, values))


async def _update_rule(call: Call, rule: L7Rule, values: Values) -> L7Rule:
    _check_rule({"type": rule.type, "compare_type": rule.compare_type, "key": rule.key, **values})
    return call.cloud.load_balancing.policies.update_rule(rule.id, kept(values))


async def _delete_rule(call: Call, rule: L7Rule) -> None:
    call.cloud.load_balancing.policies.delete_rule(rule.id)


RULE_TYPES = one_of(
    "HOST_NAME", "PATH", "FILE_TYPE", "HEADER", "COOKIE", "SSL_CONN_HAS_CERT", "SSL_VERIFY_RESULT", "SSL_DN_FIELD"
)

RULES = Resource[L7Rule](
    member="rule",
    collection="rules",
    path="/l7policies/{l7policy_id}/rules",
    base=BASE,
    table=lambda tables: tables.l7rules,
    standard=tuple(field for field in STANDARD if field.name not in ("description", "name")),
    tag_routes=False,
    within=_of_policy,
    fields=(
        Field("type", RULE_TYPES, access="cu", required=True),
        Field(
            "compare_type",
            one_of("REGEX", "STARTS_WITH", "ENDS_WITH", "CONTAINS", "EQUAL_TO"),
            access="cu",
            required=True,
        ),
        Field("key", or_none(LINE), access="cu"),
        Field("value", LINE, access="cu", required=True),
        Field("invert", with_default(FLAG, False), access="cu"),
    ),
    create=_create_rule,
    update=_update_rule,
    delete=_delete_rule,
    truth=Truth(
        real=("host, path, file type, header, cookie; inverted or not",),
        refused=("rules on TLS certificates",),
    ),
)

RESOURCES: tuple[Resource[Any], ...] = (BALANCERS, LISTENERS, POOLS, MEMBERS, HEALTH_MONITORS, POLICIES, RULES)
