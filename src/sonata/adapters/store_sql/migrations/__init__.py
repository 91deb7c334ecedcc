"""Alembic migrations of `sonata.db`, run at start."""
