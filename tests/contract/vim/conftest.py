"""Every VIM adapter that is to pass the contract, with the site it talks to; another joins by an entry here."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from tests.fakes.vim_site import PASSWORD, VimSite, vim_site

from sonata.adapters.vim_openstack import OpenStackVim
from sonata.ports.vim import Vim


def openstack(site: VimSite) -> Vim:
    return OpenStackVim("west", site.auth_url, "admin", PASSWORD, "admin")


VIMS: dict[str, Callable[[VimSite], Vim]] = {"openstack": openstack}


@pytest.fixture
async def site(anyio_backend: str, tmp_path: Path) -> AsyncIterator[VimSite]:
    async with vim_site(tmp_path) as made:
        yield made


@pytest.fixture(params=sorted(VIMS))
async def vim(request: pytest.FixtureRequest, site: VimSite) -> AsyncIterator[Vim]:
    made = VIMS[request.param](site)
    yield made
    await made.close()
