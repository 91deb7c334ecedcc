"""The platform's functions put together; adapters come from the composition root."""

from __future__ import annotations

from sonata.engine.runner import Runner
from sonata.engine.timeline import Timeline
from sonata.mano.catalogue import Catalogue, PackageReader
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
