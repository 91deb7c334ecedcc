"""Changing load balancers: one change at a time for each, carried out in the background by its provider."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import TypeVar

from sonata.emulator.cloud.background import Background
from sonata.emulator.cloud.entities.load_balancing import LoadBalancer, Part, Provisioning
from sonata.emulator.cloud.load_balancing.causes import Immutable, Invalid
from sonata.emulator.cloud.load_balancing.health import operating_statuses
from sonata.emulator.cloud.load_balancing.planning import plan_of
from sonata.emulator.cloud.load_balancing.plugs import Plugs
from sonata.emulator.cloud.load_balancing.tree import Tree, balancing_tables
from sonata.emulator.cloud.network.ports import Ports
from sonata.emulator.cloud.network.routers import FloatingIps
from sonata.emulator.cloud.rollback import undone_on_failure
from sonata.emulator.cloud.site import Site
from sonata.emulator.cloud.tables import Tables
from sonata.errors import SonataError
from sonata.ports.load_balancing import Driver, Plan, Report

logger = logging.getLogger(__name__)

T = TypeVar("T")
P = TypeVar("P", bound=Part)
Listening = Callable[[Iterable[str]], Awaitable[None]]
POLL_S = 1.0
PENDING = frozenset((Provisioning.PENDING_CREATE, Provisioning.PENDING_UPDATE, Provisioning.PENDING_DELETE))


class Changes:
    """Brings load balancers to their providers, and what these tell back to the tables.

    `drivers` are the providers by name; they may need this object, so they come after it. `listener` is awaited with
    the ids of a load balancer's pools after each look at them.
    """

    def __init__(self, site: Site, ports: Ports, floating_ips: FloatingIps) -> None:
        self._tables = site.tables
        self._plugs = Plugs(site, ports, floating_ips)
        self.drivers: dict[str, Driver] = {}
        self.listener: Listening = _nobody
        self._new: set[str] = set()
        self._work = Background(lambda balancer_id, _error: self._settle(balancer_id, Provisioning.ERROR))
        self._poll: asyncio.Task[None] | None = None

    def driver(self, name: str) -> Driver:
        """A provider by name.

        Raises:
            Invalid: there is none.
        """
        if name not in self.drivers:
            raise Invalid(f"Provider '{name}' is not enabled.")
        return self.drivers[name]

    def change(self, balancer_id: str, apply: Callable[[], T]) -> T:
        """Change a load balancer's tables, and have its provider follow in the background.

        Args:
            balancer_id: the load balancer that is to change.
            apply: changes the tables; new parts are PENDING_CREATE, changed ones PENDING_UPDATE.

        Raises:
            Immutable: another change is going on.
            Unsupported: the provider cannot do it; the tables are as before.
        """
        if balancer_id in self._new:
            return apply()
        self.require_mutable(balancer_id)
        with _as_before_on_failure(self._tables):
            result = apply()
            self.check(balancer_id)
            self._tables.load_balancers.change(balancer_id, provisioning_status=Provisioning.PENDING_UPDATE)
        self.spawn(balancer_id)
        return result

    @contextmanager
    def beginning(self, balancer_id: str) -> Iterator[None]:
        """Add a load balancer with its parts: inside, changes of it reach the tables alone, all of them or none.

        Raises:
            Unsupported: the provider cannot do it.
        """
        self._new.add(balancer_id)
        try:
            with _as_before_on_failure(self._tables):
                yield
                self.check(balancer_id)
        finally:
            self._new.discard(balancer_id)

    def check(self, balancer_id: str) -> None:
        """Refuse what the provider cannot do."""
        tree = Tree(self._tables, balancer_id)
        self.driver(tree.balancer.provider).check(self._plan(tree))

    def require_mutable(self, balancer_id: str, *also: str) -> None:
        """Refuse a load balancer that is being changed, or that has failed.

        Args:
            balancer_id: which.
            also: further provisioning statuses that are good enough.
        """
        balancer = self._tables.load_balancers.get(balancer_id)
        if balancer_id not in self._new and balancer.provisioning_status not in (Provisioning.ACTIVE, *also):
            raise Immutable("Load Balancer", balancer_id)

    def spawn(self, balancer_id: str) -> None:
        """Have the provider follow the tables in the background."""
        self._work.spawn(balancer_id, self._follow(balancer_id))
        if self._poll is None:
            self._poll = asyncio.get_running_loop().create_task(self._watch(), name="load balancers' health")

    async def failover(self, balancer_id: str) -> None:
        """Build the load balancer's appliance anew, in the background."""
        self.require_mutable(balancer_id, Provisioning.ERROR)
        balancer = self._tables.load_balancers.change(balancer_id, provisioning_status=Provisioning.PENDING_UPDATE)
        await self.driver(balancer.provider).remove(balancer_id)
        self.spawn(balancer_id)

    def restore(self) -> None:
        """Build all load balancers anew after the emulation had died; deletions go on."""
        for balancer in self._tables.load_balancers:
            if balancer.provisioning_status != Provisioning.PENDING_DELETE:
                self._tables.load_balancers.change(balancer.id, provisioning_status=Provisioning.PENDING_UPDATE)
            self.spawn(balancer.id)

    async def revive(self, balancer_id: str) -> None:
        """Start a load balancer again whose program ended by itself."""
        balancer = self._tables.load_balancers.peek(balancer_id)
        if balancer is None:
            return
        await self.refresh(balancer_id)
        if balancer.provisioning_status == Provisioning.ACTIVE:
            self._tables.load_balancers.change(balancer_id, provisioning_status=Provisioning.PENDING_UPDATE)
            self.spawn(balancer_id)

    async def settled(self, balancer_id: str) -> None:
        """Wait until nothing goes on with a load balancer."""
        await self._work.wait(balancer_id)

    async def refresh(self, balancer_id: str) -> Report | None:
        """Ask the provider now, and note what it tells."""
        tree = Tree(self._tables, balancer_id)
        report = await self.driver(tree.balancer.provider).read(balancer_id)
        if balancer_id in self._tables.load_balancers:
            self._note(Tree(self._tables, balancer_id), report)
            await _tell(self.listener, [pool.id for pool in Tree(self._tables, balancer_id, whole=True).pools()])
        return report

    async def close(self) -> None:
        """End all work; the appliances go with the site."""
        if self._poll:
            self._poll.cancel()
            await asyncio.wait([self._poll])
        await self._work.close()

    async def _follow(self, balancer_id: str) -> None:
        balancer = self._tables.load_balancers.get(balancer_id)
        try:
            if balancer.provisioning_status == Provisioning.PENDING_DELETE:
                await self._delete(balancer)
                return
            self._plugs.reach_members(Tree(self._tables, balancer_id))
            plan = self._plan(Tree(self._tables, balancer_id))
            await self.driver(balancer.provider).deploy(plan)
        except SonataError as error:
            logger.warning("a load balancer failed", extra={"load_balancer": balancer_id, "cause": str(error)})
            self._settle(balancer_id, Provisioning.ERROR)
            return
        await self._plugs.drop_others(balancer_id, set(plan.port_ids))
        await self.refresh(balancer_id)
        self._settle(balancer_id, Provisioning.ACTIVE)  # the last step: from here on another change may begin

    async def _delete(self, balancer: LoadBalancer) -> None:
        await self.driver(balancer.provider).remove(balancer.id)
        pools = [pool.id for pool in Tree(self._tables, balancer.id, whole=True).pools()]
        for table, part in tuple(Tree(self._tables, balancer.id, whole=True).parts()):
            table.remove(part.id)
        await self._plugs.release(balancer)
        await _tell(self.listener, pools)

    def _settle(self, balancer_id: str, status: str) -> None:
        """What was pending is done or has failed; what was to be deleted is gone when it is done."""
        if balancer_id not in self._tables.load_balancers:
            return
        for table, part in tuple(Tree(self._tables, balancer_id, whole=True).parts()):
            if part.provisioning_status == Provisioning.PENDING_DELETE and status == Provisioning.ACTIVE:
                table.remove(part.id)
            elif part.provisioning_status in PENDING:
                table.change(part.id, provisioning_status=status)

    def _plan(self, tree: Tree) -> Plan:
        return plan_of(tree, self._plugs.port_ids(tree), flavor_data(self._tables, tree.balancer.flavor_id))

    async def _watch(self) -> None:
        """Keep operating statuses true."""
        while True:
            await asyncio.sleep(POLL_S)
            for balancer_id in [balancer.id for balancer in self._tables.load_balancers]:
                balancer = self._tables.load_balancers.peek(balancer_id)
                if balancer and balancer.provisioning_status == Provisioning.ACTIVE:
                    await self._refresh_or_tell(balancer_id)

    async def _refresh_or_tell(self, balancer_id: str) -> None:
        """Refresh, and let one load balancer's trouble not blind us for the others."""
        try:
            await self.refresh(balancer_id)
        except SonataError as error:
            logger.warning("a load balancer is not well", extra={"load_balancer": balancer_id, "cause": str(error)})

    def _note(self, tree: Tree, report: Report | None) -> None:
        now = operating_statuses(tree, report)
        for table, part in tuple(tree.parts()):
            if part.operating_status != now[part.id] and part.id in table:
                table.restore(_operating(table.get(part.id), now[part.id]))


@contextmanager
def _as_before_on_failure(tables: Tables) -> Iterator[None]:
    before = {table: tuple(table) for table in balancing_tables(tables)}

    def restore() -> None:
        for table, rows in before.items():
            for row in table:
                table.remove(row.id)
            for row in rows:
                table.add(row)

    with undone_on_failure(restore):
        yield


def flavor_data(tables: Tables, flavor_id: str | None) -> Mapping[str, object]:
    """The provider's settings of a flavor."""
    if not flavor_id:
        return {}
    profile = tables.lb_flavor_profiles.get(tables.lb_flavors.get(flavor_id).flavor_profile_id)
    data = json.loads(profile.flavor_data)
    return data if isinstance(data, dict) else {}


async def _tell(listener: Listening, pool_ids: Iterable[str]) -> None:
    """Tell who follows these pools; trouble of theirs is not the load balancer's."""
    try:
        await listener(pool_ids)
    except SonataError as error:
        logger.warning("what follows a pool does not", extra={"cause": str(error)})


async def _nobody(_pool_ids: Iterable[str]) -> None:
    """Follow nothing."""


def _operating(part: P, status: str) -> P:
    return replace(part, operating_status=status)
