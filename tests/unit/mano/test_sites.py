"""Sites that answer and sites that do not."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.fakes.platform import TestPlatform
from tests.fakes.services import package, two_sites

from sonata.errors import AdapterError, TransientError
from sonata.mano.lifecycle import InstantiateRequest
from sonata.mano.sites import WimAccess
from sonata.model.records import OperationState

pytestmark = pytest.mark.anyio


async def test_a_wim_that_is_gone_stops_no_service_that_another_one_serves(tmp_path: Path) -> None:
    cloud, gone = two_sites(), two_sites(faults={"wan.graph": [TransientError("no answer")] * 9})
    async with TestPlatform(tmp_path, cloud) as platform:
        sites = platform.mano.sites
        sites._open_wim = lambda access: gone.wim() if access.name == "gone" else cloud.wim()
        await sites.add_wim(WimAccess("uuid-gone", "gone", "http://gone", "secret"))
        await platform.mano.catalogue.onboard(package())
        ended = await platform.end(
            await platform.mano.lifecycle.instantiate(InstantiateRequest("chain", "web", "users", "origin"))
        )
        assert (ended.state, ended.error) == (OperationState.COMPLETED, "")


async def test_when_no_wim_answers_the_first_failure_is_told(tmp_path: Path) -> None:
    gone = two_sites(faults={"wan.graph": [TransientError("no answer")] * 9})
    async with TestPlatform(tmp_path, gone) as platform:
        with pytest.raises(AdapterError, match="no answer"):
            await platform.mano.sites.graph(["access"])
