"""Quality of service policies and their rules.

Source: OpenStack Networking API v2.0 reference, QoS.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from sonata.api.openstack.call import Call
from sonata.api.openstack.fields import FLAG, Field, computed, integer, one_of, read_fields, schema_of
from sonata.api.openstack.listing import filtered
from sonata.api.openstack.reply import NO_CONTENT, Reply, json_reply
from sonata.api.openstack.resource import Resource, Values
from sonata.api.openstack.routing import Routes
from sonata.api.openstack.schemas import Schema, record
from sonata.api.openstack.topic import Truth
from sonata.emulator.cloud import Cloud
from sonata.emulator.cloud.causes import NoSuch
from sonata.emulator.cloud.entities.qos import BandwidthRule, QosPolicy
from sonata.emulator.cloud.network.causes import QosRuleNotSupported

EXTENSIONS = {
    "qos": "Quality of Service",
    "qos-bw-limit-direction": "Direction for QoS bandwidth limit rule",
    "qos-default": "QoS default policy",
    "qos-rules-alias": "QoS rules alias",
    "qos-rule-type-details": "Details of QoS rule types",
}
LIMIT = "bandwidth_limit"
NOT_HERE = {
    "dscp_marking": "dscp_marking_rules",
    "minimum_bandwidth": "minimum_bandwidth_rules",
    "packet_rate_limit": "packet_rate_limit_rules",
    "minimum_packet_rate": "minimum_packet_rate_rules",
}
"""Rule types of Neutron's that nothing here enforces, with their collections."""

_LEAST_KBPS, _MOST_KBPS = 8, 2**31 - 1
_RULE_FIELDS = (
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
    return [{**_document(rule), "type": LIMIT, "qos_policy_id": policy.id} for rule in policy.rules]


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
        ),
        simplified=("What a port chain hands from port to port does not count.",),
        refused=(
            "Rules on DSCP marks, minimum bandwidth and packet rates (409 QosRuleNotSupported); policies of floating "
            "IPs.",
        ),
    ),
)


def require_policy(call: Call, values: Values) -> None:
    """Refuse a policy that the caller does not see.

    Raises:
        NoSuch: there is none.
    """
    if policy_id := values.get("qos_policy"):
        _seen(call, str(policy_id))


def _rule_body(mode: str) -> Schema:
    """The body of a creation (`c`) or a change (`u`) of a rule."""
    return record({f"{LIMIT}_rule": schema_of(_RULE_FIELDS, mode)}, [f"{LIMIT}_rule"])


def register(routes: Routes) -> None:
    """Add the routes of rules and rule types."""
    rules = f"/v2.0/qos/policies/{{policy}}/{LIMIT}_rules"
    routes.add("GET", rules, _list_rules)
    routes.add("POST", rules, _create_rule, needs="admin", body=_rule_body("c"))
    for one in (f"{rules}/{{rule}}", f"/v2.0/qos/alias_{LIMIT}_rules/{{rule}}"):
        routes.add("GET", one, _show_rule)
        routes.add("PUT", one, _update_rule, needs="admin", body=_rule_body("u"))
        routes.add("DELETE", one, _delete_rule, needs="admin")
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
        if any(rule.id == call.params["rule"] for rule in policy.rules):
            return policy
    raise NoSuch("QosRule", call.params["rule"])


def _document(rule: BandwidthRule) -> dict[str, Any]:
    return {
        "id": rule.id,
        "max_kbps": rule.max_kbps,
        "max_burst_kbps": rule.max_burst_kbps,
        "direction": rule.direction,
    }


def _told(rule: BandwidthRule, status: int = 200) -> Reply:
    return json_reply({f"{LIMIT}_rule": _document(rule)}, status)


async def _list_rules(call: Call) -> Reply:
    documents = (_document(rule) for rule in _policy(call).rules)
    return json_reply({f"{LIMIT}_rules": filtered(documents, call.query)})


async def _create_rule(call: Call) -> Reply:
    policy, body = _policy(call), await call.member(f"{LIMIT}_rule")
    rule = BandwidthRule(**read_fields(_RULE_FIELDS, body, "c"))
    return _told(await call.cloud.qos.put_rule(policy.id, rule), 201)


async def _show_rule(call: Call) -> Reply:
    return _told(call.cloud.qos.rule(_policy(call).id, call.params["rule"]))


async def _update_rule(call: Call) -> Reply:
    policy = _policy(call)
    rule = call.cloud.qos.rule(policy.id, call.params["rule"])
    values = read_fields(_RULE_FIELDS, await call.member(f"{LIMIT}_rule"), "u")
    return _told(await call.cloud.qos.put_rule(policy.id, replace(rule, **values)))


async def _delete_rule(call: Call) -> Reply:
    await call.cloud.qos.remove_rule(_policy(call).id, call.params["rule"])
    return NO_CONTENT


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
    return json_reply({"rule_types": filtered([{"type": LIMIT}], call.query)})


async def _rule_type(call: Call) -> Reply:
    if call.params["type"] != LIMIT:
        raise NoSuch("QosRuleType", call.params["type"])
    values = {"start": 0, "end": _MOST_KBPS}
    parameters = [
        {"parameter_name": "max_kbps", "parameter_type": "range", "parameter_values": values},
        {"parameter_name": "max_burst_kbps", "parameter_type": "range", "parameter_values": values},
        {"parameter_name": "direction", "parameter_type": "choices", "parameter_values": ["ingress", "egress"]},
    ]
    driver = {"name": "sonata", "supported_parameters": parameters}
    return json_reply({"rule_type": {"type": LIMIT, "drivers": [driver]}})
