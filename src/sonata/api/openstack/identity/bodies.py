"""The request bodies of the Identity API, for its description.

Source: OpenStack Identity API v3 reference.
"""

from __future__ import annotations

from sonata.api.openstack.schemas import (
    ANYTHING,
    ID,
    NAME,
    SOME_WORDS,
    SWITCH,
    WORDS,
    Properties,
    Schema,
    choice,
    either,
    many,
    maybe,
    member,
    record,
)

DOMAIN = record({"id": choice("default"), "name": choice("Default")})
USER = record({"id": ID, "name": ID, "domain": DOMAIN, "password": ID}, ["password"])
PROJECT = record({"id": ID, "name": ID, "domain": DOMAIN})
METHODS = ("password", "token", "application_credential")
IDENTITY = record(
    {
        "methods": {**many(choice(*METHODS)), "minItems": 1, "maxItems": 2},
        "password": record({"user": USER}, ["user"]),
        "token": record({"id": ID}, ["id"]),
        "application_credential": record({"id": ID, "name": ID, "secret": ID, "user": USER}, ["secret"]),
    },
    ["methods"],
)
SCOPE = either(
    record({"project": PROJECT}, ["project"]),
    record({"domain": DOMAIN}, ["domain"]),
    record({"system": record({"all": SWITCH}, ["all"])}, ["system"]),
    choice("unscoped"),
)
AUTH = member("auth", {"identity": IDENTITY, "scope": SCOPE}, ["identity"])
PASSWORD_CHANGE = member("user", {"original_password": ID, "password": ID}, ["original_password", "password"])
CREDENTIAL = member(
    "application_credential",
    {
        "name": NAME,
        "description": maybe(WORDS),
        "secret": ID,
        "roles": many(record({"id": ID, "name": ID})),
        "expires_at": maybe({"type": "string", "format": "date-time"}),
        "unrestricted": SWITCH,
    },
    ["name"],
)
OPTIONS = record({"immutable": SWITCH})
COMMON: Properties = {"name": NAME, "description": WORDS, "domain_id": choice("default")}
FURTHER: dict[str, Properties] = {
    "project": {"enabled": SWITCH, "tags": SOME_WORDS, "options": OPTIONS, "parent_id": choice("default")},
    "user": {"enabled": SWITCH, "password": maybe(ID), "default_project_id": ID, "options": ANYTHING},
    "group": {},
    "role": {"options": OPTIONS},
}
"""What a kind of object has besides name and description."""


def person(kind: str, *, new: bool) -> Schema:
    """The body of a creation or a change of a project, user, group or role."""
    domain = {} if kind == "role" else {"domain_id": COMMON["domain_id"]}
    properties = {"name": COMMON["name"], "description": COMMON["description"], **domain, **FURTHER[kind]}
    return member(kind, properties, ["name"] if new else [])
