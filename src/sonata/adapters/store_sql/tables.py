"""Tables of `sonata.db`. A change here needs a migration in `migrations/versions` and the next number in `SCHEMA`."""

from __future__ import annotations

import sqlalchemy as sa

SCHEMA = "0001"
"""The last migration, after which the tables are as they are here."""

metadata = sa.MetaData()

schema_version = sa.Table("alembic_version", metadata, sa.Column("version_num", sa.String(32), primary_key=True))
"""One row: the migration after which this database is as it is; Alembic's own table."""

documents = sa.Table(
    "documents",
    metadata,
    sa.Column("kind", sa.String(32), primary_key=True),
    sa.Column("key", sa.String(255), primary_key=True),
    sa.Column("position", sa.Integer, nullable=False),
    sa.Column("body", sa.LargeBinary, nullable=False),
)

archives = sa.Table(
    "archives",
    metadata,
    sa.Column("package_id", sa.String(255), primary_key=True),
    sa.Column("content", sa.LargeBinary, nullable=False),
)

operations = sa.Table(
    "operations",
    metadata,
    sa.Column("id", sa.String(64), primary_key=True),
    sa.Column("ns_instance_id", sa.String(64), nullable=False, index=True),
    sa.Column("created_at", sa.Float, nullable=False, index=True),
    sa.Column("body", sa.LargeBinary, nullable=False),
)

steps = sa.Table(
    "steps",
    metadata,
    sa.Column("operation_id", sa.String(64), primary_key=True),
    sa.Column("step", sa.String(255), primary_key=True),
    sa.Column("attempt", sa.Integer, primary_key=True),
    sa.Column("started_at", sa.Float, nullable=False),
    sa.Column("body", sa.LargeBinary, nullable=False),
)
