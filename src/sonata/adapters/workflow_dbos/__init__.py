"""Durable workflows on DBOS."""

from sonata.adapters.workflow_dbos.workflows import DbosWorkflows

__all__ = ["DbosWorkflows"]
