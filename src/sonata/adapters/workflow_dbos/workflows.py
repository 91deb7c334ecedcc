"""`ports.workflow.Workflows` on DBOS, embedded in this process.

DBOS is a process-wide singleton: one instance of this class at a time. Each branch is a DBOS workflow of its own with
the id `<parent id>/<branch>`; branches are started one after another, since DBOS numbers what a workflow does in the
order in which it starts, and that order must be the same when it is replayed.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from dbos import DBOS, DBOSConfig, SetWorkflowID
from dbos import error as dbos_errors

from sonata.adapters.workflow_dbos.journal import JsonSerializer, open_journal
from sonata.errors import StepTimeout, WorkflowError
from sonata.ports.workflow import Payload, WorkflowFunction

logger = logging.getLogger(__name__)

# Workflows recover under the version that started them alone; ours is fixed, and what changes is versioned as data.
APPLICATION_VERSION = "1"
EXECUTOR_ID = "platform"
POLL_S = 0.02
_RECOVERY_POLL_S, _RECOVERY_WINDOW_S = 0.05, 5.0
_IDLE_POLL_S = 1.0
_GRACE_S = 0.2


class DbosContext:
    """What a running workflow may use."""

    def __init__(self, engine: DbosWorkflows, workflow_id: str) -> None:
        self._engine = engine
        self._workflow_id = workflow_id

    @property
    def workflow_id(self) -> str:
        """The fixed id it was started with."""
        return self._workflow_id

    async def step(self, name: str, call: Callable[[], Awaitable[Any]]) -> Any:
        """Run a step, or return what it returned before."""

        async def body() -> Any:
            return await call()

        return await DBOS.run_step_async({"name": name}, body)

    async def branches(self, workflow: str, payloads: Sequence[tuple[str, Payload]]) -> Sequence[Any]:
        """Start the branches in the given order, await them in the same order."""
        handles = [await self._engine.begin(workflow, f"{self._workflow_id}/{name}", load) for name, load in payloads]
        results: list[Any] = []
        for handle in handles:
            results += await asyncio.gather(handle.get_result(polling_interval_sec=POLL_S), return_exceptions=True)
        for result in results:
            if isinstance(result, BaseException):
                raise result
        return results


class DbosWorkflows:
    """Durable workflows whose journal is the SQLite file `journal`.

    Args:
        journal: file; its folder exists.
    """

    def __init__(self, journal: Path) -> None:
        self._journal = journal
        self._bodies: dict[str, Callable[[dict[str, Any]], Awaitable[Any]]] = {}
        self._running: set[asyncio.Task[Any]] = set()
        self._engine: sa.Engine | None = None
        self._calming: asyncio.TimerHandle | None = None

    def register(self, name: str, function: WorkflowFunction) -> None:
        """Make a workflow known; before `launch` only.

        Raises:
            WorkflowError: it was launched already, or the name is taken.
        """
        if self._engine is not None or name in self._bodies:
            raise WorkflowError(f"workflow `{name}` cannot be registered: it is known, or the engine runs already")

        async def body(payload: dict[str, Any]) -> Any:
            task = asyncio.current_task()
            if task is not None:
                self._running.add(task)
                task.add_done_callback(self._running.discard)
            return await function(DbosContext(self, DBOS.workflow_id or ""), payload)

        body.__qualname__ = body.__name__ = f"sonata_{name}"
        self._bodies[name] = DBOS.workflow(name=name)(body)

    async def launch(self) -> None:
        """Open the journal and go on with what was running when the process died."""
        logging.getLogger("dbos").setLevel(logging.ERROR)
        self._engine = open_journal(self._journal)
        config: DBOSConfig = {
            "name": "sonata",
            "system_database_url": f"sqlite:///{self._journal}",
            "system_database_engine": self._engine,
            "application_version": APPLICATION_VERSION,
            "executor_id": EXECUTOR_ID,
            "serializer": JsonSerializer(),
            "notification_listener_polling_interval_sec": POLL_S,
            "log_level": "ERROR",
            "enable_otlp": False,
        }
        instance = DBOS(config=config)
        # What is recovered goes through DBOS's internal queue: looked at often in the beginning, and seldom when there
        # is nothing to recover any more, since each look is a transaction.
        queue = instance._registry.get_internal_queue()
        queue._polling_interval_sec = _RECOVERY_POLL_S
        self._calming = asyncio.get_running_loop().call_later(
            _RECOVERY_WINDOW_S, setattr, queue, "_polling_interval_sec", _IDLE_POLL_S
        )
        # Launched in the thread of the event loop, which DBOS then uses for what it recovers.
        DBOS.launch()
        logger.info("workflow engine launched", extra={"journal": str(self._journal)})

    async def start(self, name: str, workflow_id: str, payload: Payload) -> None:
        """Start a workflow durably; a second start with the same id does nothing."""
        await self.begin(name, workflow_id, payload)

    async def begin(self, name: str, workflow_id: str, payload: Payload) -> Any:
        """Start a workflow and return its DBOS handle.

        Raises:
            WorkflowError: no workflow has this name, or the engine does not run.
        """
        if self._engine is None or name not in self._bodies:
            known = ", ".join(sorted(self._bodies))
            raise WorkflowError(f"workflow `{name}` cannot be started: engine not launched, or not one of {known}")
        with SetWorkflowID(workflow_id):
            return await DBOS.start_workflow_async(self._bodies[name], dict(payload))

    async def result(self, workflow_id: str, *, timeout_s: float) -> Any:
        """Wait for a workflow and return its result, or raise what it raised.

        Raises:
            StepTimeout: it still runs after `timeout_s`.
            WorkflowError: no such workflow.
        """
        try:
            async with asyncio.timeout(timeout_s):
                handle = await DBOS.retrieve_workflow_async(workflow_id)
                return await handle.get_result(polling_interval_sec=POLL_S)
        except TimeoutError as error:
            raise StepTimeout(f"workflow `{workflow_id}` still runs after {timeout_s:g} s") from error
        except dbos_errors.DBOSException as error:
            raise WorkflowError(f"workflow `{workflow_id}` has no result: {error}") from error

    async def close(self) -> None:
        """Stop; unfinished workflows go on at the next launch."""
        if self._engine is None:
            return
        if self._calming is not None:
            self._calming.cancel()
        # What is about to end anyway may do so.
        if self._running:
            await asyncio.wait(self._running, timeout=_GRACE_S)
        running = tuple(self._running)
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        DBOS.destroy(destroy_registry=True)
        self._engine.dispose()
        self._engine = None
