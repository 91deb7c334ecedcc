"""The platform's functions put together; adapters come from the composition root."""

from __future__ import annotations

import asyncio

from sonata.engine.runner import Runner
from sonata.engine.timeline import Timeline
from sonata.mano.catalogue import Catalogue, PackageReader, PackageRecord
from sonata.mano.instances import Instances
from sonata.mano.lifecycle import Lifecycle
from sonata.mano.sites import Sites, VimFactory, WimFactory
from sonata.ports.managers import ManagerHost
from sonata.ports.store import Store


class Platform:
    """Catalogue, sites, instances, life cycle and timeline of one service platform."""

    def __init__(
        self,
        *,
        store: Store,
        timeline: Timeline,
        runner: Runner,
        host: ManagerHost,
        read_package: PackageReader,
        open_vim: VimFactory,
        open_wim: WimFactory,
    ) -> None:
        self.store = store
        self.timeline = timeline
        self.host = host
        self.instances = Instances(store)
        self.catalogue = Catalogue(store, read_package)
        self.sites = Sites(store, self.instances, open_vim, open_wim)
        self.lifecycle = Lifecycle(runner, self.catalogue, self.instances, self.sites, host)
        self._preparing: set[asyncio.Task[None]] = set()

    async def onboard(self, archive: bytes) -> tuple[PackageRecord, bool]:
        """Take a package in; see `Catalogue.onboard`. Where it has managers, they can soon be started quickly."""
        record, is_new = await self.catalogue.onboard(archive)
        if record.nsd and (await self.catalogue.service(record.nsd)).descriptor.managers:
            self._prepare_managers()
        return record, is_new

    async def warm_up(self) -> None:
        """Do in the background what the first service would have to wait for."""
        await self.sites.warm_up()
        if any(service.descriptor.managers for service in await self.catalogue.services()):
            self._prepare_managers()

    def _prepare_managers(self) -> None:
        task = asyncio.get_running_loop().create_task(self.host.warm_up())
        self._preparing.add(task)
        task.add_done_callback(self._preparing.discard)
