#!/usr/bin/env python3
"""Writes `docs/reference/cli.md` from the commands themselves; with --check only tells whether it is up to date."""

from __future__ import annotations

import importlib
import inspect
import sys
import typing
from collections.abc import Iterator
from enum import Enum
from pathlib import Path
from typing import Any

import typer

from sonata.cli.main import NOUNS

PAGE = Path(__file__).parent.parent / "docs" / "reference" / "cli.md"
HEAD = """# Command line

<!-- Written by tools/cli_reference.py; change the commands, not this page. -->

A noun, then a verb. Data goes to standard output, talk to standard error. `-o json` and `-o yaml` print all fields;
tables that go to a file or another program are neither cut nor wrapped. Every verb has `--help`.

| exit code | meaning |
|---|---|
| 0 | done |
| 1 | the operation failed |
| 2 | wrong usage or invalid input; every finding is printed |
| 4 | credentials missing or wrong |
| 5 | not found |
| 6 | conflict: it exists, is busy, or is in the wrong state |
| 8 | a limit of time passed |
| 70 | a bug in sonata |
| 130 | interrupted |

`sonata emu exec` ends with the exit status of the command that it ran.

| variable | meaning |
|---|---|
| `SONATA_HOME` | folder for state and data instead of `~/.local/state/sonata` and `~/.local/share/sonata` |
| `SONATA_DATA` | data folder of the platform, as `--data` |
| `SONATA_WIM_TOKEN` | token for `sonata wim add` |
| `SONATA_DEBUG` | when set, errors come with their traceback |
"""


def reference() -> str:
    """The whole page."""
    return "\n".join([HEAD, *(line for noun in NOUNS for line in _noun(noun))]).rstrip() + "\n"


def _noun(name: str) -> Iterator[str]:
    module, _summary = NOUNS[name]
    command = typer.main.get_command(importlib.import_module(module).app)
    if module.endswith(".platform"):
        command = command.commands[name]  # type: ignore[attr-defined]
    yield f"## sonata {name}\n"
    yield from _command(f"sonata {name}", command)


def _command(path: str, command: Any) -> Iterator[str]:
    yield f"{_plain(command.help)}\n"
    if hasattr(command, "commands"):
        for name, verb in command.commands.items():
            yield f"### {path} {name}\n"
            yield from _command(f"{path} {name}", verb)
        return
    yield f"```\n{_usage(path, command)}\n```\n"
    kinds = _kinds(command)
    rows = [row for parameter in command.params if (row := _row(parameter, kinds))]
    if rows:
        yield "| | | default |\n|---|---|---|"
        yield from rows
        yield ""
    if command.epilog:
        yield from _examples(command.epilog)


def _usage(path: str, command: Any) -> str:
    arguments = [_written(each) for each in command.params if each.param_type_name == "argument"]
    has_options = any(each.param_type_name == "option" and each.name != "help" for each in command.params)
    return " ".join([path, *(["[OPTIONS]"] if has_options else []), *arguments])


def _written(argument: Any) -> str:
    name = argument.metavar or argument.name.upper()
    name += "..." if argument.nargs == -1 and " " not in name else ""
    return name if argument.required else f"[{name}]"


def _row(parameter: Any, kinds: dict[str, Any]) -> str:
    """A line of the table, nothing for what every command has."""
    if parameter.name == "help" or getattr(parameter, "hidden", False):
        return ""
    if parameter.param_type_name == "argument":
        name = _written(parameter)
    else:
        name = ", ".join([*parameter.opts, *parameter.secondary_opts])
        name += "" if parameter.is_flag else f" {_values(kinds[parameter.name])}"
    default = getattr(parameter.default, "value", parameter.default)
    shown = "" if default in (None, "", False, [], ()) or callable(default) else f"`{default}`"
    return f"| `{_cell(name)}` | {_cell(_plain(parameter.help))} | {shown} |"


def _kinds(command: Any) -> dict[str, Any]:
    """Types of the parameters, from the function behind a command."""
    hints = typing.get_type_hints(inspect.unwrap(command.callback))
    return {name: next((t for t in typing.get_args(hint) if t is not type(None)), hint) for name, hint in hints.items()}


def _values(kind: Any) -> str:
    """What an option takes."""
    if isinstance(kind, type) and issubclass(kind, Enum):
        return "|".join(str(choice.value) for choice in kind)
    return {Path: "PATH", float: "NUMBER"}.get(kind, "TEXT")


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _plain(text: str | None) -> str:
    return "\n\n".join(" ".join(part.split()) for part in (text or "").split("\n\n"))


def _examples(epilog: str) -> Iterator[str]:
    text = epilog.partition(": ")[2]
    lines = [line.strip() for line in text.split("  |  ")]
    yield "\n".join(["```", *lines, "```"]) + "\n"


def main() -> int:
    """Write or check the page."""
    current = PAGE.exists() and PAGE.read_text() == reference()
    if current:
        return 0
    if "--check" in sys.argv:
        print("out of date: docs/reference/cli.md; run tools/cli_reference.py")
        return 1
    PAGE.parent.mkdir(parents=True, exist_ok=True)
    PAGE.write_text(reference())
    print("written: docs/reference/cli.md")
    return 0


if __name__ == "__main__":
    sys.exit(main())
