"""The schema of the database: a new file gets it whole, an old one by its migrations."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import sqlalchemy as sa

from sonata.adapters.store_sql.tables import SCHEMA, metadata, schema_version
from sonata.errors import PermanentError

_MIGRATIONS = "sonata.adapters.store_sql.migrations"


def bring_up_to_date(engine: sa.Engine, path: Path) -> None:
    """Make the tables that are missing, or let them be migrated.

    Raises:
        PermanentError: a migration failed, or the file is of a later version of Sonata.
    """
    with engine.begin() as connection:
        if not sa.inspect(connection).get_table_names():
            metadata.create_all(connection)
            connection.execute(schema_version.insert().values(version_num=SCHEMA))
            return
        found = connection.scalar(sa.select(schema_version.c.version_num))
    if found != SCHEMA:
        _migrate(path, str(found))


def _migrate(path: Path, found: str) -> None:
    argv = [sys.executable, "-m", _MIGRATIONS, str(path)]
    done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if done.returncode:
        told = (done.stderr.strip().splitlines() or ["it told no reason"])[-1]
        message = f"database `{path}` has schema {found} and cannot be brought to {SCHEMA}: {told}"
        hint = "use the version of Sonata that wrote it, or restore a backup"
        raise PermanentError(message, hint=hint, call="migrate", answer=told)
