"""`ports.store.Store` on an SQL database (SQLite)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.sqlite import insert

from sonata._lib.plain import decode, encode, from_plain
from sonata.adapters.store_sql.database import Database
from sonata.adapters.store_sql.tables import archives, documents, operations, steps
from sonata.errors import NotFound
from sonata.model.records import LcmOperationOccurrence, StepRecord
from sonata.ports.store import Document, Kind

_NOUNS = {"nsd": "service", "vnfd": "function", "ns_instance": "service instance", "vim": "VIM", "wim": "WIM"}


def _upsert(table: sa.Table, **computed: Any) -> sa.Executable:
    """Insert or replace a row given at execution; computed columns are set by the insert alone.

    Statements are made once: making one takes longer than running it.
    """
    keys = [column.name for column in table.primary_key]
    given: dict[str, Any] = {
        column.name: sa.bindparam(column.name) for column in table.columns if column.name not in computed
    }
    statement = insert(table).values(**given, **computed)
    changed = {name: statement.excluded[name] for name in given if name not in keys}
    return statement.on_conflict_do_update(index_elements=keys, set_=changed)


_LAST_POSITION = sa.select(sa.func.coalesce(sa.func.max(documents.c.position), 0) + 1).scalar_subquery()
_PUT_DOCUMENT = _upsert(documents, position=_LAST_POSITION)
_PUT_ARCHIVE, _PUT_OPERATION, _PUT_STEP = _upsert(archives), _upsert(operations), _upsert(steps)
_KIND: sa.BindParameter[str] = sa.bindparam("kind")
_KEY: sa.BindParameter[str] = sa.bindparam("key")
_GET_DOCUMENT = sa.select(documents.c.body).where(documents.c.kind == _KIND, documents.c.key == _KEY)
_LIST_DOCUMENTS = sa.select(documents.c.body).where(documents.c.kind == _KIND).order_by(documents.c.position)
_GET_OPERATION = sa.select(operations.c.body).where(operations.c.id == sa.bindparam("id"))


class SqlStore:
    """Documents, archives, operations and steps in the file `path`."""

    def __init__(self, path: Path) -> None:
        self._database = Database(path)

    async def put(self, kind: Kind, key: str, document: Document) -> None:
        """Insert or replace; a replaced document keeps its place in the list."""
        row = {"kind": kind, "key": key, "body": encode(dict(document))}
        await self._database.write(lambda connection: connection.execute(_PUT_DOCUMENT, row))

    async def get(self, kind: Kind, key: str) -> Document:
        """One document; raises NotFound."""
        wanted = {"kind": kind, "key": key}
        body = await self._database.read(lambda connection: connection.scalar(_GET_DOCUMENT, wanted))
        if body is None:
            raise NotFound(f"no {_NOUNS.get(kind, kind)} `{key}`")
        found: Document = decode(body)
        return found

    async def list(self, kind: Kind) -> Sequence[Document]:
        """All documents of a kind, oldest first."""
        wanted = {"kind": kind}
        return [decode(body) for body in await self._bodies(_LIST_DOCUMENTS, wanted)]

    async def delete(self, kind: Kind, key: str) -> None:
        """Remove; idempotent."""
        statement = sa.delete(documents).where(documents.c.kind == kind, documents.c.key == key)
        await self._database.write(lambda connection: connection.execute(statement))

    async def put_archive(self, package_id: str, archive: bytes) -> None:
        """Keep a package archive."""
        row = {"package_id": package_id, "content": archive}
        await self._database.write(lambda connection: connection.execute(_PUT_ARCHIVE, row))

    async def get_archive(self, package_id: str) -> bytes:
        """A package archive; raises NotFound."""
        query = sa.select(archives.c.content).where(archives.c.package_id == package_id)
        content = await self._database.read(lambda connection: connection.scalar(query))
        if content is None:
            raise NotFound(f"no archive of package `{package_id}`")
        return bytes(content)

    async def delete_archive(self, package_id: str) -> None:
        """Remove a package archive; idempotent."""
        statement = sa.delete(archives).where(archives.c.package_id == package_id)
        await self._database.write(lambda connection: connection.execute(statement))

    async def put_operation(self, operation: LcmOperationOccurrence) -> None:
        """Insert or replace an operation occurrence."""
        row = {
            "id": operation.id,
            "ns_instance_id": operation.ns_instance_id,
            "created_at": operation.created_at,
            "body": encode(operation),
        }
        await self._database.write(lambda connection: connection.execute(_PUT_OPERATION, row))

    async def get_operation(self, operation_id: str) -> LcmOperationOccurrence:
        """One operation; raises NotFound."""
        wanted = {"id": operation_id}
        body = await self._database.read(lambda connection: connection.scalar(_GET_OPERATION, wanted))
        if body is None:
            raise NotFound(f"no operation `{operation_id}`")
        return from_plain(decode(body), LcmOperationOccurrence)

    async def list_operations(self, ns_instance_id: str | None = None) -> Sequence[LcmOperationOccurrence]:
        """Operations, oldest first, of one instance or of all."""
        query = sa.select(operations.c.body).order_by(operations.c.created_at, operations.c.id)
        if ns_instance_id is not None:
            query = query.where(operations.c.ns_instance_id == ns_instance_id)
        return [from_plain(decode(body), LcmOperationOccurrence) for body in await self._bodies(query)]

    async def put_step(self, step: StepRecord) -> None:
        """Insert or replace one attempt of one step."""
        row = {
            "operation_id": step.operation_id,
            "step": step.step,
            "attempt": step.attempt,
            "started_at": step.started_at,
            "body": encode(step),
        }
        await self._database.write(lambda connection: connection.execute(_PUT_STEP, row))

    async def list_steps(self, operation_id: str) -> Sequence[StepRecord]:
        """Timeline of an operation in order of start."""
        query = sa.select(steps.c.body).where(steps.c.operation_id == operation_id)
        ordered = query.order_by(steps.c.started_at, steps.c.step, steps.c.attempt)
        return [from_plain(decode(body), StepRecord) for body in await self._bodies(ordered)]

    async def close(self) -> None:
        """Release the database."""
        await self._database.close()

    async def _bodies(self, query: sa.Select[tuple[Any]], wanted: dict[str, Any] | None = None) -> Sequence[bytes]:
        return await self._database.read(lambda connection: connection.scalars(query, wanted or {}).all())
