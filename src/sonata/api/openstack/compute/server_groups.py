"""Server groups of the Compute API: `os-server-groups`.

Source: OpenStack Compute API reference, os-server-groups.
"""

from __future__ import annotations

from typing import Any

from sonata.api.openstack.call import Call
from sonata.api.openstack.compute import bodies
from sonata.api.openstack.compute.servers import read_name
from sonata.api.openstack.listing import Document
from sonata.api.openstack.reply import NO_CONTENT, Reply, json_reply
from sonata.api.openstack.routing import Routes
from sonata.api.openstack.topic import Topic, Truth
from sonata.emulator.cloud.compute.scheduler import AFFINITY, ANTI_AFFINITY, SOFT_AFFINITY, SOFT_ANTI_AFFINITY
from sonata.emulator.cloud.entities.hosts import ServerGroup
from sonata.errors import InvalidInput, NotFound

OWNED, SOFT, ONE_POLICY = (2, 13), (2, 15), (2, 64)
HARD_POLICIES = (ANTI_AFFINITY, AFFINITY)
ALL_POLICIES = (*HARD_POLICIES, SOFT_ANTI_AFFINITY, SOFT_AFFINITY)


TOPIC = Topic(
    "server groups",
    Truth(
        real=(
            "the scheduler keeps to affinity and anti-affinity, prefers the soft ones, and to `max_server_per_host`",
        ),
    ),
)


def register(routes: Routes) -> None:
    """Add the routes."""
    routes.about(TOPIC)
    routes.add("GET", "/v2.1/os-server-groups", _list)
    routes.add("POST", "/v2.1/os-server-groups", _create, body=bodies.SERVER_GROUP)
    routes.add("GET", "/v2.1/os-server-groups/{id}", _show)
    routes.add("DELETE", "/v2.1/os-server-groups/{id}", _delete)


def _document(call: Call, group: ServerGroup) -> Document:
    document: Document = {"id": group.id, "name": group.name, "members": list(group.members)}
    if call.microversion >= ONE_POLICY:
        rules = {"max_server_per_host": group.most_per_host} if group.policy == ANTI_AFFINITY else {}
        document.update(policy=group.policy, rules=rules)
    else:
        document.update(policies=[group.policy], metadata={})
    if call.microversion >= OWNED:
        document.update(project_id=group.project_id, user_id=group.user_id)
    return document


async def _list(call: Call) -> Reply:
    everything = call.token.is_admin and "all_projects" in dict(call.query)
    groups = [group for group in call.cloud.tables.server_groups if everything or group.project_id == call.project_id]
    offset, limit = _number(call, "offset", 0), _number(call, "limit", 1000)
    return json_reply({"server_groups": [_document(call, group) for group in groups[offset : offset + limit]]})


def _number(call: Call, name: str, default: int) -> int:
    text = call.first(name, str(default))
    if not text.isdigit():
        raise InvalidInput(f"Invalid input for query parameters {name}: {text!r} is no number")
    return int(text)


async def _create(call: Call) -> Reply:
    asked = await call.member("server_group")
    policy, most = _one_policy(asked) if call.microversion >= ONE_POLICY else (_old_policy(call, asked), 1)
    call.cloud.quotas.require(call.project_id, "server_groups")
    group = ServerGroup(
        name=read_name(asked),
        project_id=call.project_id,
        user_id=call.token.user.id,
        policy=policy,
        most_per_host=most,
    )
    return json_reply({"server_group": _document(call, call.cloud.tables.server_groups.add(group))})


def _one_policy(asked: Document) -> tuple[str, int]:
    """Policy and greatest number on a host, since 2.64."""
    _only(asked, "name", "policy", "rules")
    policy, rules = asked.get("policy"), asked.get("rules") or {}
    if policy not in ALL_POLICIES:
        raise InvalidInput(f"Invalid input for field/attribute policy: {policy!r} is not one of {list(ALL_POLICIES)}")
    if not isinstance(rules, dict) or set(rules) - {"max_server_per_host"}:
        raise InvalidInput("Invalid input for field/attribute rules: an object with `max_server_per_host` is needed")
    if rules and policy != ANTI_AFFINITY:
        raise InvalidInput("Only anti-affinity policy supports rules.")
    most = rules.get("max_server_per_host", 1)
    if isinstance(most, bool) or not str(most).isdigit() or int(most) < 1:
        raise InvalidInput(f"Invalid input for field/attribute max_server_per_host: {most!r} is less than 1")
    return str(policy), int(most)


def _old_policy(call: Call, asked: Document) -> str:
    """The only policy of the list that older microversions want."""
    _only(asked, "name", "policies")
    allowed, policies = ALL_POLICIES if call.microversion >= SOFT else HARD_POLICIES, asked.get("policies")
    if not isinstance(policies, list) or len(policies) != 1 or policies[0] not in allowed:
        raise InvalidInput(f"Invalid input for field/attribute policies: exactly one of {list(allowed)} is needed")
    return str(policies[0])


def _only(asked: Document, *known: str) -> None:
    if further := sorted(set(asked) - set(known)):
        raise InvalidInput(
            "Invalid input for field/attribute server_group. Additional properties are not allowed "
            f"({further[0]!r} was unexpected)"
        )


def _find(call: Call) -> ServerGroup:
    group: Any = call.cloud.tables.server_groups.peek(call.params["id"])
    if not isinstance(group, ServerGroup) or not call.sees(group):
        raise NotFound(f"Instance group {call.params['id']} could not be found.")
    return group


async def _show(call: Call) -> Reply:
    return json_reply({"server_group": _document(call, _find(call))})


async def _delete(call: Call) -> Reply:
    call.cloud.tables.server_groups.remove(_find(call).id)
    return NO_CONTENT
