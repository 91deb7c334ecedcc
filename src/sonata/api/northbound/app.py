"""The application: routes under `/api/v3`, all behind the token; documentation under `/docs`."""

from __future__ import annotations

from collections import Counter
from typing import Any

from fastapi import APIRouter, Depends, FastAPI

import sonata.api.northbound.catalogue_routes as catalogue_routes
import sonata.api.northbound.errors as errors
import sonata.api.northbound.lifecycle_routes as lifecycle_routes
import sonata.api.northbound.site_routes as site_routes
from sonata import __version__
from sonata.api.northbound.access import PlatformOf, require_token
from sonata.mano.platform import Platform

PREFIX = "/api/v3"
_status = APIRouter()


@_status.get("/status", tags=["status"])
async def show_status(platform: PlatformOf) -> dict[str, Any]:
    """What the platform has and does."""
    instances = Counter(each.record.state.value for each in await platform.instances.list())
    operations = [each for each in await platform.store.list_operations() if not each.state.is_final]
    return {
        "status": "up",
        "version": __version__,
        "vims": len(await platform.sites.vims()),
        "wims": len(await platform.sites.wims()),
        "packages": len(await platform.catalogue.packages()),
        "instances": dict(instances),
        "operations_under_way": len(operations),
    }


def northbound_app(platform: Platform, token: str) -> FastAPI:
    """The northbound API of a platform.

    Args:
        platform: what it serves.
        token: the admin token.
    """
    app = FastAPI(
        title="Sonata", version=__version__, description="Service platform: packages, services, sites, operations."
    )
    app.state.platform, app.state.token = platform, token
    errors.install(app)
    guarded = [Depends(require_token)]
    for router in (_status, catalogue_routes.router, lifecycle_routes.router, site_routes.router):
        app.include_router(router, prefix=PREFIX, dependencies=guarded)
    app.include_router(site_routes.router, prefix=f"{PREFIX}/settings", dependencies=guarded, include_in_schema=False)
    return app
