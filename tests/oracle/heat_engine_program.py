"""Plays scenarios with Heat's own convergence engine; runs in a virtual environment that has `openstack-heat`.

The engine, its worker and its database (SQLite) are Heat's; messages between them are calls in threads, and there is
no Keystone. Reads a scenario, a JSON list of steps, from each line of stdin and prints its record; `actions.yaml` says
what steps there are.
"""

from __future__ import annotations

import json
import logging
import sys
import tempfile
import threading
import time
import warnings
from pathlib import Path
from typing import Any
from unittest import mock

warnings.simplefilter("ignore")
logging.disable(logging.CRITICAL)

from heat.common import context as heat_context  # noqa: E402
from heat.common import template_format  # noqa: E402
from heat.db import api as database  # noqa: E402
from heat.db import models  # noqa: E402
from heat.engine import notification, service, worker  # noqa: E402
from heat.engine import stack as heat_stack  # noqa: E402
from heat.rpc import client, worker_client  # noqa: E402
from oslo_config import cfg  # noqa: E402

PAUSE_S, LONGEST_S = 0.05, 20.0
OPTIONS = {
    "deferred_auth_method": "password",
    "auth_encryption_key": "0123456789abcdef" * 2,
    "enable_stack_abandon": True,
    "enable_stack_adopt": True,
}


class Threads(service.ThreadGroupManager):  # type: ignore[misc]
    """Threads that nobody counts."""

    def start(self, _stack_id: str, func: Any, *args: Any, **kwargs: Any) -> Any:
        """Run something in a thread."""
        thread = service.ThreadWithCallback(target=func, args=args, kwargs=kwargs)
        thread.daemon = True
        thread.start()
        return thread


def running_engine(folder: str) -> Any:
    """Heat's engine with a worker, over a database in a folder."""
    cfg.CONF([], project="heat")
    cfg.CONF.set_override("connection", f"sqlite:///{folder}/heat.db", group="database")
    for name, value in OPTIONS.items():
        cfg.CONF.set_override(name, value)
    models.BASE.metadata.create_all(database.get_engine())
    engine = service.EngineService("host", "topic")
    engine.engine_id, engine.thread_group_mgr, engine.resource_enforcer = "engine", Threads(), mock.Mock()

    def cast(_client: Any, context: Any, message: Any, version: Any = None) -> None:
        method, arguments = message
        work = getattr(engine.worker_service, method)
        # As over the wire: what JSON can say.
        copied = json.loads(json.dumps(arguments))
        threading.Thread(target=work, args=(context,), kwargs=copied, daemon=True).start()

    def call(_client: Any, context: Any, message: Any, version: Any = None, timeout: Any = None) -> Any:
        method, arguments = message
        return getattr(engine, method)(context, **arguments)

    for one in (worker_client.WorkerClient, client.EngineClient):
        one.__init__ = lambda self: None
    worker_client.WorkerClient.cast = cast
    client.EngineClient.call = client.EngineClient.cast = call
    notification.notify = lambda *_args, **_more: None
    heat_stack.Stack.create_stack_user_project_id = lambda self: None
    heat_stack.Stack._delete_credentials = lambda self, status, reason, abandon: (status, reason)
    service.EngineService._validate_deferred_auth_context = lambda *_args: None
    worker.WorkerService.stop_all_workers = lambda self, stack: stop_workers(self, stack)
    engine.worker_service = worker.WorkerService("host", "topic", "engine", engine.thread_group_mgr)
    return engine


def stop_workers(of: Any, stack: Any) -> bool:
    """Cancel the work of this one engine."""
    of.thread_group_mgr.send(stack.id, "cancel")
    return True


def plain(document: Any) -> Any:
    """What JSON can say of a document."""
    return json.loads(json.dumps(document, default=dict))


