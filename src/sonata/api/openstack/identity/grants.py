"""Role assignments of the Identity API: granted, checked, revoked, listed.

Source: OpenStack Identity API v3 reference, roles and role assignments.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from sonata._lib.values import dataclass
from sonata.api.openstack.call import Call
from sonata.api.openstack.identity.documents import DOMAIN, listed, role_document
from sonata.api.openstack.listing import Document
from sonata.api.openstack.reply import NO_CONTENT, Reply, json_reply
from sonata.api.openstack.routing import Routes
from sonata.api.openstack.topic import Topic, Truth
from sonata.emulator.cloud.entities.identity import ActorKind, TargetKind
from sonata.emulator.cloud.identity import DOMAIN_ID
from sonata.emulator.cloud.identity.assignments import SYSTEM, Grant
from sonata.emulator.cloud.identity.directory import found
from sonata.emulator.cloud.identity.roles import IMPLIED
from sonata.errors import NotFound

TARGETS: Mapping[TargetKind, str] = {
    "project": "/v3/projects/{target}",
    "domain": "/v3/domains/{target}",
    "system": "/v3/system",
}
ACTORS: tuple[ActorKind, ...] = ("user", "group")


TOPIC = Topic(
    "grants of roles",
    Truth(
        real=("to users and groups, in projects, the domain and the system; `effective` and `include_names` in lists",),
        simplified=("role inferences are the three that there are: admin, member, reader",),
        refused=("inherited grants (404)",),
    ),
)


def register(routes: Routes) -> None:
    """Add the routes."""
    routes.about(TOPIC)
    for target_kind, base in TARGETS.items():
        for actor_kind in ACTORS:
            desk = _GrantDesk(actor_kind, target_kind)
            roles = f"{base}/{actor_kind}s/{{actor}}/roles"
            routes.add("GET", roles, desk.list, needs="admin")
            routes.add("GET", f"{roles}/{{role}}", desk.check, needs="admin")
            routes.add("PUT", f"{roles}/{{role}}", desk.grant, needs="admin")
            routes.add("DELETE", f"{roles}/{{role}}", desk.revoke, needs="admin")
    routes.add("GET", "/v3/role_assignments", _assignments, needs="admin")
    routes.add("GET", "/v3/role_inferences", _inferences, needs="admin")


@dataclass(frozen=True, slots=True)
class _GrantDesk:
    """The handlers of roles of one kind of actor at one kind of target."""

    actor_kind: ActorKind
    target_kind: TargetKind

    async def list(self, call: Call) -> Reply:
        """GET of the roles that an actor has at a target."""
        grant = self._grant(call, role="")
        held = {
            row.role for row in call.cloud.tables.assignments if (row.actor, row.target) == (grant.actor, grant.target)
        }
        return listed(call, "roles", (role_document(role) for role in call.cloud.tables.roles if role.id in held))

    async def check(self, call: Call) -> Reply:
        """HEAD and GET of one role."""
        call.cloud.identity.assignments.require(self._grant(call, self._role(call)))
        return NO_CONTENT

    async def grant(self, call: Call) -> Reply:
        """PUT of one role."""
        call.cloud.identity.assignments.grant(self._grant(call, self._role(call)))
        return NO_CONTENT

    async def revoke(self, call: Call) -> Reply:
        """DELETE of one role."""
        call.cloud.identity.revoke(self._grant(call, self._role(call)))
        return NO_CONTENT

    def _role(self, call: Call) -> str:
        return found(call.cloud.tables.roles, call.params["role"]).id

    def _grant(self, call: Call, role: str) -> Grant:
        """What the path says, with ids of what is there."""
        tables = call.cloud.tables
        actor = call.params["actor"]
        found(tables.users, actor) if self.actor_kind == "user" else found(tables.groups, actor)
        target = call.params.get("target", SYSTEM)
        if self.target_kind == "project":
            found(tables.projects, target)
        if self.target_kind == "domain" and target != DOMAIN_ID:
            raise NotFound(f"Could not find domain: {target}.")
        return Grant(self.actor_kind, actor, self.target_kind, target, role)


# the list of all


async def _assignments(call: Call) -> Reply:
    grants = [
        Grant(row.actor_kind, row.actor, row.target_kind, row.target, row.role) for row in call.cloud.tables.assignments
    ]
    if _asks(call, "effective"):
        grants = list(dict.fromkeys(one for grant in grants for one in _effective(call, grant)))
    shown = [_document(call, grant) for grant in grants if _wanted(call, grant)]
    links = {"self": call.url("identity", "/v3/role_assignments"), "previous": None, "next": None}
    return json_reply({"role_assignments": shown, "links": links})


def _asks(call: Call, switch: str) -> bool:
    """Keystone takes a switch without a value as set."""
    return call.first(switch, "false").lower() in ("", "true", "1")


def _effective(call: Call, grant: Grant) -> Iterator[Grant]:
    """What a grant comes to for users: groups taken apart, implied roles added."""
    tables = call.cloud.tables
    role = found(tables.roles, grant.role)
    named = {other.name: other.id for other in tables.roles}
    actors = [grant.actor] if grant.actor_kind == "user" else found(tables.groups, grant.actor).members
    for actor in actors:
        for name in (role.name, *IMPLIED.get(role.name, ())):
            if name in named:
                yield replace(grant, actor_kind="user", actor=actor, role=named[name])


def _wanted(call: Call, grant: Grant) -> bool:
    asked = {
        "user.id": ("user", grant.actor_kind, grant.actor),
        "group.id": ("group", grant.actor_kind, grant.actor),
        "scope.project.id": ("project", grant.target_kind, grant.target),
        "scope.domain.id": ("domain", grant.target_kind, grant.target),
        "role.id": ("", "", grant.role),
    }
    if "scope.system" in call.request.query_params and grant.target_kind != "system":
        return False
    return all(
        kind == needed and call.first(key) == value
        for key, (needed, kind, value) in asked.items()
        if key in call.request.query_params
    )


def _document(call: Call, grant: Grant) -> Document:
    named = _asks(call, "include_names")
    base = TARGETS[grant.target_kind].format(target=grant.target)
    path = f"{base}/{grant.actor_kind}s/{grant.actor}/roles/{grant.role}"
    return {
        grant.actor_kind: _reference(call, grant.actor_kind, grant.actor, named=named),
        "scope": {grant.target_kind: _reference(call, grant.target_kind, grant.target, named=named)},
        "role": _reference(call, "role", grant.role, named=named),
        "links": {"assignment": call.url("identity", path)},
    }


def _reference(call: Call, kind: str, entity_id: str, *, named: bool) -> Document:
    if kind == "system":
        return {"all": True}
    if kind == "domain":
        return dict(DOMAIN) if named else {"id": entity_id}
    if not named:
        return {"id": entity_id}
    entity: Any = getattr(call.cloud.tables, f"{kind}s").get(entity_id)
    return {"id": entity.id, "name": entity.name, **({} if kind == "role" else {"domain": DOMAIN})}


async def _inferences(call: Call) -> Reply:
    """Which roles bring others with them."""
    named = {role.name: {"id": role.id, "name": role.name} for role in call.cloud.tables.roles}
    direct = ((prior, implied[0]) for prior, implied in IMPLIED.items() if implied)
    inferences = [{"prior_role": named[prior], "implies": [named[implied]]} for prior, implied in direct]
    return json_reply({"role_inferences": inferences, "links": {"self": call.url("identity", "/v3/role_inferences")}})
