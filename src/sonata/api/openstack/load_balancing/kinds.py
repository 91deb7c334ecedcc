"""Types of values of the Load Balancer API. No text that reaches a provider's configuration has a control character."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from sonata.api.openstack.fields import FLAG, TAGS, TEXT, Field, Kind, integer, one_of, or_none, timestamp
from sonata.api.openstack.schemas import NAME, choice, maybe, record
from sonata.emulator.cloud import Cloud
from sonata.emulator.cloud.entities.base import Entity

TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,255}")  # RFC 9110, section 5.6.2
COOKIE = re.compile(r"[0-9A-Za-z_.-]{1,255}")
HEADERS = ("X-Forwarded-For", "X-Forwarded-Port", "X-Forwarded-Proto")
CODES = re.compile(r"[1-5]\d\d(-[1-5]\d\d|(\s*,\s*[1-5]\d\d)*)")
DOMAIN = re.compile(r"(?=.{1,255}$)[0-9A-Za-z]([0-9A-Za-z-]*[0-9A-Za-z])?(\.[0-9A-Za-z]([0-9A-Za-z-]*[0-9A-Za-z])?)*")
URL = re.compile(r"https?://[^\s\x00-\x1f\x7f]+", re.IGNORECASE)
PATH = re.compile(r"/[^\s\x00-\x1f\x7f]*")
CONTROL = re.compile(r"[\x00-\x1f\x7f]")
DAY_MS = 24 * 60 * 60 * 1000


def matching(pattern: re.Pattern[str], what: str) -> Kind:
    """Texts that a pattern describes as a whole."""

    def read(value: Any) -> str:
        if not isinstance(value, str) or len(value) > 2048 or not pattern.fullmatch(value):
            raise ValueError(f"'{value}' is not {what}.")
        return value

    return Kind(read, schema={"type": "string"})


def _read_line(value: Any) -> str:
    text = str(TEXT.read(value))
    if CONTROL.search(text):
        raise ValueError("control characters are not allowed.")
    return text


def _read_headers(value: Any) -> dict[str, str]:
    if not isinstance(value, dict):
        raise ValueError(f"'{value}' is not a dictionary.")
    for name, wanted in value.items():
        if name not in HEADERS:
            raise ValueError(f"'{name}' is not a valid option for insert_headers; use {', '.join(HEADERS)}.")
        if str(wanted).lower() not in ("true", "false"):
            raise ValueError(f"Value '{wanted}' is invalid for header {name}.")
    return {name: str(wanted).lower() for name, wanted in value.items()}


def _read_persistence(value: Any) -> dict[str, str] | None:
    if not value:
        return None
    if not isinstance(value, dict) or set(value) - {
        "type",
        "cookie_name",
        "persistence_timeout",
        "persistence_granularity",
    }:
        raise ValueError(f"'{value}' is no session persistence.")
    kind = one_of("SOURCE_IP", "HTTP_COOKIE", "APP_COOKIE").read(value.get("type"))
    found = {"type": str(kind)}
    if kind == "APP_COOKIE":
        found["cookie_name"] = str(matching(COOKIE, "a cookie name").read(value.get("cookie_name")))
    elif value.get("cookie_name"):
        raise ValueError(f'Field "cookie_name" can not be used with type {kind}.')
    if value.get("persistence_timeout") is not None:
        found["persistence_timeout"] = str(integer(1, 10**9).read(value["persistence_timeout"]))
    if value.get("persistence_granularity") not in (None, "255.255.255.255"):
        raise ValueError("persistence_granularity is 255.255.255.255 here.")
    return found


def _show_persistence(value: Mapping[str, str] | None) -> dict[str, Any] | None:
    if not value:
        return None
    timeout = value.get("persistence_timeout")
    return {
        "type": value["type"],
        "cookie_name": value.get("cookie_name"),
        "persistence_timeout": int(timeout) if timeout else None,
        "persistence_granularity": None,
    }


def _read_codes(value: Any) -> str:
    if not isinstance(value, str) or not CODES.fullmatch(value):
        raise ValueError(f"'{value}' is not a valid list of HTTP codes: use 200, 200,202 or 200-204.")
    return value


def _read_version(value: Any) -> float:
    if value not in (1.0, 1.1, "1.0", "1.1") or isinstance(value, bool):
        raise ValueError(f"'{value}' is not in [1.0, 1.1].")
    return float(value)


LINE = Kind(_read_line, schema={"type": "string", "maxLength": 255})
HEADER_WISHES = or_none(Kind(_read_headers, dict, {"type": "object"}), {})
PERSISTENCE_SCHEMA = maybe(
    record({"type": choice("SOURCE_IP", "HTTP_COOKIE", "APP_COOKIE"), "cookie_name": NAME}, ["type"])
)
PERSISTENCE = Kind(_read_persistence, _show_persistence, PERSISTENCE_SCHEMA)
EXPECTED_CODES = Kind(_read_codes, schema={"type": "string", "pattern": f"^{CODES.pattern}$"})
HTTP_VERSION = Kind(_read_version, schema={"enum": [1.0, 1.1]})
TIMEOUT = integer(0, DAY_MS)
SECONDS = integer(1, 100_000)


def with_default(kind: Kind, default: Any) -> Kind:
    """A kind whose null is the default again, as clients unset values."""
    return Kind(lambda value: default if value is None else kind.read(value), kind.show, kind.schema)


def only(allowed: object, why: str) -> Kind:
    """A field that clients send, with the only value that is true here."""

    def read(value: Any) -> Any:
        if value not in (allowed, None, [], "", False):
            raise ValueError(f"'{value}' is not available here: {why}.")
        return allowed

    return Kind(read)


def unused(name: str, shown: Any, why: str) -> Field:
    """A field that is always the same here, and refused otherwise; it reaches no entity."""
    return Field(name, only(shown, why), attr=f"unused_{name}", access="cu", computed=lambda *_: shown)


def local_time(seconds: float) -> str:
    """Octavia writes no zone."""
    return timestamp(seconds).rstrip("Z")


def _updated(_cloud: Cloud, entity: Entity) -> str | None:
    return local_time(entity.updated_at) if entity.revision else None


STANDARD: tuple[Field, ...] = (
    Field("id"),
    Field("name", with_default(LINE, ""), access="cu"),
    Field("description", with_default(LINE, ""), access="cu"),
    Field("project_id", LINE, access="c"),
    Field("tenant_id", LINE, attr="project_id", access="c", hidden=True),
    Field("admin_state_up", with_default(FLAG, True), access="cu"),
    Field("tags", with_default(TAGS, ()), access="cu"),
    Field("provisioning_status"),
    Field("operating_status"),
    Field("created_at", Kind(lambda value: value, local_time)),
    Field("updated_at", computed=_updated),
)
"""What every resource of the service has."""
