"""The OpenAPI description of a PoP's services, made of the routes and declarations that answer.

Source: OpenAPI Specification 3.1.0.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from sonata.api.openstack.routing import Routes, Target
from sonata.api.openstack.topic import WORDS, Topic

Document = dict[str, Any]

ERRORS = "an error in the service's own form"
WITHOUT_BODY = frozenset(("GET", "DELETE", "HEAD"))


def description(services: Mapping[str, Routes], version: str, pops: Sequence[str] = ()) -> Document:
    """An OpenAPI 3.1 document whose paths begin with the service, `/compute/v2.1/servers`.

    Args:
        services: routes by the service's path segment.
        version: of the product.
        pops: names of the PoPs; paths lie below each.
    """
    paths: dict[str, Document] = {}
    tags: dict[str, Document] = {}
    for service, routes in services.items():
        for method, path, target in routes:
            paths.setdefault(f"/{service}{path}", {})[method.lower()] = _operation(service, method, path, target)
            tag = _tag(service, target.topic)
            tags.setdefault(tag, {"name": tag, "description": _told(target.topic)})
    return {
        "openapi": "3.1.0",
        "info": {"title": "OpenStack services of an emulated PoP", "version": version},
        **({"servers": [_server(pops)]} if pops else {}),
        "tags": list(tags.values()),
        "paths": paths,
        "components": {"securitySchemes": {"token": {"type": "apiKey", "in": "header", "name": "X-Auth-Token"}}},
    }


def _server(pops: Sequence[str]) -> Document:
    return {"url": "/{pop}", "variables": {"pop": {"default": pops[0], "enum": list(pops)}}}


def _tag(service: str, topic: Topic) -> str:
    return f"{service}: {topic.title}"


def _told(topic: Topic) -> str:
    """What is real, simplified and refused, a line each."""
    return "\n".join(f"{word}: {sentence}" for word in WORDS for sentence in getattr(topic.truth, word))


def _operation(service: str, method: str, path: str, target: Target) -> Document:
    summary = (target.handler.__doc__ or "").split("\n")[0]
    operation: Document = {
        "operationId": "-".join((service, method.lower(), *_words(path))),
        "tags": [_tag(service, target.topic)],
        "security": [] if target.public else [{"token": []}],
        "x-role": target.needs,
        "responses": {"2XX": {"description": "done"}, "4XX": {"description": ERRORS}, "501": {"description": ERRORS}},
    }
    if summary:
        operation["summary"] = summary
    if target.names:
        operation["parameters"] = [_parameter(name) for name in target.names]
    if method not in WITHOUT_BODY:
        operation["requestBody"] = {"content": {"application/json": {"schema": dict(target.body or {})}}}
    return operation


def _parameter(name: str) -> Document:
    return {"name": name, "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}


def _words(path: str) -> Iterator[str]:
    return (segment.strip("{}").replace(".", "_") for segment in path.split("/") if segment)
