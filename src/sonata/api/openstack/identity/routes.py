"""The Identity API v3 of a PoP: versions, tokens, catalog, and lists of projects, users, services, ...

Source: OpenStack Identity API v3 reference.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sonata.api.openstack.call import Call, inner
from sonata.api.openstack.identity.tokens import ADMIN_ROLES, REQUIRED, Token, Tokens, same_secret
from sonata.api.openstack.listing import filtered
from sonata.api.openstack.reply import NO_CONTENT, Reply, json_reply
from sonata.api.openstack.routing import Handler, Routes
from sonata.emulator.cloud.entities.identity import Project, User
from sonata.emulator.cloud.identity import DOMAIN_ID, DOMAIN_NAME
from sonata.errors import InvalidInput, NotFound, Unauthorised

REGION = "RegionOne"
DOMAIN = {"id": DOMAIN_ID, "name": DOMAIN_NAME}
NO_EXPIRY = {"password_expires_at": None}  # nosec B105  # a date, not a password
SERVICES: tuple[tuple[str, str, str, str], ...] = (
    ("identity", "keystone", "identity", "/v3"),
    ("compute", "nova", "compute", "/v2.1"),
    ("network", "neutron", "network", ""),
    ("image", "glance", "image", ""),
    ("load-balancer", "octavia", "load-balancer", ""),
)
"""Type, name, path segment of a service, and the path of its endpoint below it."""
INTERFACES = ("public", "internal", "admin")


def identity_routes(tokens: Tokens, admin_password: str) -> Routes:
    """All routes of the service."""
    routes = Routes()
    routes.add("GET", "/", _versions, public=True)
    routes.add("GET", "/v3", _version, public=True)
    desk = TokenDesk(tokens, admin_password)
    routes.add("POST", "/v3/auth/tokens", desk.issue, public=True)
    routes.add("GET", "/v3/auth/tokens", desk.show)
    routes.add("DELETE", "/v3/auth/tokens", desk.revoke)
    routes.add("GET", "/v3/auth/catalog", _catalog)
    routes.add("GET", "/v3/auth/projects", _listing("projects", _projects))
    for collection, documents in COLLECTIONS.items():
        routes.add("GET", f"/v3/{collection}", _listing(collection, documents))
        routes.add("GET", f"/v3/{collection}/{{id}}", _showing(collection, documents))
    routes.add("GET", "/v3/users/{id}/projects", _listing("projects", _projects))
    return routes


def _version_document(call: Call) -> dict[str, Any]:
    return {
        "id": "v3.14",
        "status": "stable",
        "updated": "2020-04-07T00:00:00Z",
        "links": [{"rel": "self", "href": call.url("identity", "/v3/")}],
        "media-types": [{"base": "application/json", "type": "application/vnd.openstack.identity-v3+json"}],
    }


async def _versions(call: Call) -> Reply:
    return json_reply({"versions": {"values": [_version_document(call)]}}, 300, location=call.url("identity", "/v3/"))


async def _version(call: Call) -> Reply:
    return json_reply({"version": _version_document(call)})


@dataclass(frozen=True, slots=True)
class _Grant:
    """Who has proved to be whom, and how."""

    user: User
    methods: tuple[str, ...]
    project: Project | None = None


class TokenDesk:
    """Issues, shows and revokes tokens."""

    def __init__(self, tokens: Tokens, admin_password: str) -> None:
        self._tokens = tokens
        self._admin_password = admin_password

    async def issue(self, call: Call) -> Reply:
        """POST /v3/auth/tokens."""
        auth = await call.member("auth")
        grant = self._authenticate(call, inner(auth, "identity"))
        project = _scope(call, auth.get("scope"), grant)
        secret, token = self._tokens.issue(call.pop, grant.user, project, ADMIN_ROLES, grant.methods)
        return json_reply({"token": token_document(call, token)}, 201, x_subject_token=secret, vary="X-Auth-Token")

    async def show(self, call: Call) -> Reply:
        """GET and HEAD /v3/auth/tokens."""
        secret = _subject(call)
        token = self._tokens.subject(call.pop, secret)
        return json_reply({"token": token_document(call, token)}, x_subject_token=secret, vary="X-Auth-Token")

    async def revoke(self, call: Call) -> Reply:
        """DELETE /v3/auth/tokens."""
        secret = _subject(call)
        self._tokens.subject(call.pop, secret)
        self._tokens.revoke(secret)
        return NO_CONTENT

    def _authenticate(self, call: Call, identity: Mapping[str, Any]) -> _Grant:
        methods = identity.get("methods")
        if not isinstance(methods, list) or not methods:
            raise InvalidInput("Invalid input: `auth.identity.methods` must name at least one method")
        if "password" in methods:
            return self._by_password(call, inner(inner(identity, "password"), "user"))
        if "token" in methods:
            token = self._tokens.check(call.pop, str(inner(identity, "token").get("id")))
            return _Grant(token.user, ("token", *token.methods), token.project)
        raise Unauthorised(f"Attempted to authenticate with an unsupported method: {methods}")

    def _by_password(self, call: Call, asked: Mapping[str, Any]) -> _Grant:
        user = call.cloud.identity.admin
        # The password is compared in any case, so that a wrong user name takes no less time.
        right = same_secret(asked.get("password"), self._admin_password)
        if not right or not _is(asked, user.id, user.name):
            raise Unauthorised(REQUIRED)
        return _Grant(user, ("password",))


def _is(asked: Mapping[str, Any], entity_id: str, name: str) -> bool:
    """Whether `{id}` or `{name, domain}` of a request mean this object."""
    if "id" in asked:
        return bool(asked["id"] == entity_id)
    return bool(asked.get("name") == name and _is_default_domain(asked.get("domain")))


def _is_default_domain(asked: Any) -> bool:
    if not isinstance(asked, dict):
        return False
    return asked.get("id") == DOMAIN_ID or asked.get("name") == DOMAIN_NAME


def _scope(call: Call, scope: Any, grant: _Grant) -> Project:
    """The project that a token is for; without a scope the user's own."""
    if not isinstance(scope, dict):
        return grant.project or call.cloud.tables.projects.get(grant.user.project_id)
    if "project" not in scope:
        raise Unauthorised("tokens are scoped to projects here: domain and system scope do not exist")
    asked = inner(scope, "project")
    for project in call.cloud.tables.projects:
        if _is(asked, project.id, project.name):
            return project
    raise Unauthorised(REQUIRED)


