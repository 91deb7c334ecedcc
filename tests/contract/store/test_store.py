"""What every store promises."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy as sa

from sonata.adapters.store_sql import DataLock, SqlStore
from sonata.adapters.store_sql.engine import open_engine
from sonata.adapters.store_sql.migrations.__main__ import upgrade
from sonata.adapters.store_sql.schema import bring_up_to_date
from sonata.adapters.store_sql.tables import SCHEMA, metadata, schema_version
from sonata.errors import Conflict, NotFound, PermanentError
from sonata.model.records import LcmOperationOccurrence, OperationState, StepRecord, StepState

pytestmark = pytest.mark.anyio


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqlStore]:
    opened = SqlStore(tmp_path / "sonata.db")
    yield opened
    await opened.close()


def operation(name: str, ns: str = "ns-1", at: float = 1.0) -> LcmOperationOccurrence:
    return LcmOperationOccurrence(name, ns, "INSTANTIATE", OperationState.STARTING, at, at, params={"a": [1, None]})


async def test_a_document_comes_back_as_it_was_put(store: SqlStore) -> None:
    document = {"id": "x", "deep": {"list": [1, 2.5, None, True, "ä"]}}
    await store.put("nsd", "x", document)
    assert await store.get("nsd", "x") == document


async def test_a_replaced_document_keeps_its_place(store: SqlStore) -> None:
    for key in ("c", "a", "b"):
        await store.put("vim", key, {"key": key})
    await store.put("vim", "c", {"key": "c", "new": True})
    assert [document["key"] for document in await store.list("vim")] == ["c", "a", "b"]
    assert (await store.get("vim", "c"))["new"] is True


async def test_kinds_do_not_mix(store: SqlStore) -> None:
    await store.put("nsd", "x", {"kind": "nsd"})
    assert await store.list("vnfd") == []
    with pytest.raises(NotFound, match="no function `x`"):
        await store.get("vnfd", "x")


async def test_deleting_twice_is_fine(store: SqlStore) -> None:
    await store.put("wim", "w", {})
    await store.delete("wim", "w")
    await store.delete("wim", "w")
    assert await store.list("wim") == []


async def test_archives_come_back_byte_for_byte(store: SqlStore) -> None:
    content = bytes(range(256)) * 100
    await store.put_archive("p", content)
    assert await store.get_archive("p") == content
    await store.delete_archive("p")
    await store.delete_archive("p")
    with pytest.raises(NotFound):
        await store.get_archive("p")


async def test_operations_are_listed_oldest_first_and_by_instance(store: SqlStore) -> None:
    for each in (operation("late", at=3), operation("early", at=1), operation("other", "ns-2", 2)):
        await store.put_operation(each)
    assert [found.id for found in await store.list_operations()] == ["early", "other", "late"]
    assert [found.id for found in await store.list_operations("ns-1")] == ["early", "late"]
    changed = replace(operation("early"), state=OperationState.FAILED, error="why")
    await store.put_operation(changed)
    assert await store.get_operation("early") == changed


async def test_each_attempt_of_a_step_is_kept(store: SqlStore) -> None:
    first = StepRecord("op", "place", 1, StepState.RUNNING, 10.0)
    await store.put_step(first)
    failed = replace(first, state=StepState.FAILED, ended_at=11.0, error="e", call="GET /", answer="500", hint="h")
    await store.put_step(failed)
    second = StepRecord("op", "place", 2, StepState.DONE, 12.0, 13.0, detail="fine")
    await store.put_step(second)
    assert await store.list_steps("op") == [failed, second]


async def test_many_writers_lose_nothing(store: SqlStore) -> None:
    await asyncio.gather(*(store.put("nsd", f"n{i}", {"i": i}) for i in range(300)))
    assert {document["i"] for document in await store.list("nsd")} == set(range(300))


async def test_what_was_written_is_there_after_kill_9(tmp_path: Path) -> None:
    program = """
import asyncio, os, signal, sys
from pathlib import Path
from sonata.adapters.store_sql import SqlStore
async def main():
    store = SqlStore(Path(sys.argv[1]))
    for number in range(20):
        await store.put("nsd", str(number), {"n": number})
    os.kill(os.getpid(), signal.SIGKILL)
asyncio.run(main())
"""
    path = tmp_path / "sonata.db"
    ended = subprocess.run([sys.executable, "-c", program, str(path)], timeout=60, check=False)
    assert ended.returncode == -9
    store = SqlStore(path)
    try:
        assert [document["n"] for document in await store.list("nsd")] == list(range(20))
    finally:
        await store.close()


async def test_reopening_finds_everything_and_migrates_nothing_twice(tmp_path: Path) -> None:
    for _ in range(2):
        store = SqlStore(tmp_path / "sonata.db")
        await store.put("nsd", "x", {})
        assert len(await store.list("nsd")) == 1
        await store.close()


def test_a_new_file_is_what_the_migrations_make_of_an_empty_one(tmp_path: Path) -> None:
    new, migrated = open_engine(tmp_path / "new.db"), open_engine(tmp_path / "migrated.db")
    bring_up_to_date(new, tmp_path / "new.db")
    upgrade(tmp_path / "migrated.db")
    found = []
    for engine in (new, migrated):
        with engine.begin() as connection:
            assert connection.scalar(sa.select(schema_version.c.version_num)) == SCHEMA
            known = sa.inspect(connection)
            for table in known.get_table_names():
                columns = [{**column, "type": str(column["type"])} for column in known.get_columns(table)]
                found.append((table, columns, known.get_indexes(table)))
        engine.dispose()
    assert len(found) == 2 * len(metadata.tables)
    assert found[: len(metadata.tables)] == found[len(metadata.tables) :]


def test_an_old_file_is_migrated_and_a_later_one_refused(tmp_path: Path) -> None:
    path = tmp_path / "sonata.db"
    engine = open_engine(path)
    with engine.begin() as connection:
        schema_version.create(connection)  # as before the first migration
    bring_up_to_date(engine, path)
    with engine.begin() as connection:
        assert set(metadata.tables) <= set(sa.inspect(connection).get_table_names())
        connection.execute(schema_version.update().values(version_num="9999"))
    with pytest.raises(PermanentError, match=r"has schema 9999 .*9999.*version of Sonata that wrote it"):
        bring_up_to_date(engine, path)
    engine.dispose()


def test_a_data_folder_belongs_to_one_process(tmp_path: Path) -> None:
    held = DataLock(tmp_path)
    with pytest.raises(Conflict, match=f"pid {os.getpid()}"):
        DataLock(tmp_path)
    held.release()
    held.release()
    DataLock(tmp_path).release()
