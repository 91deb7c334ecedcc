"""Answers of the OpenStack surface."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from pathlib import Path

import msgspec

from sonata._lib.values import dataclass

encode = msgspec.json.Encoder().encode


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer: its body, or a file to be sent in its place, status and further headers."""

    body: bytes = field(default=b"", repr=False)
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    file: Path | None = None


def json_reply(document: object, status: int = 200, **headers: str) -> Reply:
    """An answer with a JSON document; underscores in header names become dashes."""
    return Reply(encode(document), status, {name.replace("_", "-"): value for name, value in headers.items()})


NO_CONTENT = Reply(status=204)
ACCEPTED = Reply(status=202)