class Player:
    """Plays one scenario; the stack of all steps is called `s`."""

    def __init__(self, engine: Any, project: str) -> None:
        self._engine = engine
        self._context = heat_context.RequestContext(
            username="u", user_id="u", project_id=project, roles=["member"], password="secret", is_admin=False
        )
        self._exported: Any = None
        self._identity: Any = None
        self._template: Any = None
        self.refused: list[str] = []

    def play(self, steps: list[dict[str, Any]]) -> dict[str, Any]:
        """The record of the steps."""
        for step in steps:
            ((verb, argument),) = step.items()
            try:
                getattr(self, verb)(argument)
                self.refused.append("")
            except TimeoutError:
                raise
            except Exception as error:  # noqa: BLE001  # whatever Heat raises is its answer
                # What its messages expect to go wrong is wrapped.
                cause = getattr(error, "exc_info", (None, error))[1]
                self.refused.append(f"{type(cause).__name__}: {cause}")
        return self.record()

    def record(self) -> dict[str, Any]:
        """What came of the steps."""
        shown = self._shown()
        if shown is None:
            return {"refused": self.refused, "state": "GONE", "events": {}}
        state = f"{shown['stack_action']}_{shown['stack_status']}: {shown['stack_status_reason']}"
        return {"refused": self.refused, "state": state, "events": self._events()}

    def create(self, wish: dict[str, Any]) -> None:
        """Create the stack, or adopt what was exported."""
        self._template = wish["template"]
        more = {"adopt_stack_data": json.dumps(self._exported)} if wish.get("adopt") else {}
        arguments = {"disable_rollback": not wish.get("rollback"), **more}
        template = template_format.parse(json.dumps(self._template))
        given = self._environment(wish)
        self._identity = self._engine.create_stack(self._context, "s", template, given, {}, arguments)

    def update(self, wish: dict[str, Any]) -> None:
        """Update the stack."""
        self._template = wish.get("template", self._template)
        template = template_format.parse(json.dumps(self._template))
        arguments = {"disable_rollback": not wish["rollback"]} if "rollback" in wish else {}
        self._engine.update_stack(self._context, self._identity, template, self._environment(wish), {}, arguments)

    def act(self, action: str) -> None:
        """Check, suspend or resume the stack, or cancel what goes on."""
        if action.startswith("cancel"):
            self._engine.stack_cancel_update(self._context, self._identity, action == "cancel_update")
        else:
            getattr(self._engine, f"stack_{action}")(self._context, self._identity)

    def delete(self, _nothing: Any) -> None:
        """Delete the stack."""
        self._engine.delete_stack(self._context, self._identity)

    def export(self, _nothing: Any) -> None:
        """Note what the stack is."""
        self._exported = plain(self._engine.export_stack(self._context, self._identity))

    def abandon(self, _nothing: Any) -> None:
        """Let the stack's objects go."""
        self._exported = plain(self._engine.abandon_stack(self._context, self._identity))

    def spoil(self, name: str) -> None:
        """Lose the id of a resource in what was exported."""
        del self._exported["resources"][name]

    def settle(self, _nothing: Any) -> None:
        """Wait until nothing goes on with the stack, nor with its resources."""
        self._wait(lambda: not self._is_busy())

    def when(self, event: list[str]) -> None:
        """Wait until the last event of a resource is this one."""
        name, wanted = event
        self._wait(lambda: (self._events().get(name) or [""])[-1].startswith(wanted))

    def _environment(self, wish: dict[str, Any]) -> dict[str, Any]:
        return {
            "parameters": wish.get("parameters") or {},
            "resource_registry": {},
            "parameter_defaults": {},
            "encrypted_param_names": [],
            "event_sinks": [],
        }

    def _shown(self) -> Any:
        try:
            shown = self._engine.show_stack(self._context, self._identity)[0]
            return None if (shown["stack_action"], shown["stack_status"]) == ("DELETE", "COMPLETE") else shown
        except Exception as error:  # of several classes, by the way the call takes
            if "could not be found" not in str(error):
                raise
            return None

    def _is_busy(self) -> bool:
        if (shown := self._shown()) is None:
            return bool(self._engine.list_stacks(self._context))  # it is told to be gone before its name is free
        states = [shown["stack_status"]]
        states += [row["resource_status"] for row in self._engine.list_stack_resources(self._context, self._identity)]
        return "IN_PROGRESS" in states

    def _events(self) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for one in self._engine.list_events(self._context, self._identity, sort_dir="asc"):
            state = f"{one['resource_action']}_{one['resource_status']}"
            found.setdefault(one["resource_name"], []).append(f"{state}: {one['resource_status_reason']}")
        return found

    def _wait(self, holds: Any) -> None:
        until = time.monotonic() + LONGEST_S
        while not holds():
            if time.monotonic() > until:
                raise TimeoutError(json.dumps(self._events()))
            time.sleep(PAUSE_S)


def main() -> None:
    """Play a scenario on each line."""
    with tempfile.TemporaryDirectory() as folder:
        engine = running_engine(str(Path(folder)))
        for number, line in enumerate(sys.stdin):
            print(json.dumps(Player(engine, f"project-{number}").play(json.loads(line)), default=str), flush=True)


if __name__ == "__main__":
    main()
