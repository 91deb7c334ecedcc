"""How Keystone shows what it holds, and its lists."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Any

from sonata.api.openstack.call import Call
from sonata.api.openstack.listing import Document, filtered, ordered, page
from sonata.api.openstack.reply import Reply, json_reply
from sonata.emulator.cloud.entities.identity import ApplicationCredential, Group, Project, Role, User
from sonata.emulator.cloud.identity import DOMAIN_ID, DOMAIN_NAME

DOMAIN = {"id": DOMAIN_ID, "name": DOMAIN_NAME}
NO_EXPIRY = {"password_expires_at": None}  # nosec B105  # a date, not a password


def precise(seconds: float) -> str:
    """Unix time as Keystone writes it."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def project_document(project: Project) -> Document:
    """A project."""
    return {
        **project.extra,
        "id": project.id,
        "name": project.name,
        "description": project.description,
        "domain_id": DOMAIN_ID,
        "parent_id": DOMAIN_ID,
        "enabled": project.enabled,
        "is_domain": False,
        "tags": list(project.tags),
        "options": _immutability(immutable=project.immutable),
    }


def user_document(user: User) -> Document:
    """A user; passwords are never shown."""
    return {
        **user.extra,
        "id": user.id,
        "name": user.name,
        "description": user.description,
        "domain_id": DOMAIN_ID,
        **({"default_project_id": user.project_id} if user.project_id else {}),
        "enabled": user.enabled,
        "options": {},
        **NO_EXPIRY,
    }


def group_document(group: Group) -> Document:
    """A group."""
    return {"id": group.id, "name": group.name, "description": group.description, "domain_id": DOMAIN_ID}


def role_document(role: Role) -> Document:
    """A role."""
    options = _immutability(immutable=role.immutable)
    description = role.description or None
    return {"id": role.id, "name": role.name, "domain_id": None, "description": description, "options": options}


def credential_document(call: Call, credential: ApplicationCredential) -> Document:
    """An application credential without its secret."""
    roles = call.cloud.tables.roles
    shown = [
        {"id": role.id, "name": role.name, "domain_id": None} for role in map(roles.peek, credential.roles) if role
    ]
    expires_at = precise(credential.expires_at).removesuffix("Z") if credential.expires_at is not None else None
    return {
        "id": credential.id,
        "name": credential.name,
        "description": credential.description or None,
        "user_id": credential.user_id,
        "project_id": credential.project_id,
        "system": None,
        "roles": shown,
        "expires_at": expires_at,
        "unrestricted": credential.unrestricted,
    }


def _immutability(*, immutable: bool) -> Document:
    return {"immutable": True} if immutable else {}


def linked(call: Call, path: str, document: Document) -> Document:
    """A document with its link; `path` is the collection's below `/v3`."""
    return {**document, "links": {"self": call.url("identity", f"/v3/{path}/{document['id']}")}}


def listed(call: Call, path: str, documents: Iterable[Document], key: str = "") -> Reply:
    """A list, filtered, sorted and paged as asked for; `key` is the last segment of `path` unless given."""
    key = key or path.rpartition("/")[2]
    found = ordered(filtered((linked(call, path, document) for document in documents), call.query), call.query)
    found, more = page(found, call.query)
    following = str(call.request.url.include_query_params(marker=found[-1]["id"])) if more and found else None
    links = {"self": call.url("identity", f"/v3/{path}"), "previous": None, "next": following}
    return json_reply({key: found, "links": links})


def listing(path: str, documents: Callable[[Call], Iterable[Document]]) -> Any:
    """The handler of GET of a collection."""

    async def handle(call: Call) -> Reply:
        return listed(call, path, documents(call))

    return handle
