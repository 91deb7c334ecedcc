"""The journal that DBOS writes: an SQLite engine of ours, and JSON instead of pickles."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import sqlalchemy as sa
from dbos import Serializer
from sqlalchemy import event

from sonata._lib.plain import decode, encode
from sonata.engine.failure import error_of, failure_from_plain, failure_of, failure_to_plain

_ERROR = "$error"


class JsonSerializer(Serializer):  # type: ignore[misc]  # dbos ships no types that we follow
    """Payloads, results and errors as JSON: nothing in the journal can run code when it is read."""

    def serialize(self, data: Any) -> str:
        """Encode a value or an exception."""
        if isinstance(data, Exception):
            data = {_ERROR: failure_to_plain(failure_of(data))}
        return encode(data).decode()

    def deserialize(self, serialized_data: str) -> Any:
        """Decode a value or an exception."""
        data = decode(serialized_data)
        if isinstance(data, dict) and data.keys() == {_ERROR}:
            return error_of(failure_from_plain(data[_ERROR]))
        return data

    def name(self) -> str:
        """How rows of this form are marked."""
        return "sonata_json"


def open_journal(path: Path) -> sa.Engine:
    """An engine on `path` in WAL mode; a commit survives the death of the process (synchronous NORMAL)."""
    engine = sa.create_engine(f"sqlite:///{path}")

    @event.listens_for(engine, "connect")
    def prepare(connection: Any, _record: Any) -> None:
        # IMMEDIATE serialises writers, as DBOS expects of its own engine.
        connection.isolation_level = "IMMEDIATE"
        for pragma in ("busy_timeout=30000", "foreign_keys=ON", "journal_mode=WAL", "synchronous=NORMAL"):
            connection.execute(f"PRAGMA {pragma}")

    return engine
