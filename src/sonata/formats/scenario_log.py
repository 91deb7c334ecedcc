"""The log of a scenario's run: one JSON document per line, written as it happens, and read again to be replayed.

The first line says what ran where; each further line is a step with the time it was due, how late it was, and what came
of it. Chance is resolved in it, so that a replay does the same at the same times.

Codes: SLOG-0001 no log of a scenario, -0002 a line that is none.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sonata._lib.plain import encode, from_plain
from sonata.errors import Diagnostic, InvalidInput, NotFound
from sonata.model.scenario import Scenario, Step

FORMAT = "sonata/scenario-log/v1"
_STEPS = frozenset({"scenario.done", "scenario.failed"})


def head_line(scenario: Scenario, emulation: str, started_at: float) -> str:
    """The first line of a log."""
    return _line(
        {
            "format": FORMAT,
            "scenario": scenario.name,
            "seed": scenario.seed,
            "emulation": emulation,
            "started_at": started_at,
        }
    )


def step_line(event: Mapping[str, Any]) -> str:
    """A line for an event of kind `scenario.done`, `scenario.failed` or `scenario.undone`."""
    return _line({"kind": event["kind"], "at": event["at"], **event["detail"]})


def read_log(path: Path) -> Scenario:
    """What a log tells, as a scenario.

    Raises:
        NotFound: there is no such file.
        InvalidInput: it is no log of a scenario; with all lines that are none. A last line that breaks off, as after a
            crash, is left out.
    """
    try:
        lines = path.read_text(errors="replace").removesuffix("\n").split("\n")
    except OSError as error:
        raise NotFound(f"there is no log `{path}`: {error.strerror}") from error
    head = _parsed(lines[0])
    if head is None or head.get("format") != FORMAT:
        flaw = Diagnostic("error", "SLOG-0001", f"the first line is not of the format `{FORMAT}`", str(path), 1)
        raise InvalidInput(f"`{path}` is no log of a scenario", diagnostics=[flaw])
    steps, flaws = [], []
    for number, line in enumerate(lines[1:], 2):
        try:
            steps += _steps(line)
        except ValueError as error:
            if number < len(lines):
                flaws.append(Diagnostic("error", "SLOG-0002", str(error), str(path), number))
    if flaws:
        raise InvalidInput(f"`{path}` is damaged", diagnostics=flaws)
    return Scenario(str(head.get("scenario", path.stem)), tuple(steps), int(head.get("seed", 0)))


def _steps(line: str) -> list[Step]:
    event = _parsed(line)
    if event is None:
        raise ValueError("not a JSON object")
    return [from_plain(event.get("step"), Step)] if event.get("kind") in _STEPS else []


def _parsed(line: str) -> dict[str, Any] | None:
    try:
        value = json.loads(line)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def _line(value: Mapping[str, Any]) -> str:
    return encode(value).decode() + "\n"
