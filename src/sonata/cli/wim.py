"""`sonata wim`: wide area network infrastructure managers."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from sonata.cli import output
from sonata.cli.connection import Data, Form, client_of
from sonata.errors import InvalidInput

app = typer.Typer(add_completion=False, help="Wide area network infrastructure managers.", no_args_is_help=True)


@app.command(epilog="Example: SONATA_WIM_TOKEN=... sonata wim add wan http://127.0.0.1:8901")
def add(
    name: Annotated[str, typer.Argument(help="Name of the WIM.")],
    endpoint: Annotated[str, typer.Argument(help="Base URL.")],
    token_file: Annotated[Path | None, typer.Option(help="File with its token; default: $SONATA_WIM_TOKEN.")] = None,
    data: Data = None,
    form: Form = output.Format.TABLE,
) -> None:
    """Register a WIM; its token comes from a file or the environment, never from the command line."""
    token = _token(token_file)
    with client_of(data) as client:
        output.details(client.add_wim(name, endpoint, token), form)


@app.command("ls", epilog="Example: sonata wim ls")
def list_(data: Data = None, form: Form = output.Format.TABLE) -> None:
    """List WIMs."""
    with client_of(data) as client:
        output.rows(("name", "type", "endpoint", "uuid"), client.list("wims"), form)


@app.command("rm", epilog="Example: sonata wim rm wan")
def remove(name: Annotated[str, typer.Argument(metavar="NAME|UUID", help="The WIM.")], data: Data = None) -> None:
    """Forget a WIM; refused while a live service spans sites."""
    with client_of(data) as client:
        client.remove("wims", name)
    output.say(f"WIM {name} removed")


def _token(path: Path | None) -> str:
    if path is None:
        return os.environ.get("SONATA_WIM_TOKEN", "")
    try:
        return path.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput(f"cannot read `{path}`: {error}") from error
