"""The log of what was asked of servers, step by step."""

from __future__ import annotations

import time
from dataclasses import replace

from sonata.emulator.cloud.asking import ASKER
from sonata.emulator.cloud.entities.compute import ActionEvent, Server, ServerAction
from sonata.emulator.cloud.tables import Tables
from sonata.errors import SonataError

LONGEST_LOG = 1000
"""Actions that a cloud remembers; the oldest ones go first."""


class ActionLog:
    """The actions of one cloud's servers."""

    def __init__(self, tables: Tables) -> None:
        self._table = tables.server_actions

    def of(self, server_id: str) -> list[ServerAction]:
        """The actions of a server, the latest one first."""
        return [action for action in self._table if action.server_id == server_id][::-1]

    def begin(self, server: Server, name: str) -> str:
        """Note that somebody asks for something; returns the id of the note."""
        asker = ASKER.get()
        action = ServerAction(
            name=name,
            server_id=server.id,
            project_id=asker.project_id or server.project_id,
            user_id=asker.user_id or server.user_id,
            request_id=asker.request_id,
        )
        while len(self._table) >= LONGEST_LOG:
            self._table.remove(next(iter(self._table)).id)
        return self._table.add(action).id

    def step(self, action_id: str, name: str, host: str) -> Step:
        """Note a step of an action and how it ends."""
        return Step(self, action_id, ActionEvent(name, host, time.time()))

    def put(self, action_id: str, event: ActionEvent, *, last: bool = False) -> None:
        """Add a step, or replace the last one."""
        if action := self._table.peek(action_id):
            events = (*(action.events[:-1] if last else action.events), event)
            message = "Error" if event.result == "Error" else action.message
            self._table.change(action_id, events=events, message=message)


class Step:
    """A step of an action while it goes on; `details` is what is worth telling of it when it ends well."""

    def __init__(self, log: ActionLog, action_id: str, event: ActionEvent) -> None:
        self._log = log
        self._action_id = action_id
        self._event = event
        self.details: str | None = None

    def __enter__(self) -> Step:
        self._log.put(self._action_id, self._event)
        return self

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        result, details = "Success", self.details
        if error is not None:
            result, details = "Error", error.message if isinstance(error, SonataError) else type(error).__name__
        ended = replace(self._event, finished_at=time.time(), result=result, details=details)
        self._log.put(self._action_id, ended, last=True)
