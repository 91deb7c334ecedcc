"""The Block Storage API v3 of a PoP.

Source: OpenStack Block Storage API v3 reference, microversions 3.0 to 3.70.
"""

from __future__ import annotations

import sonata.api.openstack.volume.actions as actions
import sonata.api.openstack.volume.attachments as attachments
import sonata.api.openstack.volume.site as site
import sonata.api.openstack.volume.snapshots as snapshots
import sonata.api.openstack.volume.transfers as transfers
import sonata.api.openstack.volume.types as types
import sonata.api.openstack.volume.volumes as volumes
from sonata.api.openstack.call import Call
from sonata.api.openstack.listing import Document
from sonata.api.openstack.reply import Reply, json_reply
from sonata.api.openstack.routing import Routes
from sonata.api.openstack.topic import Topic, Truth
from sonata.api.openstack.volume.common import Paths
from sonata.api.openstack.volume.microversions import NEWEST, OLDEST, dotted

VOLUMES = Topic(
    "volumes",
    Truth(
        real=(
            "a volume is a file system of its size: writing more ends in ENOSPC; attached as /dev/vdb it is the folder "
            "/mnt/vdb of the server, at once and after each reboot, until it is detached",
            "volumes from snapshots, volumes and images, also filled anew (`os-reimage`); servers that boot from a "
            "volume; upload to an image",
            "extend, also in use where the host permits it or no process works in it; retype; read-only; transfers",
            "volumes outlive their servers, and the death of the emulation; `emu down` removes them",
        ),
        simplified=(
            "servers see a folder, not a block device; without root or loop devices the size is not enforced, and the "
            "volume's metadata say so under `unenforced`",
            "types and their extra specs are kept, all of them by one place",
        ),
        refused=(
            "backups (404, as without the service), groups (400), encryption, migration and export to other hosts "
            "(501), multiattach (400), detaching a root volume (400) or one in which a process works (409)",
        ),
    ),
)
SNAPSHOTS = Topic("snapshots", Truth(real=("a copy of one moment, also of a volume in use (its writers wait for it)",)))


def volume_routes() -> Routes:
    """All routes of the service."""
    routes = Routes()
    routes.add("GET", "/", _versions, public=True)
    routes.add("GET", "/v3", _version, public=True)
    paths = Paths(routes)
    for topic, part in (
        (VOLUMES, volumes.register),
        (VOLUMES, actions.register),
        (SNAPSHOTS, snapshots.register),
        (
            Topic(
                "types",
                Truth(
                    real=("private types and their projects",),
                    simplified=("extra specs are kept; volumes of all types are in one place",),
                    refused=("encryption (501)",),
                ),
            ),
            types.register,
        ),
        (
            Topic(
                "transfers",
                Truth(
                    real=("a volume goes to another project with its `auth_key`, which is shown once",),
                ),
            ),
            transfers.register,
        ),
        (
            Topic(
                "attachments",
                Truth(
                    real=("what the Compute API attached",),
                    refused=("connecting by hand, with a connector (501): there is no export to other hosts",),
                ),
            ),
            attachments.register,
        ),
        (
            Topic(
                "limits, quotas, services",
                Truth(
                    real=("quotas are enforced (413); capacity is that of the disk that the volumes are on",),
                    simplified=(
                        "one service of each kind; groups, backups, clusters and QoS specs are empty lists; quotas by "
                        "type are shown as -1",
                    ),
                    refused=("backups (404), groups (400)",),
                ),
            ),
            site.register,
        ),
    ):
        routes.about(topic)
        part(paths)
    return routes


def _document(call: Call) -> Document:
    return {
        "id": "v3.0",
        "status": "CURRENT",
        "version": dotted(NEWEST),
        "min_version": dotted(OLDEST),
        "updated": "2016-02-08T12:20:21Z",
        "links": [{"rel": "self", "href": call.url("volume", "/v3/")}],
        "media-types": [{"base": "application/json", "type": "application/vnd.openstack.volume+json;version=3"}],
    }


async def _versions(call: Call) -> Reply:
    return json_reply({"versions": [_document(call)]}, 300)


async def _version(call: Call) -> Reply:
    return json_reply({"versions": [_document(call)]})
