"""`sonata emu events`: what happens in an emulation, as it happens."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Any

import typer

from sonata.cli import output
from sonata.cli.emu_options import Name
from sonata.sdk.emulation_records import find
from sonata.sdk.emulator_client import Document, EmulatorClient

EXAMPLES = "Examples: sonata emu events -o jsonl --kind server. --kind link.; sonata emu events --no-follow -o json"


class Format(StrEnum):
    """How events are printed; `json` is one document and therefore not for those that are still to come."""

    TABLE = "table"
    JSON = "json"
    JSONL = "jsonl"
    YAML = "yaml"


def events(
    name: Name = None,
    kind: Annotated[
        list[str] | None, typer.Option(help="Only kinds that begin so, as `link.` or `server.created`; repeatable.")
    ] = None,
    after: Annotated[int, typer.Option(min=0, help="Number of the last event that is known already.")] = 0,
    follow: Annotated[
        bool | None,
        typer.Option("--follow/--no-follow", help="Wait for those to come; default with `table` and `jsonl`."),
    ] = None,
    form: Annotated[Format, typer.Option("-o", "--output", help="How events are printed.")] = Format.TABLE,
) -> None:
    """Print what happens in an emulation, from its start on, until it ends or Ctrl-C."""
    whole = form in (Format.JSON, Format.YAML)
    if whole and follow:
        raise typer.BadParameter(f"`-o {form}` prints one document at the end; follow with `-o jsonl`")
    kinds = tuple(kind or ())
    with EmulatorClient.of(find(name)) as client:
        if whole:
            output.document(client.events(kinds, after=after), output.Format(form))
        else:
            print_ = _print_lines if form is Format.JSONL else _print_for_people
            print_(client.events(kinds, after=after) if follow is False else client.follow_events(kinds, after=after))


def _print_lines(events: Iterable[Document]) -> None:
    for event in events:
        output.text(json.dumps(event))
        sys.stdout.flush()


def _print_for_people(events: Iterable[Document]) -> None:
    for event in events:
        at = datetime.fromtimestamp(event["at"], UTC).astimezone().strftime("%H:%M:%S.%f")[:-3]
        output.text(f"{at}  {event['kind']:<24} {event['subject']}  {_told(event['detail'])}".rstrip())
        sys.stdout.flush()


def _told(detail: dict[str, Any]) -> str:
    """The detail of an event on one line; ids and former values are for machines."""
    shown = {key: value for key, value in detail.items() if key not in ("id", "project_id", "was")}
    return " ".join(f"{key}={_value(value)}" for key, value in shown.items() if value not in (None, ""))


def _value(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + " ".join(f"{key}={_value(each)}" for key, each in value.items()) + "}"
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)
