"""`sonata op`: life cycle operations."""

from __future__ import annotations

from typing import Annotated

import typer

from sonata.cli import output
from sonata.cli.connection import Data, Form, client_of
from sonata.cli.following import follow

app = typer.Typer(add_completion=False, help="Life cycle operations.", no_args_is_help=True)

Operation = Annotated[str, typer.Argument(metavar="OPERATION", help="Its id.")]


@app.command("ls", epilog="Example: sonata op ls --instance web")
def list_(
    instance: Annotated[str, typer.Option(help="Only operations of this service instance.")] = "",
    data: Data = None,
    form: Form = output.Format.TABLE,
) -> None:
    """List operations, oldest first."""
    with client_of(data) as client:
        operations = client.list("operations", instance=instance)
    rows = [{**each, "name": each["params"].get("name", "")} for each in operations]
    output.rows(("id", "operation", "name", "state", "created_at", "error"), rows, form)


@app.command(epilog="Example: sonata op show 0c2f...")
def show(operation: Operation, data: Data = None, form: Form = output.Format.TABLE) -> None:
    """Show an operation with its timeline: every attempt of every step, and why it failed."""
    with client_of(data) as client:
        shown = dict(client.show("operations", operation))
    if form is not output.Format.TABLE:
        output.document(shown, form)
        return
    steps = shown.pop("steps")
    output.details(
        {key: shown[key] for key in ("id", "operation", "state", "created_at", "error", "hint") if shown[key]}
    )
    rows = [{**step, "what": _what(step)} for step in steps]
    output.rows(("step", "attempt", "state", "duration_s", "what"), rows)


@app.command(epilog="Example: sonata op watch 0c2f...")
def watch(operation: Operation, data: Data = None, form: Form = output.Format.TABLE) -> int:
    """Show each step as it happens; exit code 1 when the operation fails."""
    with client_of(data) as client:
        return follow(client, operation, form)


def _what(step: dict[str, str]) -> str:
    failed = [step["error"], step["call"], step["answer"], step["hint"]]
    return "; ".join(filter(None, failed if step["error"] else [step["detail"]]))
