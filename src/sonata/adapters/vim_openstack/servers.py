"""Capacity, images, flavors and servers of a VIM."""

from __future__ import annotations

import base64
import math
from typing import Any

from sonata.adapters.vim_openstack.calls import Calls, Document
from sonata.adapters.vim_openstack.faults import VimConflict, VimForbidden, VimNotFound, VimQuotaExceeded, is_exhausted
from sonata.adapters.vim_openstack.marks import METADATA_KEY, tagged
from sonata.errors import PermanentError
from sonata.model.infrastructure import PopCapacity
from sonata.ports.vim import ServerRequest

HYPERVISORS_WITH_TOTALS = "2.53"
"""From 2.88 on hypervisors tell no totals any more (compute API reference)."""


def capacity(calls: Calls) -> PopCapacity:
    """Resources of all hypervisors; for a project without that view, what its quota leaves."""
    try:
        answer = calls.get("compute", "/os-hypervisors/detail", microversion=HYPERVISORS_WITH_TOTALS)
    except VimForbidden:
        return _quota(calls)
    hypervisors = answer["hypervisors"]
    return PopCapacity(
        pop=calls.vim,
        vcpus_total=float(_total(hypervisors, "vcpus")),
        vcpus_used=float(_total(hypervisors, "vcpus_used")),
        memory_mib_total=int(_total(hypervisors, "memory_mb")),
        memory_mib_used=int(_total(hypervisors, "memory_mb_used")),
    )


def _total(hypervisors: list[Document], field: str) -> float:
    return sum(float(hypervisor[field]) for hypervisor in hypervisors)


def _quota(calls: Calls) -> PopCapacity:
    limits = calls.get("compute", "/limits")["limits"]["absolute"]
    return PopCapacity(
        pop=calls.vim,
        vcpus_total=_limit(limits["maxTotalCores"]),
        vcpus_used=float(limits["totalCoresUsed"]),
        memory_mib_total=int(_limit(limits["maxTotalRAMSize"])),
        memory_mib_used=int(limits["totalRAMUsed"]),
    )


def _limit(value: float) -> float:
    """A quota, where -1 means unlimited."""
    return float(value) if value >= 0 else 2.0**31


def image_id(calls: Calls, name: str) -> str:
    """Id of the image of this name; raises VimNotFound with the names that exist."""
    call = f"GET /images?name={name}"
    for image in calls.list("image", "/images", name=name):
        if image["name"] == name:
            found: str = image["id"]
            return found
    known = ", ".join(sorted(f"`{image['name']}`" for image in calls.list("image", "/images"))) or "none"
    raise VimNotFound(f"VIM `{calls.vim}` has no image `{name}`; it has: {known}", call=call, answer=known)


def ensure_server(calls: Calls, request: ServerRequest) -> str:
    """Find or create a server; returns its id at once."""
    found = tagged(calls.list("compute", "/servers/detail", key="servers", name=request.name), request.tag)
    server = found or calls.post("compute", "/servers", {"server": _server(calls, request)})["server"]
    server_id: str = server["id"]
    return server_id


def _server(calls: Calls, request: ServerRequest) -> dict[str, Any]:
    server: dict[str, Any] = {
        "name": request.name,
        "imageRef": image_id(calls, request.image),
        "flavorRef": ensure_flavor(calls, request),
        "networks": [{"port": port} for port in request.ports],
        "metadata": {METADATA_KEY: request.tag},
    }
    if request.user_data:
        server["user_data"] = base64.b64encode(request.user_data.encode()).decode()
    return server


def ensure_flavor(calls: Calls, request: ServerRequest) -> str:
    """Id of a flavor of exactly this size, made where there is none; Nova counts in whole vCPUs."""
    size = {"vcpus": max(1, math.ceil(request.vcpus)), "ram": request.memory_mib, "disk": request.disk_gib}
    found = _flavor(calls, size)
    if found:
        return found
    name = f"sonata-{size['vcpus']}c-{size['ram']}m-{size['disk']}g"
    try:
        created: str = calls.post("compute", "/flavors", {"flavor": {"name": name, **size}})["flavor"]["id"]
    except VimConflict:
        # A server that is deployed in parallel made it in between.
        made = _flavor(calls, size)
        if not made:
            raise
        return made
    return created


def _flavor(calls: Calls, size: dict[str, int]) -> str:
    flavors = calls.list("compute", "/flavors/detail", key="flavors")
    fitting = (flavor["id"] for flavor in flavors if all(flavor[field] == size[field] for field in size))
    return next(fitting, "")


def is_active(calls: Calls, server_id: str) -> bool:
    """Whether a server is ACTIVE; False while it is being made.

    Raises:
        VimQuotaExceeded: it is in ERROR since no host has room.
        PermanentError: it is in ERROR or has ended.
    """
    path = f"/servers/{server_id}"
    server = calls.get("compute", path)["server"]
    status = server["status"]
    if status in ("ERROR", "SHUTOFF", "DELETED", "SOFT_DELETED"):
        answer = (server.get("fault") or {}).get("message", "") or f"status {status} without a fault"
        kind = VimQuotaExceeded if is_exhausted(answer) else PermanentError
        message = f"server `{server['name']}` in VIM `{calls.vim}` is {status}: {answer}"
        raise kind(message, call=f"GET {path}", answer=answer)
    return bool(status == "ACTIVE")
