"""Servers that change their size or their host and begin anew there: resize, cold migration, evacuation."""

from __future__ import annotations

from dataclasses import replace

from sonata.emulator.cloud.compute.hosts import Hosts
from sonata.emulator.cloud.compute.operations import Operations
from sonata.emulator.cloud.compute.power import Power
from sonata.emulator.cloud.compute.scheduler import Scheduler
from sonata.emulator.cloud.compute.servers import Servers
from sonata.emulator.cloud.compute.targets import Targets
from sonata.emulator.cloud.entities.compute import Flavor, Previous, Server, ServerStatus
from sonata.emulator.cloud.site import Site
from sonata.errors import AdapterError, Conflict, InvalidInput


class Moving:
    """Moves servers of one cloud between sizes and hosts. Until a change is confirmed both claims stand."""

    def __init__(self, site: Site, servers: Servers, scheduler: Scheduler, hosts: Hosts, targets: Targets) -> None:
        self._site = site
        self._table = site.tables.servers
        self._servers = servers
        self._operations: Operations = servers.operations
        self._power: Power = servers.power
        self._scheduler = scheduler
        self._hosts = hosts
        self._targets = targets

    def resize(self, server_id: str, flavor: Flavor) -> None:
        """Give a server another size, to be confirmed.

        Raises:
            Conflict: its state does not permit it.
            InvalidInput: it has this size.
            OverQuota: the project may not have so much.
        """
        server = self._table.get(server_id)
        if flavor.id == server.flavor.id:
            raise InvalidInput("When resizing, instances must change flavor!")
        more = {"cores": flavor.vcpus - server.flavor.vcpus, "ram": flavor.ram_mib - server.flavor.ram_mib}
        self._site.quotas.require_all(server.project_id, {name: adding for name, adding in more.items() if adding > 0})
        self._operations.begin(server_id, "resize", "resize_prep", lambda one: self._resize(one, flavor))

    def migrate(self, server_id: str, host: str) -> None:
        """Move a server to another host, switched off on the way; to be confirmed."""
        self._targets.check(server_id, host)
        self._operations.begin(server_id, "migrate", "resize_prep", lambda one: self._migrate(one, host))

    def confirm(self, server_id: str) -> None:
        """Keep what a resize or migration has changed."""
        self._operations.begin(server_id, "confirmResize", None, self._confirm)

    def revert(self, server_id: str) -> None:
        """Go back to what was before a resize or migration."""
        self._operations.begin(server_id, "revertResize", "resize_reverting", self._revert)

    def evacuate(self, server_id: str, host: str) -> None:
        """Begin a server anew on another host, since its own is down.

        Raises:
            InvalidInput: its host is up.
        """
        server = self._table.get(server_id)
        if server.host and self._hosts.is_up(server.host):
            raise InvalidInput(
                f"Compute service of {server.host} is still in use.",
                hint="an administrator forces it down first",
            )
        self._targets.check(server_id, host)
        self._operations.begin(server_id, "evacuate", "rebuilding", lambda one: self._evacuate(one, host))

    async def _resize(self, server_id: str, flavor: Flavor) -> None:
        server = self._table.get(server_id)
        cores = self._scheduler.cores_for(server, flavor)
        host = self._targets.for_flavor(server, flavor)
        migration = self._targets.begin(server, "resize", host, flavor)
        previous = Previous(server.flavor, server.host, server.status)
        self._table.change(server_id, previous=previous, task_state="resize_migrating")
        leaves = self._targets.are_apart(server.host, host) and server.status == ServerStatus.ACTIVE
        if leaves:
            await self._power.off(server)
        server = self._table.change(
            server_id, flavor=flavor, cores=cores, task_state="resize_finish", **self._targets.placed(host)
        )
        await (self._power.on(server) if leaves else self._apply_limits(server))
        self._targets.end(migration, "finished")
        self._table.change(server_id, status=ServerStatus.VERIFY_RESIZE, task_state=None, fault=None)

    async def _migrate(self, server_id: str, host: str) -> None:
        server = self._table.get(server_id)
        found = self._targets.other(server, host)
        migration = self._targets.begin(server, "migration", found, server.flavor)
        self._table.change(
            server_id, task_state="resize_migrating", previous=Previous(server.flavor, server.host, server.status)
        )
        await self._power.off(server)
        self._table.change(server_id, task_state="resize_finish", **self._targets.placed(found))
        if server.status == ServerStatus.ACTIVE:
            await self._power.on(self._table.get(server_id))
        self._targets.end(migration, "finished")
        self._table.change(server_id, status=ServerStatus.VERIFY_RESIZE, task_state=None, fault=None)

    async def _confirm(self, server_id: str) -> None:
        self._targets.end_last(server_id, "confirmed")
        status = _previous(self._table.get(server_id)).status
        self._table.change(server_id, status=status, previous=None, task_state=None)

    async def _revert(self, server_id: str) -> None:
        server = self._table.get(server_id)
        before = _previous(server)
        self._targets.check_chains(server, before.host)
        moved = server.host != before.host and server.flavor == before.flavor
        moved = moved or self._targets.are_apart(server.host, before.host)
        if moved and before.status == ServerStatus.ACTIVE:
            await self._power.off(server)
        server = replace(server, flavor=before.flavor)
        cores = self._scheduler.cores_for(server, before.flavor)
        server = self._table.change(server_id, flavor=before.flavor, cores=cores, **self._targets.placed(before.host))
        if moved and before.status == ServerStatus.ACTIVE:
            await self._power.on(server)
        elif not moved:
            await self._apply_limits(server)
        self._targets.end_last(server_id, "reverted")
        self._table.change(server_id, status=before.status, previous=None, task_state=None)

    async def _evacuate(self, server_id: str, host: str) -> None:
        server = self._table.get(server_id)
        found = self._targets.other(server, host)
        migration = self._targets.begin(server, "evacuation", found, server.flavor)
        was_off = server.status == ServerStatus.SHUTOFF
        await self._power.off(server, grace_s=0.0)
        await self._power.wipe(server_id)
        self._table.change(server_id, **self._targets.placed(found))
        if was_off:
            self._table.change(server_id, task_state=None)
        else:
            await self._servers.switch_on(server_id)
        self._targets.end(migration, "done")

    async def _apply_limits(self, server: Server) -> None:
        """Bring a running server to its new size: as it runs where the kernel can, else by a restart."""
        if _previous(server).status != ServerStatus.ACTIVE:
            return
        try:
            await self._power.limit(server)
        except AdapterError:
            await self._power.off(server)
            await self._power.on(server)


def _previous(server: Server) -> Previous:
    if server.previous is None:
        raise Conflict(f"Instance {server.id} has no resize to confirm or revert")
    return server.previous
