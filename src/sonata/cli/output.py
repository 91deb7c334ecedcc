"""All printing of the command line: data on stdout, talk on stderr.

What lays text out on a terminal takes longer to import than most verbs to run: it comes when a table does not fit.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from typing import Any, TextIO

from sonata.errors import InvalidInput, SonataError


class Format(StrEnum):
    """How data is printed."""

    TABLE = "table"
    JSON = "json"
    YAML = "yaml"


_BOLD, _BOLD_RED, _PLAIN = "\033[1m", "\033[1;31m", "\033[0m"


def say(message: str) -> None:
    """Tell something to the person, on stderr."""
    sys.stderr.write(f"{message}\n")
    sys.stderr.flush()


def fail(error: SonataError) -> None:
    """Print an error with all its diagnostics and its hint, on stderr."""
    if isinstance(error, InvalidInput):
        for diagnostic in error.diagnostics:
            say(str(diagnostic))
    say(_styled(f"error: {error.message}", _BOLD_RED, sys.stderr))
    if error.hint:
        say(f"hint: {error.hint}")


def _styled(words: str, style: str, stream: TextIO) -> str:
    """Text in a style, on terminals that have one and whose person wants it (https://no-color.org)."""
    has_styles = stream.isatty() and os.environ.get("TERM") not in (None, "", "dumb", "unknown")
    return f"{style}{words}{_PLAIN}" if has_styles and not os.environ.get("NO_COLOR") else words


def text(value: str) -> None:
    """Print data as it is."""
    sys.stdout.write(value if value.endswith("\n") else value + "\n")


def document(value: Any, form: Format = Format.JSON) -> None:
    """Print a whole document as JSON or YAML."""
    text(_as_yaml(value) if form is Format.YAML else json.dumps(value, indent=2))


def _as_yaml(value: Any) -> str:
    import yaml

    return yaml.safe_dump(value, sort_keys=False)


def rows(columns: Sequence[str], values: Sequence[Mapping[str, Any]], form: Format = Format.TABLE) -> None:
    """Print a list: a table of these columns, or all fields as JSON or YAML."""
    if form is not Format.TABLE:
        document([dict(value) for value in values], form)
        return
    heads = [column.replace("_", " ").upper() for column in columns]
    _print_table(heads, [[_cell(value.get(column)) for column in columns] for value in values])


def _print_table(heads: Sequence[str], lines: Sequence[Sequence[str]]) -> None:
    """A terminal's width is respected; on the way to a file or another program no cell is cut or wrapped."""
    whole = _aligned([heads, *lines] if heads else lines)
    if not sys.stdout.isatty():
        text("\n".join(whole))
    elif all(_width(line) <= shutil.get_terminal_size().columns for line in whole):
        text("\n".join([_styled(whole[0], _BOLD, sys.stdout), *whole[1:]] if heads else whole))
    else:
        _print_folded(heads, lines)


def _print_folded(heads: Sequence[str], lines: Sequence[Sequence[str]]) -> None:
    """Cells that are too wide for the terminal go on below."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(*heads, box=None, pad_edge=False, show_header=bool(heads))
    for line in lines:
        table.add_row(*map(Text, line))
    Console(highlight=False).print(table)


def _aligned(lines: Sequence[Sequence[str]]) -> list[str]:
    """One line of text per row, columns two spaces apart, nothing behind the last one."""
    flat = [[" ".join(cell.split("\n")) for cell in line] for line in lines]
    widths = [max(map(_width, column)) for column in zip(*flat, strict=True)]
    return [
        "  ".join(cell + " " * (width - _width(cell)) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in flat
    ]


def _width(words: str) -> int:
    """How many columns of a terminal a text takes."""
    if words.isascii():
        return len(words)
    from rich.cells import cell_len

    return cell_len(words)


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def raw(stream: str, chunk: bytes) -> None:
    """Pass output of a command on, byte by byte: what it wrote to `stdout` or `stderr`."""
    target = getattr(sys, stream)
    target.buffer.write(chunk)
    target.flush()


def stream(pieces: Iterable[bytes]) -> None:
    """Print binary data as it comes."""
    for piece in pieces:
        sys.stdout.buffer.write(piece)
        sys.stdout.buffer.flush()


def details(value: Mapping[str, Any], form: Format = Format.TABLE) -> None:
    """Print one object: a line per field, or the whole as JSON or YAML."""
    if form is not Format.TABLE:
        document(dict(value), form)
        return
    lines = [
        [key.replace("_", " "), json.dumps(each) if isinstance(each, dict) else _cell(each)]
        for key, each in value.items()
    ]
    _print_table([], lines)
