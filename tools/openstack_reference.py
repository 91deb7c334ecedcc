#!/usr/bin/env python3
"""Writes `docs/reference/openstack-api.md` from the routes and declarations of the emulated OpenStack services.

With --check it only tells whether the page is up to date.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from itertools import groupby
from pathlib import Path
from typing import Any

from sonata.api.openstack.app import Surface
from sonata.api.openstack.routing import Routes, Target
from sonata.api.openstack.topic import NOTHING_TOLD, WORDS, Topic

PAGE = Path(__file__).parent.parent / "docs" / "reference" / "openstack-api.md"
HEAD = """# OpenStack API, resource by resource

<!-- Written by tools/openstack_reference.py; change the declarations, not this page. -->

Every call that a PoP answers, below `http://127.0.0.1:8901/POP/SERVICE`. *Real* has its effect on processes and
packets, *simplified* answers as clients expect and differs as told, *refused* is an error in OpenStack's own form. A
caller needs the role in the last column, or one that brings it with it (admin > member > reader).
[OpenStack surface](openstack.md) is the overview.
"""


def page() -> str:
    """The whole page."""
    parts = [HEAD]
    for service, routes in Surface({}, "").services.items():
        parts += [f"## {service}\n", *topics(routes)]
    return "\n".join(parts) + "\n"


def topics(routes: Routes) -> Iterator[str]:
    """A section for each topic; routes that were added later to a topic stand with it."""
    order = {topic: number for number, topic in enumerate(dict.fromkeys(target.topic for *_, target in routes))}
    rows = sorted(routes, key=lambda row: order[row[2].topic])
    for topic, calls in groupby(rows, key=lambda row: row[2].topic):
        yield f"### {topic.title}\n"
        yield from told(topic)
        yield "| call | fields | role |\n|---|---|---|"
        yield from (row(*call) for call in calls)
        yield ""


def told(topic: Topic) -> Iterator[str]:
    """What is real, simplified, refused."""
    for word in WORDS:
        for sentence in getattr(topic.truth, word):
            yield f"- *{word}*: {sentence}"
    if topic.truth != NOTHING_TOLD:
        yield ""


def row(method: str, path: str, target: Target) -> str:
    """A line of the table."""
    return f"| `{method} {path}` | {', '.join(fields(target))} | {'anybody' if target.public else target.needs} |"


def fields(target: Target) -> Iterator[str]:
    """What a request body may have: names of actions, or of fields, required ones in bold."""
    body = target.body or {}
    if "anyOf" in body:
        yield from (f"`{name}`" for form in body["anyOf"] for name in form.get("properties", {}))
        return
    outer = body.get("items", body)
    wrapped = [inner for inner in outer.get("properties", {}).values() if inner.get("properties")]
    for form in wrapped if wrapped and outer is body and len(wrapped) == len(outer["properties"]) else [outer]:
        yield from named(form)


def named(form: Mapping[str, Any]) -> Iterator[str]:
    """The fields of an object."""
    required = set(form.get("required", ()))
    yield from (f"**{name}**" if name in required else name for name in form.get("properties", {}))


def main() -> int:
    """Write or check the page."""
    text = page()
    if "--check" in sys.argv[1:]:
        current = PAGE.exists() and PAGE.read_text() == text
        print("up to date" if current else f"{PAGE} is out of date: run tools/openstack_reference.py")
        return 0 if current else 1
    PAGE.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
