"""Following an operation: a live list on a terminal, one line per step elsewhere, JSON lines with `-o json`."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from sonata.cli import exit_codes, output
from sonata.sdk.platform_client import PlatformClient

if TYPE_CHECKING:  # slow to import, and of use on a terminal alone
    from rich.table import Table

_MARKS = {
    "RUNNING": ("…", "yellow"),
    "DONE": ("✓", "green"),
    "SKIPPED": ("-", "dim"),
    "FAILED": ("✗", "red"),
    "COMPENSATED": ("↩", "magenta"),
}
Step = Mapping[str, Any]


def follow(client: PlatformClient, operation_id: str, form: output.Format = output.Format.TABLE) -> int:
    """Follow an operation to its end on stderr (JSON: stdout); returns the exit code that fits its end."""
    if form is output.Format.JSON:
        return _follow_as_json(client, operation_id)
    final = (_follow_live if sys.stderr.isatty() else _follow_lines)(client, operation_id)
    output.say(f"{final['operation']} {final['state']}" + (f": {final['error']}" if final["error"] else ""))
    if final["hint"]:
        output.say(f"hint: {final['hint']}")
    return _code(final)


def _code(final: Mapping[str, Any]) -> int:
    return exit_codes.OK if final["state"] == "COMPLETED" else exit_codes.FAILED


def _follow_as_json(client: PlatformClient, operation_id: str) -> int:
    last: Mapping[str, Any] = {"state": ""}
    for kind, document in client.watch(operation_id):
        output.text(json.dumps({"event": kind, **document}))
        last = document if kind == "operation" else last
    return _code(last)


def _follow_lines(client: PlatformClient, operation_id: str) -> Mapping[str, Any]:
    last: Mapping[str, Any] = {}
    for kind, document in client.watch(operation_id):
        if kind == "operation":
            last = document
        elif document["state"] != "RUNNING":
            output.say(_line(document))
    return last


def _line(step: Step) -> str:
    again = f" (attempt {step['attempt']})" if step["attempt"] > 1 else ""
    return f"{step['state'].lower():11} {step['step']}{again}  {_duration(step)}  {_what(step)}".rstrip()


def _duration(step: Step) -> str:
    return "" if step["duration_s"] is None else f"{step['duration_s'] * 1000:.0f} ms"


def _what(step: Step) -> str:
    return str(step["error"] or step["detail"])


def _follow_live(client: PlatformClient, operation_id: str) -> Mapping[str, Any]:
    from rich.console import Console
    from rich.live import Live

    last: Mapping[str, Any] = {}
    steps: dict[tuple[str, int], Step] = {}
    with Live(console=Console(stderr=True, highlight=False), auto_refresh=False) as live:
        for kind, document in client.watch(operation_id):
            if kind == "operation":
                last = document
            else:
                steps[(document["step"], document["attempt"])] = document
            live.update(_table(steps), refresh=True)
    return last


def _table(steps: Mapping[tuple[str, int], Step]) -> Table:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, show_header=False)
    for step in steps.values():
        mark, style = _MARKS.get(step["state"], ("?", ""))
        name = step["step"] + (f" (attempt {step['attempt']})" if step["attempt"] > 1 else "")
        table.add_row(Text(mark, style), Text(name), Text(_duration(step), "dim"), Text(_what(step)))
    return table
