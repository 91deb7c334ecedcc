"""Scenarios of a running emulation: begun, followed to their end, written down."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from sonata._lib.plain import to_plain
from sonata.errors import TransientError
from sonata.formats.scenario_log import head_line, step_line
from sonata.model.scenario import Scenario
from sonata.sdk.emulator_http import EmulatorHttp

Document = Mapping[str, Any]
Tell = Callable[[Document], None]


class ScenarioClient(EmulatorHttp):
    """The scenarios of one emulation over HTTP."""

    def start(self, scenario: Scenario) -> Document:
        """Begin a scenario; returns its run."""
        answer: Document = self._json("POST", "/scenarios", json=to_plain(scenario))
        return answer

    def runs(self) -> list[Document]:
        """All runs, oldest first."""
        answer: list[Document] = self._json("GET", "/scenarios")
        return answer

    def cancel(self, run: int) -> Document:
        """End a run, and undo what was to be undone."""
        answer: Document = self._json("DELETE", f"/scenarios/{run}")
        return answer

    def follow(self, run: Document, tell: Tell) -> Document:
        """Tell the events of a run until it ends; returns the last of them, which counts the steps that failed.

        Raises:
            TransientError: the emulation ended before the run did.
        """
        params = {"after": run["after"], "kind": "scenario."}
        with self._stream("GET", "/events/stream", params=params) as answer:
            for line in answer.lines():
                event: Document = json.loads(line)
                if event["detail"].get("run") == run["run"]:
                    tell(event)
                    if "failed" in event["detail"]:
                        return event
        raise TransientError(f"the emulation ended before scenario `{run['scenario']}` did", hint="see `sonata emu ls`")


def written_to(path: Path, scenario: Scenario, emulation: str) -> Tell:
    """Begin a log of a run; returns what takes its events."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(head_line(scenario, emulation, time.time()))

    def note(event: Document) -> None:
        if "step" in event["detail"]:
            with path.open("a") as log:
                log.write(step_line(event))

    return note
