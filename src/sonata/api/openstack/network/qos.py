"""Quality of service policies and their rules.

Source: OpenStack Networking API v2.0 reference, QoS.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from sonata._lib.values import dataclass
from sonata.api.openstack.call import Call
from sonata.api.openstack.fields import FLAG, Field, Kind, computed, integer, one_of, read_fields, schema_of
from sonata.api.openstack.listing import filtered
from sonata.api.openstack.reply import NO_CONTENT, Reply, json_reply
from sonata.api.openstack.resource import Resource, Values
from sonata.api.openstack.routing import Routes
from sonata.api.openstack.schemas import Schema, record
from sonata.api.openstack.topic import Truth
from sonata.emulator.cloud import Cloud
from sonata.emulator.cloud.causes import NoSuch
from sonata.emulator.cloud.entities.qos import BandwidthRule, MarkRule, QosPolicy, Rule
from sonata.emulator.cloud.network.causes import QosRuleNotSupported
from sonata.emulator.cloud.network.qos import type_of

EXTENSIONS = {
    "qos": "Quality of Service",
    "qos-bw-limit-direction": "Direction for QoS bandwidth limit rule",
    "qos-default": "QoS default policy",
    "qos-fip": "Floating IP QoS",
    "qos-gateway-ip": "Gateway IP QoS",
    "qos-rules-alias": "QoS rules alias",
    "qos-rule-type-details": "Details of QoS rule types",
}
NOT_HERE = {
    "minimum_bandwidth": "minimum_bandwidth_rules",
    "packet_rate_limit": "packet_rate_limit_rules",
    "minimum_packet_rate": "minimum_packet_rate_rules",
}
"""Rule types of Neutron's that nothing here enforces, with their collections."""

_LEAST_KBPS, _MOST_KBPS = 8, 2**31 - 1
MARKS = (0, *range(8, 42, 2), 44, 46, 48, 56)
"""Those that Neutron knows."""


def _read_mark(value: Any) -> int:
    if isinstance(value, bool) or value not in MARKS:
        raise ValueError(f"'{value}' is not in {list(MARKS)}.")
    return int(value)


_MARK_FIELDS = (Field("dscp_mark", Kind(_read_mark, schema={"enum": list(MARKS)}), access="cu", required=True),)
_LIMIT_FIELDS = (
    Field("max_kbps", integer(_LEAST_KBPS, _MOST_KBPS), access="cu", required=True),
    Field("max_burst_kbps", integer(0, _MOST_KBPS), access="cu"),
    Field("direction", one_of("egress", "ingress"), access="cu"),
)


async def _create(call: Call, values: Values) -> QosPolicy:
    return call.cloud.qos.create(QosPolicy(**values))


async def _update(call: Call, policy: QosPolicy, values: Values) -> QosPolicy:
    return call.cloud.qos.update(policy.id, **values)


async def _delete(call: Call, policy: QosPolicy) -> None:
    call.cloud.qos.delete(policy.id)


def _rules_of(_cloud: Cloud, policy: QosPolicy) -> list[dict[str, Any]]:
    return [{**_document(rule), "type": type_of(rule), "qos_policy_id": policy.id} for rule in policy.all_rules]


QOS_POLICIES = Resource[QosPolicy](
    member="policy",
    collection="policies",
    path="/qos/policies",
    table=lambda tables: tables.qos_policies,
    fields=(
        Field("shared", FLAG, access="cu"),
        Field("is_default", FLAG, access="cu"),
        computed("rules", _rules_of),
    ),
    create=_create,
    update=_update,
    delete=_delete,
    needs="admin",
    truth=Truth(
        real=(
            "Bandwidth limits hold in both directions, at a token bucket outside of the server, and change live; ports "
            "inherit those of their network.",
            "DSCP marks are set on all IP packets that a server sends, where they enter the PoP.",
            "Policies of floating IPs and of routers' gateways hold at the router, for the address that they are of.",
        ),
        refused=("Rules on minimum bandwidth and packet rates (409 QosRuleNotSupported).",),
    ),
)


def require_policy(call: Call, values: Values) -> None:
    """Refuse a policy that the caller does not see.

    Raises:
        NoSuch: there is none.
    """
    if policy_id := values.get("qos_policy"):
        _seen(call, str(policy_id))


def register(routes: Routes) -> None:
    """Add the routes of rules and rule types."""
    for rules in RULES:
        rules.register(routes)
    for collection in NOT_HERE.values():
        routes.add("GET", f"/v2.0/qos/policies/{{policy}}/{collection}", _no_rules)
        routes.add("POST", f"/v2.0/qos/policies/{{policy}}/{collection}", _refuse_rule, needs="admin")
    routes.add("GET", "/v2.0/qos/rule-types", _rule_types)
    routes.add("GET", "/v2.0/qos/rule-types/{type}", _rule_type)


def _seen(call: Call, policy_id: str) -> QosPolicy:
    policy = call.cloud.tables.qos_policies.get(policy_id)
    if not call.sees(policy):
        raise NoSuch("QosPolicy", policy_id)
    return policy


