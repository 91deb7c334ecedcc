"""Application credentials of the Identity API.

Source: OpenStack Identity API v3 reference, application credentials.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sonata.api.openstack.call import Call
from sonata.api.openstack.faults import Forbidden
from sonata.api.openstack.identity import bodies
from sonata.api.openstack.identity.documents import credential_document, linked, listed
from sonata.api.openstack.identity.people import require_self_or_admin
from sonata.api.openstack.listing import Document
from sonata.api.openstack.reply import NO_CONTENT, Reply, json_reply
from sonata.api.openstack.routing import Routes
from sonata.api.openstack.topic import Topic, Truth
from sonata.emulator.cloud.identity.credentials import CredentialWish
from sonata.errors import InvalidInput, NotFound, Unsupported

BASE = "/v3/users/{id}/application_credentials"


TOPIC = Topic(
    "application credentials",
    Truth(
        real=("with roles, expiry and `unrestricted`; the secret is shown once",),
        refused=("access rules (501)",),
    ),
)


def register(routes: Routes) -> None:
    """Add the routes."""
    routes.about(TOPIC)
    routes.add("GET", BASE, _list, needs="any")
    routes.add("POST", BASE, _create, needs="any", body=bodies.CREDENTIAL)
    routes.add("GET", f"{BASE}/{{credential}}", _show, needs="any")
    routes.add("DELETE", f"{BASE}/{{credential}}", _delete, needs="any")


def _path(call: Call) -> str:
    return f"users/{call.params['id']}/application_credentials"


async def _list(call: Call) -> Reply:
    user = require_self_or_admin(call, "identity:list_application_credentials")
    rows = call.cloud.identity.credentials.of_user(user.id)
    return listed(call, _path(call), (credential_document(call, row) for row in rows))


async def _show(call: Call) -> Reply:
    user = require_self_or_admin(call, "identity:get_application_credential")
    credential = call.cloud.identity.credentials.get(user.id, call.params["credential"])
    return json_reply({"application_credential": linked(call, _path(call), credential_document(call, credential))})


async def _create(call: Call) -> Reply:
    """Only for oneself, and in the project of the token."""
    body = await call.member("application_credential")
    if call.params["id"] != call.token.user.id:
        raise Forbidden("You are not authorized to perform the requested action: create_application_credential.")
    _refuse_restricted(call)
    if call.token.project is None:
        raise InvalidInput("Invalid application credential: a token for a project is needed.")
    secret, credential = await call.cloud.identity.credentials.create(_wish(call, body))
    document = {**credential_document(call, credential), "secret": secret}
    return json_reply({"application_credential": linked(call, _path(call), document)}, 201)


async def _delete(call: Call) -> Reply:
    user = require_self_or_admin(call, "identity:delete_application_credential")
    _refuse_restricted(call)
    call.cloud.identity.credentials.delete(user.id, call.params["credential"])
    return NO_CONTENT


def _refuse_restricted(call: Call) -> None:
    """A credential makes or deletes further ones only when it was made to."""
    if call.token.credential and not call.token.credential.unrestricted:
        raise Forbidden("Using method 'application_credential' is not allowed for managing application credentials.")


def _wish(call: Call, body: Document) -> CredentialWish:
    if body.get("access_rules"):
        raise Unsupported("application credentials have no access rules here", hint="leave `access_rules` out")
    name, secret = body.get("name"), body.get("secret")
    if not isinstance(name, str) or not 0 < len(name) <= 255 or not isinstance(secret, str | None):
        raise InvalidInput("Invalid input for application_credential: `name` (and `secret`) must be strings")
    return CredentialWish(
        user=call.token.user,
        project_id=call.project_id,
        name=name,
        description=str(body.get("description") or ""),
        secret=secret or "",
        roles=_roles(call, body.get("roles")),
        expires_at=_expiry(body.get("expires_at")),
        unrestricted=body.get("unrestricted") is True,
    )


def _roles(call: Call, asked: Any) -> tuple[str, ...]:
    """Roles by `{id}` or `{name}`."""
    if not asked:
        return ()
    if not isinstance(asked, list) or not all(isinstance(role, dict) for role in asked):
        raise InvalidInput("Invalid input for field 'roles': a list of objects is needed")
    return tuple(_role(call, role) for role in asked)


def _role(call: Call, asked: Document) -> str:
    for role in call.cloud.tables.roles:
        if asked.get("id") == role.id or ("id" not in asked and asked.get("name") == role.name):
            return role.id
    raise NotFound(f"Could not find role: {asked.get('id') or asked.get('name')}.")


def _expiry(asked: Any) -> float | None:
    if asked is None:
        return None
    try:
        moment = datetime.fromisoformat(str(asked).replace("Z", "+00:00"))
    except ValueError:
        raise InvalidInput(f"Invalid input for field 'expires_at': '{asked}' is no ISO 8601 date") from None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
