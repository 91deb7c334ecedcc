"""Requests, records and operations."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Response
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, ConfigDict, Field

import sonata.api.northbound.views as views
from sonata.api.northbound.access import PlatformOf
from sonata.api.northbound.paging import PageOf
from sonata.errors import InvalidInput, NotFound, Unsupported
from sonata.mano.lifecycle import InstantiateRequest
from sonata.mano.managers import EventPolicy
from sonata.mano.placement import PlacementPolicy
from sonata.mano.platform import Platform
from sonata.model.records import LcmOperationOccurrence, VnfRecord

router = APIRouter()


class AccessPoint(BaseModel):
    """Where users come from, or what they address; SONATA's form of an endpoint."""

    model_config = ConfigDict(extra="forbid")
    location: str = Field("", description="name of the endpoint")
    nap: str = Field("", description="the same; `location` goes first")


class PlacementParams(BaseModel):
    """Who places the service, and what happens when its manager fails."""

    model_config = ConfigDict(extra="forbid")
    placement: Literal["auto", "ssm", "generic"] = "auto"
    on_manager_failure: Literal["generic", "fail"] = "generic"
    allowed_pops: list[str] | None = Field(None, description="bounds a manager's decision to these PoPs")
    pinned: dict[str, str] = Field(default_factory=dict, description="PoP by VNF, for those not to be placed")
    manager_timeout_s: float = Field(2.0, gt=0, le=60)


class ServiceRequest(BaseModel):
    """A life cycle request."""

    model_config = ConfigDict(extra="forbid")
    request_type: Literal["CREATE_SERVICE", "TERMINATE_SERVICE"] = "CREATE_SERVICE"
    service_uuid: str = Field("", description="UUID or name of the service, for CREATE_SERVICE")
    instance_uuid: str = Field("", description="UUID or name of the instance, for TERMINATE_SERVICE")
    name: str = Field("", description="name of the new instance")
    ingresses: list[AccessPoint | str] = Field(default_factory=list)
    egresses: list[AccessPoint | str] = Field(default_factory=list)
    params: PlacementParams = Field(default_factory=PlacementParams)


@router.post("/requests", status_code=201, tags=["requests"])
async def accept_request(platform: PlatformOf, body: ServiceRequest, response: Response) -> dict[str, Any]:
    """Accept a request; from here on it ends in a final state, also when the platform is killed."""
    operation = await (_create if body.request_type == "CREATE_SERVICE" else _terminate)(platform, body)
    response.headers["Location"] = f"/api/v3/requests/{operation.id}"
    return views.request(operation)


async def _create(platform: Platform, body: ServiceRequest) -> LcmOperationOccurrence:
    if not body.service_uuid:
        raise InvalidInput("CREATE_SERVICE needs `service_uuid`")
    bounded = body.params.allowed_pops is not None
    rules = EventPolicy(
        stance="bound" if bounded else "allow",
        pops=frozenset(body.params.allowed_pops or ()),
        fallback=body.params.on_manager_failure,
        timeout_s=body.params.manager_timeout_s,
    )
    policy = PlacementPolicy(body.params.placement, rules, body.params.pinned)
    ingress, egress = _endpoint(body.ingresses, "ingresses"), _endpoint(body.egresses, "egresses")
    request = InstantiateRequest(body.service_uuid, body.name, ingress, egress, policy)
    return await platform.lifecycle.instantiate(request)


async def _terminate(platform: Platform, body: ServiceRequest) -> LcmOperationOccurrence:
    if not body.instance_uuid:
        raise InvalidInput("TERMINATE_SERVICE needs `instance_uuid`")
    return await platform.lifecycle.terminate(body.instance_uuid)


def _endpoint(points: list[AccessPoint | str], field: str) -> str:
    if len(points) > 1:
        raise Unsupported(f"`{field}` has {len(points)} endpoints; a service can have one", hint="use one of them")
    names = [point if isinstance(point, str) else point.location or point.nap for point in points]
    return names[0] if names else ""


@router.get("/requests", tags=["requests"])
async def list_requests(platform: PlatformOf, page: PageOf) -> list[dict[str, Any]]:
    """All requests, oldest first."""
    return page.of([views.request(operation) for operation in await platform.store.list_operations()])


@router.get("/requests/{request_id}", tags=["requests"])
async def show_request(platform: PlatformOf, request_id: str) -> dict[str, Any]:
    """A request."""
    return views.request(await platform.store.get_operation(request_id))


@router.get("/records/services", tags=["records"])
async def list_service_records(
    platform: PlatformOf, page: PageOf, status: Annotated[str, Query(description="only these")] = ""
) -> list[dict[str, Any]]:
    """Service instances, oldest first."""
    instances = await platform.instances.list()
    return page.of([views.service_record(each) for each in instances if status in ("", each.record.state.value)])


@router.get("/records/services/{key}", tags=["records"])
async def show_service_record(platform: PlatformOf, key: str) -> dict[str, Any]:
    """A service instance by UUID or name."""
    return views.service_record(await platform.instances.find(key))


@router.get("/records/functions", tags=["records"])
async def list_function_records(platform: PlatformOf, page: PageOf) -> list[dict[str, Any]]:
    """Running VNFs and those that ran."""
    return page.of([views.function_record(vnf) for vnf in await _vnfs(platform)])


@router.get("/records/functions/{vnf_uuid}", tags=["records"])
async def show_function_record(platform: PlatformOf, vnf_uuid: str) -> dict[str, Any]:
    """A VNF instance."""
    for vnf in await _vnfs(platform):
        if vnf.id == vnf_uuid:
            return views.function_record(vnf)
    raise NotFound(f"no VNF record `{vnf_uuid}`")


async def _vnfs(platform: Platform) -> list[VnfRecord]:
    return [vnf for instance in await platform.instances.list() for vnf in instance.record.vnfs]


@router.get("/operations", tags=["operations"])
async def list_operations(
    platform: PlatformOf, page: PageOf, instance: Annotated[str, Query(description="UUID or name")] = ""
) -> list[dict[str, Any]]:
    """LCM operation occurrences, oldest first."""
    ns_instance_id = (await platform.instances.find(instance)).record.id if instance else None
    return page.of([views.operation(each) for each in await platform.store.list_operations(ns_instance_id)])


@router.get("/operations/{operation_id}", tags=["operations"])
async def show_operation(platform: PlatformOf, operation_id: str) -> dict[str, Any]:
    """An operation with its steps: every attempt, when, what happened, and why it failed."""
    occurrence = await platform.store.get_operation(operation_id)
    steps = await platform.timeline.steps(operation_id)
    return {**views.operation(occurrence), "steps": [views.step(record) for record in steps]}


@router.get("/operations/{operation_id}/events", tags=["operations"], response_class=StreamingResponse)
async def watch_operation(platform: PlatformOf, operation_id: str) -> StreamingResponse:
    """Steps and states as they happen (server-sent events `step` and `operation`), until the operation ends."""
    await platform.store.get_operation(operation_id)
    return StreamingResponse(_events(platform, operation_id), media_type="text/event-stream")


async def _events(platform: Platform, operation_id: str) -> AsyncIterator[str]:
    async for change in platform.timeline.watch(operation_id):
        if isinstance(change, LcmOperationOccurrence):
            yield f"event: operation\ndata: {json.dumps(views.operation(change))}\n\n"
        else:
            yield f"event: step\ndata: {json.dumps(views.step(change))}\n\n"
