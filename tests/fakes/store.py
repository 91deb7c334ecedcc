"""A store in memory."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sonata._lib.plain import decode, encode
from sonata.errors import NotFound
from sonata.model.records import LcmOperationOccurrence, StepRecord
from sonata.ports.store import Document, Kind


class MemoryStore:
    """Implements `ports.store.Store`."""

    def __init__(self) -> None:
        self.documents: dict[tuple[str, str], bytes] = {}
        self.archives: dict[str, bytes] = {}
        self.operations: dict[str, LcmOperationOccurrence] = {}
        self.steps: dict[tuple[str, str, int], StepRecord] = {}
        self.written: list[StepRecord] = []

    async def put(self, kind: Kind, key: str, document: Document) -> None:
        self.documents[(kind, key)] = encode(dict(document))

    async def get(self, kind: Kind, key: str) -> Document:
        if (kind, key) not in self.documents:
            raise NotFound(f"no {kind} `{key}`")
        found: dict[str, Any] = decode(self.documents[(kind, key)])
        return found

    async def list(self, kind: Kind) -> Sequence[Document]:
        return [decode(body) for (each, _), body in self.documents.items() if each == kind]

    async def delete(self, kind: Kind, key: str) -> None:
        self.documents.pop((kind, key), None)

    async def put_archive(self, package_id: str, archive: bytes) -> None:
        self.archives[package_id] = archive

    async def get_archive(self, package_id: str) -> bytes:
        if package_id not in self.archives:
            raise NotFound(f"no archive of `{package_id}`")
        return self.archives[package_id]

    async def delete_archive(self, package_id: str) -> None:
        self.archives.pop(package_id, None)

    async def put_operation(self, operation: LcmOperationOccurrence) -> None:
        self.operations[operation.id] = operation

    async def get_operation(self, operation_id: str) -> LcmOperationOccurrence:
        if operation_id not in self.operations:
            raise NotFound(f"no operation `{operation_id}`")
        return self.operations[operation_id]

    async def list_operations(self, ns_instance_id: str | None = None) -> Sequence[LcmOperationOccurrence]:
        found = [each for each in self.operations.values() if ns_instance_id in (None, each.ns_instance_id)]
        return sorted(found, key=lambda each: each.created_at)

    async def put_step(self, step: StepRecord) -> None:
        self.steps[(step.operation_id, step.step, step.attempt)] = step
        self.written.append(step)

    async def list_steps(self, operation_id: str) -> Sequence[StepRecord]:
        found = [step for step in self.steps.values() if step.operation_id == operation_id]
        return sorted(found, key=lambda step: step.started_at)

    async def close(self) -> None:
        return
