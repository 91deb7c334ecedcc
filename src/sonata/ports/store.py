"""Catalogue and records: what the platform remembers.

Documents are plain JSON values. Every write is durable at return. The adapter serialises writers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, Protocol

from sonata.model.records import LcmOperationOccurrence, StepRecord

Kind = Literal["package", "nsd", "vnfd", "ns_instance", "vim", "wim"]
Document = Mapping[str, Any]


class Store(Protocol):
    """Documents by kind and id, package archives, operations with their timeline."""

    async def put(self, kind: Kind, key: str, document: Document) -> None:
        """Insert or replace."""

    async def get(self, kind: Kind, key: str) -> Document:
        """One document; raises NotFound."""

    async def list(self, kind: Kind) -> Sequence[Document]:
        """All documents of a kind, oldest first."""

    async def delete(self, kind: Kind, key: str) -> None:
        """Remove; idempotent."""

    async def put_archive(self, package_id: str, archive: bytes) -> None:
        """Keep a package archive."""

    async def get_archive(self, package_id: str) -> bytes:
        """A package archive; raises NotFound."""

    async def delete_archive(self, package_id: str) -> None:
        """Remove a package archive; idempotent."""

    async def put_operation(self, operation: LcmOperationOccurrence) -> None:
        """Insert or replace an operation occurrence."""

    async def get_operation(self, operation_id: str) -> LcmOperationOccurrence:
        """One operation; raises NotFound."""

    async def list_operations(self, ns_instance_id: str | None = None) -> Sequence[LcmOperationOccurrence]:
        """Operations, oldest first, of one instance or of all."""

    async def put_step(self, step: StepRecord) -> None:
        """Insert or replace one attempt of one step; the key is (operation_id, step, attempt)."""

    async def list_steps(self, operation_id: str) -> Sequence[StepRecord]:
        """Timeline of an operation in order of start."""

    async def close(self) -> None:
        """Release the database."""
