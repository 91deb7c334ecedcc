"""Signals from those who know a resource's secret: what is in them, and where servers send them.

Heat's operators set `heat_waitcondition_server_url` to an address that servers reach; here it is that of the metadata
service, since servers have no way to the APIs of their cloud.
"""

from __future__ import annotations

import hmac
import re
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import msgspec

from sonata.emulator.cloud.entities.orchestration import StackResource
from sonata.errors import InvalidInput

SERVER_URL = "http://169.254.169.254/orchestration/v1"
"""Below it servers find the signals of the Orchestration API."""
_SIGNAL = re.compile(r"/orchestration/v1/[^/]+/stacks/[^/]+/(?P<stack>[^/]+)/resources/(?P<resource>[^/]+)/signal")


def knows_secret(row: StackResource, given: str) -> bool:
    """Whether what was given is the resource's secret, which counts for nothing while the resource is suspended."""
    if row.action == "SUSPEND":
        return False
    secret = str(row.data.get("secret") or "")
    return bool(secret) and hmac.compare_digest(given.encode(), secret.encode())


def details_in(body: bytes) -> Any:
    """What a signal says.

    Raises:
        InvalidInput: it is no JSON.
    """
    if not body.strip():
        return {}
    try:
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidInput(f"Malformed request body: {error}") from None


def addressee(target: str) -> tuple[str, str, str] | None:
    """Stack, resource and secret that the path and query of a signal name; None when it is no signal's."""
    split = urlsplit(target)
    match = _SIGNAL.fullmatch(split.path)
    if match is None:
        return None
    (secret,) = parse_qs(split.query).get("signature", [""])[:1]
    return unquote(match["stack"]), unquote(match["resource"]), secret
