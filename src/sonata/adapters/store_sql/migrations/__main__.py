"""`python -m sonata.adapters.store_sql.migrations FILE` brings the schema of a database up to date.

A program of its own: a platform meets an old database once in a long while, and Alembic would be in its memory always.
"""

from __future__ import annotations

import sys
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.util import CommandError

from sonata.adapters.store_sql.engine import open_engine


def upgrade(path: Path) -> None:
    """Run the migrations that a database has not seen.

    Raises:
        CommandError: it has seen one that is not known here.
    """
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent))
    engine = open_engine(path)
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
    engine.dispose()


if __name__ == "__main__":
    try:
        upgrade(Path(sys.argv[1]))
    except CommandError as error:
        sys.exit(str(error))
