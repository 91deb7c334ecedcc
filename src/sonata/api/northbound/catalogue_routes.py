"""Packages, services and functions."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, File, Response, UploadFile

import sonata.api.northbound.views as views
from sonata.api.northbound.access import PlatformOf
from sonata.api.northbound.paging import PageOf
from sonata.errors import InvalidInput

router = APIRouter()
MAX_PACKAGE_BYTES = 256 * 1024**2


@router.post("/packages", status_code=201, tags=["packages"], responses={200: {"description": "known already"}})
async def onboard_package(
    platform: PlatformOf, response: Response, package: Annotated[UploadFile, File(description="A .tgo or .son file.")]
) -> dict[str, Any]:
    """On-board a package; the same package again answers 200 and changes nothing."""
    archive = await package.read(MAX_PACKAGE_BYTES + 1)
    if len(archive) > MAX_PACKAGE_BYTES:
        raise InvalidInput(f"package `{package.filename}` is larger than {MAX_PACKAGE_BYTES // 1024**2} MiB")
    record, is_new = await platform.onboard(archive)
    response.status_code = 201 if is_new else 200
    response.headers["Location"] = f"/api/v3/packages/{record.uuid}"
    return views.package(record)


@router.get("/packages", tags=["packages"])
async def list_packages(platform: PlatformOf, page: PageOf) -> list[dict[str, Any]]:
    """All packages, oldest first."""
    return page.of([views.package(record) for record in await platform.catalogue.packages()])


@router.get("/packages/{key}", tags=["packages"])
async def show_package(platform: PlatformOf, key: str) -> dict[str, Any]:
    """A package by UUID or name."""
    return views.package(await platform.catalogue.package(key))


@router.get("/packages/{key}/package-file", tags=["packages"], response_class=Response)
async def download_package(platform: PlatformOf, key: str) -> Response:
    """The archive as it was uploaded."""
    record = await platform.catalogue.package(key)
    return Response(await platform.catalogue.archive(record.uuid), media_type="application/zip")


@router.delete("/packages/{key}", status_code=204, tags=["packages"])
async def remove_package(platform: PlatformOf, key: str) -> None:
    """Remove a package that no live service uses."""
    await platform.catalogue.remove(key, platform.instances)


@router.get("/services", tags=["services"])
async def list_services(platform: PlatformOf, page: PageOf) -> list[dict[str, Any]]:
    """Network services in the catalogue."""
    return page.of([views.service(record) for record in await platform.catalogue.services()])


@router.get("/services/{key}", tags=["services"])
async def show_service(platform: PlatformOf, key: str) -> dict[str, Any]:
    """A network service by UUID or name."""
    return views.service(await platform.catalogue.service(key))


@router.get("/functions", tags=["functions"])
async def list_functions(platform: PlatformOf, page: PageOf) -> list[dict[str, Any]]:
    """VNFs in the catalogue."""
    return page.of([views.function(record) for record in await platform.catalogue.functions()])


@router.get("/functions/{key}", tags=["functions"])
async def show_function(platform: PlatformOf, key: str) -> dict[str, Any]:
    """A VNF by UUID or name."""
    return views.function(await platform.catalogue.function(key))
