"""Requests for life cycle operations: checked, recorded, started. What then happens is in the workflows."""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections.abc import Mapping
from dataclasses import asdict, field
from typing import Any

from sonata._lib.values import dataclass
from sonata.engine.runner import Runner
from sonata.errors import Conflict, InvalidInput
from sonata.mano.catalogue import Catalogue, ServiceRecord
from sonata.mano.instances import Instance, Instances, is_live
from sonata.mano.lifecycle.building import Builder
from sonata.mano.lifecycle.instantiate import Instantiate
from sonata.mano.lifecycle.states import Instantiation
from sonata.mano.lifecycle.terminate import Terminate, Termination
from sonata.mano.placement.decide import PlacementPolicy
from sonata.mano.sites import Sites, new_uuid
from sonata.model.records import LcmOperationOccurrence, NsRecord, NsState, OperationState
from sonata.ports.managers import ManagerHost

logger = logging.getLogger(__name__)

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")


@dataclass(frozen=True, slots=True)
class InstantiateRequest:
    """What a user asks for.

    Args:
        service: UUID, name or vendor/name/version of the network service.
        name: of the instance; empty for one made from the service's.
        ingress: endpoint from which users come, empty for none.
        egress: endpoint that users address, empty for none.
    """

    service: str
    name: str = ""
    ingress: str = ""
    egress: str = ""
    policy: PlacementPolicy = field(default_factory=PlacementPolicy)


class Lifecycle:
    """Instantiates and terminates services; one operation at a time per instance."""

    def __init__(
        self, runner: Runner, catalogue: Catalogue, instances: Instances, sites: Sites, host: ManagerHost
    ) -> None:
        self._runner, self._catalogue, self._instances = runner, catalogue, instances
        self._instantiate = Instantiate(Builder(sites), sites, catalogue, instances, host).workflow()
        self._terminate = Terminate(sites, instances, host).workflow()
        self._requests = asyncio.Lock()  # names, address blocks and states are checked and taken in one go
        runner.register(self._instantiate)
        runner.register(self._terminate)

    async def instantiate(self, request: InstantiateRequest) -> LcmOperationOccurrence:
        """Accept a request: from here it ends in a final state, whatever happens to this process.

        Raises:
            NotFound: the service, or a VNF of it, is not in the catalogue.
            Conflict: the name is taken by a live instance.
            InvalidInput: the name is not usable.
        """
        service = await self._catalogue.service(request.service)
        vnfds = await self._catalogue.constituents(service.descriptor)
        async with self._requests:
            instance = await self._new_instance(service, request)
            await self._instances.put(instance)
            operation = _operation(instance, "INSTANTIATE", {"request": asdict(request) | {"policy": _told(request)}})
            state = Instantiation(
                ns=instance.record.id,
                nsd=service.descriptor,
                vnfds=vnfds,
                package=service.package,
                block=instance.block,
                policy=request.policy,
                ingress=request.ingress,
                egress=request.egress,
            )
            await self._runner.start(self._instantiate, operation, state)
        logger.info("instantiation accepted", extra={"ns": instance.record.id, "operation": operation.id})
        return operation

    async def _new_instance(self, service: ServiceRecord, request: InstantiateRequest) -> Instance:
        instance_id = new_uuid()
        name = request.name or f"{service.descriptor.id.name}-{instance_id[:6]}"
        if not _NAME.fullmatch(name):
            raise InvalidInput(f"instance name `{name}` is not usable: letters, digits, `.`, `_`, `-`, at most 63")
        if any(is_live(each) and each.record.name == name for each in await self._instances.list()):
            raise Conflict(f"a service instance `{name}` exists", hint="choose another name, or terminate it")
        now = time.time()
        record = NsRecord(
            id=instance_id,
            name=name,
            descriptor=service.descriptor.id,
            state=NsState.INSTANTIATING,
            created_at=now,
            updated_at=now,
            ingress=request.ingress,
            egress=request.egress,
        )
        return Instance(record, service.uuid, await self._instances.free_block())

    async def terminate(self, name_or_id: str) -> LcmOperationOccurrence:
        """Accept the termination of an instance.

        Raises:
            NotFound: no such instance.
            Conflict: it is terminated, or another operation works on it.
        """
        async with self._requests:
            instance = await self._instances.find(name_or_id)
            state = instance.record.state
            if state not in (NsState.READY, NsState.ERROR):
                raise Conflict(
                    f"service instance `{instance.record.name}` is {state.value}", hint=_HINTS.get(state, "")
                )
            moved = instance.moved(NsState.TERMINATING)
            await self._instances.put(moved)
            operation = _operation(moved, "TERMINATE", {})
            termination = Termination(instance.record.id, instance.pops, instance.managers)
            await self._runner.start(self._terminate, operation, termination)
        logger.info("termination accepted", extra={"ns": instance.record.id, "operation": operation.id})
        return operation

    async def reconcile(self) -> None:
        """After a restart: what was being accepted when the process died was not accepted, and its record says so."""
        for instance in await self._instances.list():
            if instance.record.state not in _HINTS:
                continue
            operation = await self._runner.last_operation(instance.record.id)
            if operation is not None and not await self._runner.was_lost(operation):
                continue
            if operation is not None:
                await self._runner.give_up(operation, _NOT_ACCEPTED)
            await self._instances.put(instance.moved(NsState.ERROR, error=_NOT_ACCEPTED))


_NOT_ACCEPTED = "the platform stopped before it had accepted the request"
_HINTS = {
    NsState.INSTANTIATING: "wait until its operation has ended",
    NsState.TERMINATING: "watch its operation with `sonata op watch`",
}


def _told(request: InstantiateRequest) -> Mapping[str, Any]:
    policy = request.policy
    return {"placement": policy.decider, "on_manager_failure": policy.rules.fallback, "pinned": dict(policy.pinned)}


def _operation(instance: Instance, verb: str, params: Mapping[str, Any]) -> LcmOperationOccurrence:
    now = time.time()
    return LcmOperationOccurrence(
        id=new_uuid(),
        ns_instance_id=instance.record.id,
        operation=verb,
        state=OperationState.STARTING,
        created_at=now,
        updated_at=now,
        params={**params, "name": instance.record.name},
    )
