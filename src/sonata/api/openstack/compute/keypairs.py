"""Key pairs of the Compute API: `os-keypairs`, microversions 2.1 to 2.92.

Source: OpenStack Compute API reference, keypairs.
"""

from __future__ import annotations

from typing import Any

from sonata.api.openstack.call import Call
from sonata.api.openstack.compute import bodies
from sonata.api.openstack.fields import timestamp
from sonata.api.openstack.listing import Document, page
from sonata.api.openstack.reply import ACCEPTED, NO_CONTENT, Reply, json_reply
from sonata.api.openstack.routing import Routes
from sonata.api.openstack.topic import Topic, Truth
from sonata.emulator.cloud.entities.keypair import KeyPair, KeyType
from sonata.errors import InvalidInput, NotFound

TYPED, OF_USERS, PAGED, IMPORT_ONLY = (2, 2), (2, 10), (2, 35), (2, 92)
PAGE = 1000
_SINCE = {"type": TYPED, "user_id": OF_USERS}


TOPIC = Topic(
    "keypairs",
    Truth(
        real=(
            "of each user; imported (ssh, x509), or generated below microversion 2.92 and told once; "
            "fingerprints as Nova's",
        ),
    ),
)


def register(routes: Routes) -> None:
    """Add the routes of key pairs."""
    routes.about(TOPIC)
    routes.add("GET", "/v2.1/os-keypairs", _list)
    routes.add("POST", "/v2.1/os-keypairs", _create, body=bodies.KEYPAIR)
    routes.add("GET", "/v2.1/os-keypairs/{name}", _show)
    routes.add("DELETE", "/v2.1/os-keypairs/{name}", _delete)


def _user(call: Call, asked: object) -> str:
    """Whose key pairs are meant; those of others are the administrators' business."""
    own = call.token.user.id
    if call.microversion < OF_USERS or not asked or asked == own:
        return own
    call.require_admin("os_compute_api:os-keypairs")
    return str(asked)


def _summary(call: Call, pair: KeyPair) -> Document:
    document = {"name": pair.name, "public_key": pair.public_key, "fingerprint": pair.fingerprint}
    return {**document, "type": pair.type} if call.microversion >= TYPED else document


async def _list(call: Call) -> Reply:
    pairs = call.cloud.keypairs.of(_user(call, call.first("user_id")))
    if call.microversion < PAGED:
        return json_reply({"keypairs": [{"keypair": _summary(call, pair)} for pair in pairs]})
    found, more = page([{"id": pair.name, "pair": pair} for pair in pairs], call.query, unlimited=PAGE)
    body: Document = {"keypairs": [{"keypair": _summary(call, one["pair"])} for one in found]}
    if more and found:
        following = call.request.url.include_query_params(marker=found[-1]["id"])
        body["keypairs_links"] = [{"rel": "next", "href": str(following)}]
    return json_reply(body)


async def _create(call: Call) -> Reply:
    asked = _checked(call, await call.member("keypair"))
    user_id, kind = _user(call, asked.get("user_id")), _kind(asked)
    call.cloud.quotas.require(call.project_id, "key_pairs", used=len(call.cloud.keypairs.of(user_id)))
    public_key = asked.get("public_key")
    private: Document = {}
    if public_key is not None:
        pair = call.cloud.keypairs.import_key(user_id, asked["name"], kind, public_key)
    elif call.microversion >= IMPORT_ONLY:
        raise InvalidInput("Invalid input for field/attribute keypair. 'public_key' is a required property")
    else:
        made = await call.cloud.keypairs.generate(user_id, asked["name"], kind)
        pair, private = made.pair, {"private_key": made.private_key}
    shown = {**_summary(call, pair), "user_id": pair.user_id, **private}
    return json_reply({"keypair": shown}, 201 if call.microversion >= TYPED else 200)


def _checked(call: Call, asked: Document) -> dict[str, Any]:
    """The body of a creation, whose fields are all known and texts."""
    known = {"name", "public_key", *(name for name, since in _SINCE.items() if call.microversion >= since)}
    if further := sorted(asked.keys() - known):
        raise InvalidInput(
            "Invalid input for field/attribute keypair. Additional properties are not allowed "
            f"({', '.join(map(repr, further))} was unexpected)"
        )
    for name, value in asked.items():
        if not isinstance(value, str):
            raise InvalidInput(f"Invalid input for field/attribute {name}. {value!r} is not of type 'string'")
    if not 1 <= len(asked.get("name", "")) <= 255:
        raise InvalidInput("Invalid input for field/attribute name: a string of 1 to 255 characters is needed")
    if call.microversion < IMPORT_ONLY and {"@", "."} & set(asked["name"]):
        raise InvalidInput("Keypair data is invalid: Keypair name contains unsafe characters")
    return asked


def _kind(asked: Document) -> KeyType:
    kind = asked.get("type", "ssh")
    if kind not in ("ssh", "x509"):
        raise InvalidInput(f"Invalid input for field/attribute type. {kind!r} is not one of ['ssh', 'x509']")
    return "x509" if kind == "x509" else "ssh"


def _find(call: Call) -> KeyPair:
    user_id, name = _user(call, call.first("user_id")), call.params["name"]
    try:
        return call.cloud.keypairs.find(user_id, name)
    except NotFound:
        raise NotFound(f"Keypair {name} not found for user {user_id}") from None


async def _show(call: Call) -> Reply:
    pair = _find(call)
    further = {
        "user_id": pair.user_id,
        "id": pair.number,
        "created_at": timestamp(pair.created_at)[:-1] + ".000000",
        "updated_at": None,
        "deleted_at": None,
        "deleted": False,
    }
    return json_reply({"keypair": {**_summary(call, pair), **further}})


async def _delete(call: Call) -> Reply:
    call.cloud.keypairs.delete(_find(call))
    return NO_CONTENT if call.microversion >= TYPED else ACCEPTED
