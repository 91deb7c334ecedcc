"""VIMs and WIMs; also under `/settings`, as 5GTANGO has them. Credentials go in and never come out."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Response
from pydantic import BaseModel, ConfigDict, Field, SecretStr

from sonata._lib.plain import to_plain
from sonata.api.northbound.access import PlatformOf
from sonata.api.northbound.paging import PageOf
from sonata.mano.sites import VimAccess, WimAccess, new_uuid

router = APIRouter()


class NewVim(BaseModel):
    """A VIM to register."""

    model_config = ConfigDict(extra="forbid")
    name: str = Field(min_length=1, max_length=64, description="name of the PoP, as the WIM knows it")
    type: str = "openstack"
    endpoint: str = Field(description="URL of Identity v3")
    username: str
    password: SecretStr
    project: str
    user_domain: str = "Default"
    project_domain: str = "Default"
    region: str = ""
    replace: bool = Field(False, description="replace a VIM of this name with another endpoint")


class NewWim(BaseModel):
    """A WIM to register."""

    model_config = ConfigDict(extra="forbid")
    name: str = Field(min_length=1, max_length=64)
    type: str = "emulator"
    endpoint: str = Field(description="base URL")
    token: SecretStr = SecretStr("")


@router.post("/vims", status_code=201, tags=["vims"])
async def add_vim(platform: PlatformOf, body: NewVim, response: Response) -> dict[str, Any]:
    """Register a VIM, or change its credentials."""
    access = VimAccess(
        uuid=new_uuid(),
        name=body.name,
        url=body.endpoint,
        username=body.username,
        password=body.password.get_secret_value(),
        project=body.project,
        user_domain=body.user_domain,
        project_domain=body.project_domain,
        region=body.region,
        kind=body.type,
    )
    added = await platform.sites.add_vim(access, replace=body.replace)
    response.headers["Location"] = f"/api/v3/vims/{added.uuid}"
    return added.public()


@router.get("/vims", tags=["vims"])
async def list_vims(platform: PlatformOf, page: PageOf) -> list[dict[str, Any]]:
    """Registered VIMs."""
    return page.of([access.public() for access in await platform.sites.vims()])


@router.get("/vims/{key}", tags=["vims"])
async def show_vim(platform: PlatformOf, key: str) -> dict[str, Any]:
    """A VIM by UUID or name, with the capacity that it reports now."""
    access = await platform.sites.vim_access(key)
    capacity = await (await platform.sites.vim(access.name)).capacity()
    return {**access.public(), "capacity": to_plain(capacity)}


@router.delete("/vims/{key}", status_code=204, tags=["vims"])
async def remove_vim(platform: PlatformOf, key: str) -> None:
    """Forget a VIM that no live service uses."""
    await platform.sites.remove_vim(key)


@router.post("/wims", status_code=201, tags=["wims"])
async def add_wim(platform: PlatformOf, body: NewWim, response: Response) -> dict[str, Any]:
    """Register a WIM, or change how it is reached."""
    access = WimAccess(new_uuid(), body.name, body.endpoint, body.token.get_secret_value(), body.type)
    added = await platform.sites.add_wim(access)
    response.headers["Location"] = f"/api/v3/wims/{added.uuid}"
    return added.public()


@router.get("/wims", tags=["wims"])
async def list_wims(platform: PlatformOf, page: PageOf) -> list[dict[str, Any]]:
    """Registered WIMs."""
    return page.of([access.public() for access in await platform.sites.wims()])


@router.get("/wims/{key}", tags=["wims"])
async def show_wim(platform: PlatformOf, key: str) -> dict[str, Any]:
    """A WIM by UUID or name, with the graph that all WIMs together show now."""
    access = await platform.sites.wim_access(key)
    return {**access.public(), "graph": to_plain(await platform.sites.graph(()))}


@router.delete("/wims/{key}", status_code=204, tags=["wims"])
async def remove_wim(platform: PlatformOf, key: str) -> None:
    """Forget a WIM while no live service spans PoPs."""
    await platform.sites.remove_wim(key)