def _subject(call: Call) -> str:
    secret = call.request.headers.get("x-subject-token", "")
    if not secret:
        raise InvalidInput("the header X-Subject-Token is needed")
    return secret


def token_document(call: Call, token: Token) -> dict[str, Any]:
    """A token as Keystone shows it."""
    user = {"id": token.user.id, "name": token.user.name, "domain": DOMAIN, **NO_EXPIRY}
    return {
        "methods": list(token.methods),
        "user": user,
        "audit_ids": [token.audit_id],
        "expires_at": _precise(token.expires_at),
        "issued_at": _precise(token.issued_at),
        "project": {"id": token.project.id, "name": token.project.name, "domain": DOMAIN},
        "is_domain": False,
        "roles": [{"id": _stable_id(call, f"role/{role}"), "name": role} for role in token.roles],
        "catalog": catalog(call),
    }


def _precise(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _stable_id(call: Call, what: str) -> str:
    """An id that stays the same while the cloud lives."""
    return uuid.uuid5(uuid.UUID(call.cloud.identity.admin.id), what).hex


def catalog(call: Call) -> list[dict[str, Any]]:
    """The service catalog, with addresses as the client reached us."""
    endpoints = _endpoints(call)
    return [
        {
            "id": service["id"],
            "type": service["type"],
            "name": service["name"],
            "endpoints": [
                {key: endpoint[key] for key in ("id", "interface", "region", "region_id", "url")}
                for endpoint in endpoints
                if endpoint["service_id"] == service["id"]
            ],
        }
        for service in _services(call)
    ]


async def _catalog(call: Call) -> Reply:
    return json_reply({"catalog": catalog(call), "links": {"self": call.url("identity", "/v3/auth/catalog")}})


Documents = list[dict[str, Any]]


def _projects(call: Call) -> Documents:
    return [
        {
            "id": project.id,
            "name": project.name,
            "description": project.description,
            "domain_id": DOMAIN_ID,
            "parent_id": DOMAIN_ID,
            "enabled": project.enabled,
            "is_domain": False,
            "tags": list(project.tags),
            "options": {},
        }
        for project in call.cloud.tables.projects
        if call.token.is_admin or project.id == call.project_id
    ]


def _users(call: Call) -> Documents:
    return [
        {
            "id": user.id,
            "name": user.name,
            "description": user.description,
            "domain_id": DOMAIN_ID,
            "default_project_id": user.project_id,
            "enabled": user.enabled,
            "options": {},
            **NO_EXPIRY,
        }
        for user in call.cloud.tables.users
    ]


def _services(call: Call) -> Documents:
    return [
        {"id": _stable_id(call, f"service/{kind}"), "type": kind, "name": name, "description": "", "enabled": True}
        for kind, name, _segment, _path in SERVICES
    ]


def _endpoints(call: Call) -> Documents:
    return [
        {
            "id": _stable_id(call, f"endpoint/{kind}/{interface}"),
            "service_id": _stable_id(call, f"service/{kind}"),
            "interface": interface,
            "region": REGION,
            "region_id": REGION,
            "url": call.url(segment, path),
            "enabled": True,
        }
        for kind, _name, segment, path in SERVICES
        for interface in INTERFACES
    ]


def _domains(call: Call) -> Documents:
    return [{**DOMAIN, "description": "The default domain", "enabled": True, "tags": [], "options": {}}]


def _regions(call: Call) -> Documents:
    return [{"id": REGION, "description": "", "parent_region_id": None}]


def _roles(call: Call) -> Documents:
    return [
        {"id": _stable_id(call, f"role/{role}"), "name": role, "domain_id": None, "description": None, "options": {}}
        for role in ADMIN_ROLES
    ]


COLLECTIONS = {
    "projects": _projects,
    "users": _users,
    "services": _services,
    "endpoints": _endpoints,
    "domains": _domains,
    "regions": _regions,
    "roles": _roles,
}


def _linked(call: Call, collection: str, documents: Iterable[dict[str, Any]]) -> Documents:
    base = call.url("identity", f"/v3/{collection}")
    return [{**document, "links": {"self": f"{base}/{document['id']}"}} for document in documents]


def _listing(collection: str, documents: Any) -> Handler:
    """The handler of GET of a collection."""

    async def handle(call: Call) -> Reply:
        found = filtered(_linked(call, collection, documents(call)), call.query)
        links = {"self": call.url("identity", f"/v3/{collection}"), "previous": None, "next": None}
        return json_reply({collection: found, "links": links})

    return handle


def _showing(collection: str, documents: Any) -> Handler:
    """The handler of GET of one member."""
    member = collection.removesuffix("s")

    async def handle(call: Call) -> Reply:
        for document in _linked(call, collection, documents(call)):
            if document["id"] == call.params["id"]:
                return json_reply({member: document})
        raise NotFound(f"Could not find {member}: {call.params['id']}.")

    return handle
