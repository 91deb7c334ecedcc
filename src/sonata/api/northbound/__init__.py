"""The northbound API: SONATA's `/api/v3` on FastAPI."""

from sonata.api.northbound.app import northbound_app

__all__ = ["northbound_app"]
