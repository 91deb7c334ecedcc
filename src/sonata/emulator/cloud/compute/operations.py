"""What goes on with servers: one piece of work at a time for each, noted in its log, failures told in its fault."""

from __future__ import annotations

import logging
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager

from sonata.emulator.cloud.background import Background
from sonata.emulator.cloud.compute.actions import ActionLog
from sonata.emulator.cloud.compute.states import require
from sonata.emulator.cloud.entities.compute import Fault, Server, ServerStatus
from sonata.emulator.cloud.site import Site
from sonata.errors import PermanentError, QuotaExceeded, SonataError, Unsupported

logger = logging.getLogger(__name__)

Work = Callable[[str], Coroutine[None, None, str | None]]
"""What is done with a server of this id; returns what is worth telling of it."""


class NoValidHost(QuotaExceeded):
    """The scheduler found no host for a server."""


class NotDone(PermanentError):
    """What was asked of a server was not done; it is as it was."""


class Operations:
    """The work on one cloud's servers."""

    def __init__(self, site: Site) -> None:
        self._table = site.tables.servers
        self._turns = site.server_turns
        self.log = ActionLog(site.tables)
        self._background = Background(lambda server_id, error: self.fail(server_id, f"{type(error).__name__}: {error}"))

    def begin(self, server_id: str, action: str, task_state: str | None, work: Work, *, rule: str = "") -> Server:
        """Start an action in the background if the server's state permits it.

        Args:
            server_id: which.
            action: as the log names it.
            task_state: what the server shows meanwhile.
            work: called with the server's id; it ends with `task_state` None.
            rule: the entry of `states.ALLOWED` that applies, when not the action's.

        Raises:
            Conflict: it does not.
        """
        require(self._table.get(server_id), rule or action, action)
        server = self._table.change(server_id, task_state=task_state)
        self.go(server, action, work)
        return server

    def go(self, server: Server, action: str, work: Work) -> None:
        """Let an action go on in the background."""
        note = self.log.begin(server, action)
        self._background.spawn(server.id, self._run(server, action, note, work))

    def unasked(self, server_id: str, work: Work) -> None:
        """Let something go on in the background that nobody asked for."""
        self._background.spawn(server_id, self._guarded(server_id, work))

    async def settled(self, server_id: str) -> Server | None:
        """Wait until nothing is going on with a server; None when it is gone."""
        await self._background.wait(server_id)
        return self._table.peek(server_id)

    async def cancel(self, server_id: str) -> None:
        """End what is going on with a server; it has cleaned up at return."""
        await self._background.cancel(server_id)

    async def close(self) -> None:
        """End all work."""
        await self._background.close()

    def fail(self, server_id: str, message: str) -> None:
        """Turn a failure into the server's fault."""
        if server_id in self._table:
            self._table.change(server_id, status=ServerStatus.ERROR, task_state=None, fault=Fault(message))

    async def _run(self, server: Server, action: str, note: str, work: Work) -> None:
        async with self._turns.of(server.id):
            with self._failing(server), self.log.step(note, _event(action), server.host) as step:
                step.details = await work(server.id)

    async def _guarded(self, server_id: str, work: Work) -> None:
        async with self._turns.of(server_id):
            with self._failing(self._table.get(server_id)):
                await work(server_id)

    @contextmanager
    def _failing(self, server: Server) -> Iterator[None]:
        try:
            yield
        except (NoValidHost, NotDone, Unsupported) as error:
            # A server that is there already stays what it was; only one that was to be built has failed.
            if server.status in (ServerStatus.BUILD, ServerStatus.ERROR):
                self.fail(server.id, error.message)
            else:
                self._table.change(server.id, task_state=None, fault=Fault(error.message))
        except SonataError as error:
            logger.warning("server failed", extra={"server": server.id, "cause": str(error)})
            self.fail(server.id, str(error))


EVENTS = {
    "create": "compute__do_build_and_run_instance",
    "delete": "compute_terminate_instance",
    "createImage": "compute_snapshot_instance",
    "resize": "compute_prep_resize",
    "migrate": "compute_prep_resize",
    "confirmResize": "compute_confirm_resize",
    "revertResize": "compute_revert_resize",
    "live-migration": "compute_live_migration",
    "changePassword": "compute_set_admin_password",
    "shelveOffload": "compute_shelve_offload_instance",
    "evacuate": "compute_rebuild_instance",
}
"""Nova's names of steps that are not `compute_ACTION_instance`."""


def _event(action: str) -> str:
    return EVENTS.get(action, f"compute_{action}_instance")
