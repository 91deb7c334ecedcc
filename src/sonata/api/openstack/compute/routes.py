"""The Compute API v2.1 of a PoP: versions, limits, quotas, hypervisors, zones, services; servers and flavors beside.

Source: OpenStack Compute API reference, microversions 2.1 to 2.96.
"""

from __future__ import annotations

import sonata.api.openstack.compute.consoles as compute_consoles
import sonata.api.openstack.compute.flavors as compute_flavors
import sonata.api.openstack.compute.history as compute_history
import sonata.api.openstack.compute.hosts as compute_hosts
import sonata.api.openstack.compute.keypairs as compute_keypairs
import sonata.api.openstack.compute.quotas as compute_quotas
import sonata.api.openstack.compute.server_actions as compute_server_actions
import sonata.api.openstack.compute.server_groups as compute_server_groups
import sonata.api.openstack.compute.server_parts as compute_server_parts
import sonata.api.openstack.compute.servers as compute_servers
import sonata.api.openstack.compute.volume_attachments as compute_volume_attachments
from sonata.api.openstack.call import NEWEST, OLDEST, Call
from sonata.api.openstack.listing import Document
from sonata.api.openstack.reply import Reply, json_reply
from sonata.api.openstack.routing import Routes
from sonata.api.openstack.topic import GENERAL


def compute_routes() -> Routes:
    """All routes of the service."""
    routes = Routes()
    routes.add("GET", "/", _versions, public=True)
    routes.add("GET", "/v2.1", _version, public=True)
    compute_flavors.register(routes)
    compute_servers.register(routes)
    compute_keypairs.register(routes)
    compute_server_parts.register(routes)
    compute_server_actions.register(routes)
    compute_server_groups.register(routes)
    compute_consoles.register(routes)
    compute_history.register(routes)
    compute_hosts.register(routes)
    compute_volume_attachments.register(routes)
    compute_quotas.register(routes)
    routes.about(GENERAL)
    routes.add("GET", "/v2.1/extensions", _extensions)
    return routes


def _version_document(call: Call) -> Document:
    return {
        "id": "v2.1",
        "status": "CURRENT",
        "version": f"{NEWEST[0]}.{NEWEST[1]}",
        "min_version": f"{OLDEST[0]}.{OLDEST[1]}",
        "updated": "2013-07-23T11:33:21Z",
        "links": [{"rel": "self", "href": call.url("compute", "/v2.1/")}],
    }


async def _versions(call: Call) -> Reply:
    return json_reply({"versions": [_version_document(call)]})


async def _version(call: Call) -> Reply:
    media = {"base": "application/json", "type": "application/vnd.openstack.compute+json;version=2.1"}
    return json_reply({"version": {**_version_document(call), "media-types": [media]}})


async def _extensions(call: Call) -> Reply:
    return json_reply({"extensions": []})
