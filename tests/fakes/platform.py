"""The real platform functions over the real store and workflow engine, with a fake cloud and fake managers."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType

from sonata.adapters.store_sql import SqlStore
from sonata.adapters.workflow_dbos import DbosWorkflows
from sonata.engine.runner import Runner
from sonata.engine.timeline import Timeline
from sonata.mano.platform import Platform
from sonata.mano.sites import VimAccess, WimAccess
from sonata.model.records import LcmOperationOccurrence
from tests.fakes.cloud import FakeCloud
from tests.fakes.managers import Answer, FakeHost
from tests.fakes.services import read_archive


class TestPlatform:
    """`async with TestPlatform(folder, cloud) as platform`."""

    __test__ = False

    def __init__(self, folder: Path, cloud: FakeCloud, answers: Mapping[str, Answer] | None = None) -> None:
        self.cloud = cloud
        self.host = FakeHost(answers)
        self.store = SqlStore(folder / "sonata.db")
        self.workflows = DbosWorkflows(folder / "engine.db")
        self.timeline = Timeline(self.store)
        self.mano = Platform(
            store=self.store,
            timeline=self.timeline,
            runner=Runner(self.workflows, self.timeline),
            host=self.host,
            read_package=read_archive,
            open_vim=lambda access: cloud.vim(access.name),
            open_wim=lambda access: cloud.wim(),
        )

    async def __aenter__(self) -> TestPlatform:
        await self.workflows.launch()
        await self.mano.lifecycle.reconcile()
        for pop in self.cloud.pops:
            access = VimAccess(f"uuid-{pop}", pop, f"http://{pop}", "admin", "secret", "p")
            await self.mano.sites.add_vim(access)
        await self.mano.sites.add_wim(WimAccess("uuid-wan", "wan", "http://wan", "secret"))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.workflows.close()
        await self.mano.sites.close()
        await self.store.close()

    async def end(self, operation: LcmOperationOccurrence, timeout_s: float = 20.0) -> LcmOperationOccurrence:
        """Wait until an operation has ended."""
        deadline = time.monotonic() + timeout_s
        async for change in self.timeline.watch(operation.id):
            if isinstance(change, LcmOperationOccurrence) and change.state.is_final:
                return change
            if time.monotonic() > deadline:
                break
        raise TimeoutError(f"operation {operation.id} still runs")