def _policy(call: Call) -> QosPolicy:
    """The policy of a call, also where only its rule is named."""
    if "policy" in call.params:
        return _seen(call, call.params["policy"])
    for policy in filter(call.sees, call.cloud.tables.qos_policies):
        if any(rule.id == call.params["rule"] for rule in policy.all_rules):
            return policy
    raise NoSuch("QosRule", call.params["rule"])


def _document(rule: Rule) -> dict[str, Any]:
    if isinstance(rule, MarkRule):
        return {"id": rule.id, "dscp_mark": rule.dscp_mark}
    return {
        "id": rule.id,
        "max_kbps": rule.max_kbps,
        "max_burst_kbps": rule.max_burst_kbps,
        "direction": rule.direction,
    }


@dataclass(frozen=True)
class Rules:
    """The rules of one type.

    Args:
        kind: the type.
        entity: what a rule is.
        fields: what can be said of one.
        parameters: what `rule-types` tells of them.
    """

    kind: str
    entity: type[Rule]
    fields: tuple[Field, ...]
    parameters: tuple[Mapping[str, Any], ...]

    @property
    def member(self) -> str:
        """Key of one in bodies."""
        return f"{self.kind}_rule"

    def body(self, mode: str) -> Schema:
        """The body of a creation (`c`) or a change (`u`)."""
        return record({self.member: schema_of(self.fields, mode)}, [self.member])

    def register(self, routes: Routes) -> None:
        """Add the routes of these rules."""
        rules = f"/v2.0/qos/policies/{{policy}}/{self.member}s"
        routes.add("GET", rules, self.list)
        routes.add("POST", rules, self.create, needs="admin", body=self.body("c"))
        for one in (f"{rules}/{{rule}}", f"/v2.0/qos/alias_{self.member}s/{{rule}}"):
            routes.add("GET", one, self.show)
            routes.add("PUT", one, self.update, needs="admin", body=self.body("u"))
            routes.add("DELETE", one, self.delete, needs="admin")

    async def list(self, call: Call) -> Reply:
        """GET of a policy's rules."""
        documents = (_document(rule) for rule in _policy(call).all_rules if isinstance(rule, self.entity))
        return json_reply({f"{self.member}s": filtered(documents, call.query)})

    async def create(self, call: Call) -> Reply:
        """POST of one."""
        policy, body = _policy(call), await call.member(self.member)
        rule = self.entity(**read_fields(self.fields, body, "c"))
        return self._told(await call.cloud.qos.put_rule(policy.id, rule), 201)

    async def show(self, call: Call) -> Reply:
        """GET of one."""
        return self._told(self._found(call))

    async def update(self, call: Call) -> Reply:
        """PUT of one."""
        policy, rule = _policy(call), self._found(call)
        values = read_fields(self.fields, await call.member(self.member), "u")
        return self._told(await call.cloud.qos.put_rule(policy.id, replace(rule, **values)))

    async def delete(self, call: Call) -> Reply:
        """DELETE of one."""
        await call.cloud.qos.remove_rule(_policy(call).id, self._found(call).id)
        return NO_CONTENT

    def _found(self, call: Call) -> Rule:
        rule = call.cloud.qos.rule(_policy(call).id, call.params["rule"])
        if not isinstance(rule, self.entity):
            raise NoSuch("QosRule", call.params["rule"])
        return rule

    def _told(self, rule: Rule, status: int = 200) -> Reply:
        return json_reply({self.member: _document(rule)}, status)


def _choices(name: str, values: Iterable[Any]) -> dict[str, Any]:
    return {"parameter_name": name, "parameter_type": "choices", "parameter_values": list(values)}


def _range(name: str) -> dict[str, Any]:
    return {"parameter_name": name, "parameter_type": "range", "parameter_values": {"start": 0, "end": _MOST_KBPS}}


RULES = (
    Rules(
        "bandwidth_limit",
        BandwidthRule,
        _LIMIT_FIELDS,
        (_range("max_kbps"), _range("max_burst_kbps"), _choices("direction", ("ingress", "egress"))),
    ),
    Rules("dscp_marking", MarkRule, _MARK_FIELDS, (_choices("dscp_mark", MARKS),)),
)


def _collection(call: Call) -> str:
    return call.request.url.path.rstrip("/").rpartition("/")[2]


async def _no_rules(call: Call) -> Reply:
    _policy(call)
    return json_reply({_collection(call): []})


async def _refuse_rule(call: Call) -> Reply:
    policy = _policy(call)
    kind = next(kind for kind, collection in NOT_HERE.items() if collection == _collection(call))
    raise QosRuleNotSupported(f"Rule {kind} is not supported by the ports of QoS Policy {policy.id}.")


async def _rule_types(call: Call) -> Reply:
    return json_reply({"rule_types": filtered([{"type": rules.kind} for rules in RULES], call.query)})


async def _rule_type(call: Call) -> Reply:
    for rules in RULES:
        if rules.kind == call.params["type"]:
            driver = {"name": "sonata", "supported_parameters": list(rules.parameters)}
            return json_reply({"rule_type": {"type": rules.kind, "drivers": [driver]}})
    raise NoSuch("QosRuleType", call.params["type"])
