"""`sonata emu endpoint`: hosts outside of the sites, which may move from cell to cell."""

from __future__ import annotations

from typing import Annotated

import typer

from sonata.cli import output
from sonata.cli.emu_options import Form, Name
from sonata.sdk.emulation_records import find
from sonata.sdk.emulator_client import EmulatorClient

app = typer.Typer(help="Hosts outside of the sites: users, content servers.", no_args_is_help=True)


@app.command("ls", epilog="Example: sonata emu endpoint ls -o json")
def list_endpoints(
    name: Name = None,
    form: Form = output.Format.TABLE,
) -> None:
    """List endpoints with the site and cell where they are."""
    with EmulatorClient.of(find(name)) as client:
        output.rows(("name", "pop", "cell", "home", "address", "status"), client.endpoints(), form)


@app.command(epilog="Example: sonata emu endpoint move users --to c2")
def move(
    endpoint: Annotated[str, typer.Argument(metavar="NAME", help="An endpoint.")],
    to: Annotated[str, typer.Option(help="A cell of a site, or a site.")],
    name: Name = None,
) -> None:
    """Move an endpoint to another cell or site; it keeps its address, and its connections live on."""
    with EmulatorClient.of(find(name)) as client:
        client.move_endpoint(endpoint, to)
