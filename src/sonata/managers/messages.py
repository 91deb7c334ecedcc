"""What travels between the platform's bus and a client of it, as one JSON object per WebSocket message.

    {"v": 1, "kind": "request", "id": "17", "topic": "manager.ns1~-cdn.placement", "body": {...}}

Kinds, by who sends them:

* platform: `welcome` (first; `topic` is the client's own prefix), `message` (for a subscription)
* client: `subscribe`, `respond` (both name a `topic`), `publish`
* both: `request` (with a new `id`); `reply` and `failure` (with the `id` of what they answer, never a topic)
* platform: `done` (answers subscribe, respond, publish), `refused` (the client may not do that; `error` tells why)

Ids correlate only within one direction of one connection. Programs in any language may speak this.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from sonata.errors import InvalidInput

VERSION = 1
MAX_BYTES = 1024 * 1024
"""Largest body of a message, as JSON in UTF-8."""
MAX_FRAME_BYTES = MAX_BYTES + 4096

Kind = Literal[
    "welcome", "message", "subscribe", "respond", "publish", "request", "reply", "failure", "done", "refused"
]
_KINDS = get_args(Kind)


@dataclass(frozen=True, slots=True)
class Frame:
    """One message.

    Args:
        kind: what it is.
        id: correlates an answer with its question; chosen by who asks.
        topic: topic, pattern, or for `welcome` the client's prefix.
        body: the payload, a JSON object.
        error: why it failed or was refused.
    """

    kind: Kind
    id: str = ""
    topic: str = ""
    body: Mapping[str, Any] = field(default_factory=dict)
    error: str = ""


def write_frame(frame: Frame) -> str:
    """A frame as JSON text.

    Raises:
        InvalidInput: the body is no JSON value, or larger than `MAX_BYTES`.
    """
    document: dict[str, Any] = {"v": VERSION, "kind": frame.kind}
    document |= {name: text for name in ("id", "topic", "error") if (text := getattr(frame, name))}
    try:
        body = json.dumps(frame.body, separators=(",", ":"), allow_nan=False, ensure_ascii=False)
        size = len(body.encode())
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidInput(f"a bus message must be JSON: {error}") from error
    if size > MAX_BYTES:
        raise InvalidInput(f"a bus message has {size} bytes, at most {MAX_BYTES} are allowed")
    head = json.dumps(document, separators=(",", ":"))
    return f'{head[:-1]},"body":{body}}}'


def read_frame(text: str | bytes) -> Frame:
    """A frame from JSON text.

    Raises:
        InvalidInput: it is no frame of this version; the message tells what is wrong with it.
    """
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InvalidInput(f"a bus frame must be JSON: {error}") from error
    if not isinstance(document, dict):
        raise InvalidInput(f"a bus frame must be a JSON object, not {type(document).__name__}")
    if document.get("v") != VERSION:
        raise InvalidInput(f"a bus frame must have `v` {VERSION}, not `{document.get('v')!r}`")
    if document.get("kind") not in _KINDS:
        raise InvalidInput(f"unknown kind of bus frame `{document.get('kind')!r}`")
    texts = {name: document.get(name, "") for name in ("id", "topic", "error")}
    for name, value in texts.items():
        if not isinstance(value, str):
            raise InvalidInput(f"`{name}` of a bus frame must be a text")
    body = document.get("body", {})
    if not isinstance(body, dict):
        raise InvalidInput(f"the body of a bus frame must be a JSON object, not {type(body).__name__}")
    return Frame(document["kind"], body=body, **texts)


def manager_word(instance: str) -> str:
    """A manager's instance id as one word of a topic; different ids give different words."""
    return instance.replace("~", "~~").replace(".", "~-")


def manager_topic(instance: str, event: str) -> str:
    """Topic on which the platform asks a manager for its decision on an event."""
    return f"manager.{manager_word(instance)}.{event}"
