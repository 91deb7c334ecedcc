"""Catalogue, records and timelines in an SQL database."""

from sonata.adapters.store_sql.data_lock import DataLock
from sonata.adapters.store_sql.store import SqlStore

__all__ = ["DataLock", "SqlStore"]
