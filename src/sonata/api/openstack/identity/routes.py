"""The Identity API v3 of a PoP: versions, catalog, domain, region, services and endpoints; all else beside.

Source: OpenStack Identity API v3 reference.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

import sonata.api.openstack.identity.credentials as identity_credentials
import sonata.api.openstack.identity.grants as identity_grants
import sonata.api.openstack.identity.people as identity_people
from sonata.api.openstack.call import Call
from sonata.api.openstack.identity.auth import TokenDesk, domain_document
from sonata.api.openstack.identity.documents import linked, listing
from sonata.api.openstack.reply import Reply, json_reply
from sonata.api.openstack.routing import Handler, Routes
from sonata.api.openstack.topic import Topic, Truth
from sonata.errors import NotFound, Unsupported

REGION = "RegionOne"
SERVICES: tuple[tuple[str, str, str, str], ...] = (
    ("identity", "keystone", "identity", "/v3"),
    ("compute", "nova", "compute", "/v2.1"),
    ("network", "neutron", "network", ""),
    ("image", "glance", "image", ""),
    ("orchestration", "heat", "orchestration", "/v1/{project_id}"),
    ("load-balancer", "octavia", "load-balancer", ""),
    ("block-storage", "cinder", "volume", "/v3/{project_id}"),
    ("volumev3", "cinderv3", "volume", "/v3/{project_id}"),
)
"""Type, name, path segment of a service, and the path of its endpoint below it; `{project_id}` may be part of it."""
INTERFACES = ("public", "internal", "admin")
Documents = list[dict[str, Any]]


FIXED = Topic(
    "services, endpoints, domains, regions",
    Truth(
        real=("they are those that answer, with the address as the client reached it",),
        refused=(
            "making, changing or deleting one (501): there is one domain, `Default`, and one region, `RegionOne`",
        ),
    ),
)


def identity_routes(admin_password: str) -> Routes:
    """All routes of the service."""
    routes = Routes()
    routes.add("GET", "/", _versions, public=True)
    routes.add("GET", "/v3", _version, public=True)
    TokenDesk(admin_password, catalog).register(routes)
    routes.about(FIXED)
    routes.add("GET", "/v3/auth/catalog", _catalog, needs="any")
    identity_people.register(routes)
    identity_grants.register(routes)
    identity_credentials.register(routes)
    routes.about(FIXED)
    _register_fixed(routes, "services", _services)
    _register_fixed(routes, "endpoints", _endpoints)
    _register_fixed(routes, "domains", lambda _call: [domain_document()])
    _register_fixed(routes, "regions", lambda _call: [_region()])
    return routes


def _version_document(call: Call) -> dict[str, Any]:
    return {
        "id": "v3.14",
        "status": "stable",
        "updated": "2020-04-07T00:00:00Z",
        "links": [{"rel": "self", "href": call.url("identity", "/v3/")}],
        "media-types": [{"base": "application/json", "type": "application/vnd.openstack.identity-v3+json"}],
    }


async def _versions(call: Call) -> Reply:
    return json_reply({"versions": {"values": [_version_document(call)]}}, 300, location=call.url("identity", "/v3/"))


async def _version(call: Call) -> Reply:
    return json_reply({"version": _version_document(call)})


def stable_id(call: Call, what: str) -> str:
    """An id that stays the same while the cloud lives."""
    return uuid.uuid5(uuid.UUID(call.cloud.identity.admin.id), what).hex


def catalog(call: Call, project_id: str) -> Documents:
    """The service catalog for a project, with addresses as the client reached us; without one, project URLs lack."""
    endpoints = [
        {**endpoint, "url": endpoint["url"].replace("{project_id}", project_id)}
        for endpoint in _endpoints(call)
        if project_id or "{project_id}" not in endpoint["url"]
    ]
    return [
        {
            "id": service["id"],
            "type": service["type"],
            "name": service["name"],
            "endpoints": [
                {key: endpoint[key] for key in ("id", "interface", "region", "region_id", "url")}
                for endpoint in endpoints
                if endpoint["service_id"] == service["id"]
            ],
        }
        for service in _services(call)
    ]


async def _catalog(call: Call) -> Reply:
    shown = catalog(call, call.project_id)
    return json_reply({"catalog": shown, "links": {"self": call.url("identity", "/v3/auth/catalog")}})


def _services(call: Call) -> Documents:
    return [
        {"id": stable_id(call, f"service/{kind}"), "type": kind, "name": name, "description": "", "enabled": True}
        for kind, name, _segment, _path in SERVICES
    ]


def _endpoints(call: Call) -> Documents:
    return [
        {
            "id": stable_id(call, f"endpoint/{kind}/{interface}"),
            "service_id": stable_id(call, f"service/{kind}"),
            "interface": interface,
            "region": REGION,
            "region_id": REGION,
            "url": call.url(segment, path),
            "enabled": True,
        }
        for kind, _name, segment, path in SERVICES
        for interface in INTERFACES
    ]


def _region() -> dict[str, Any]:
    return {"id": REGION, "description": "", "parent_region_id": None}


def _register_fixed(routes: Routes, collection: str, documents: Callable[[Call], Documents]) -> None:
    """What follows from the emulation itself: it is shown and cannot be changed."""
    base = f"/v3/{collection}"
    show, refuse = _showing(collection, documents), _refusing(collection)
    routes.add("GET", base, listing(collection, documents), needs="any" if collection == "regions" else "admin")
    routes.add("GET", f"{base}/{{id}}", show, needs="any" if collection in ("regions", "domains") else "admin")
    routes.add("POST", base, refuse, needs="admin")
    routes.add("PATCH", f"{base}/{{id}}", refuse, needs="admin")
    routes.add("DELETE", f"{base}/{{id}}", refuse, needs="admin")


def _showing(collection: str, documents: Callable[[Call], Documents]) -> Handler:
    """The handler of GET of one member."""
    member = collection.removesuffix("s")

    async def handle(call: Call) -> Reply:
        for document in documents(call):
            if document["id"] == call.params["id"]:
                return json_reply({member: linked(call, collection, document)})
        raise NotFound(f"Could not find {member}: {call.params['id']}.")

    return handle


def _refusing(collection: str) -> Handler:
    async def handle(_call: Call) -> Reply:
        raise Unsupported(f"the {collection} of a PoP are those that it really has: they cannot be changed")

    return handle
