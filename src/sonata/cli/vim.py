"""`sonata vim`: virtualised infrastructure managers."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from sonata.cli import output
from sonata.cli.connection import Data, Form, client_of
from sonata.errors import InvalidInput
from sonata.sdk import emulation_records

app = typer.Typer(add_completion=False, help="Virtualised infrastructure managers.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(metavar="NAME|UUID", help="The VIM.")]

_NEEDED = ("OS_AUTH_URL", "OS_USERNAME", "OS_PASSWORD", "OS_PROJECT_NAME")


@app.command(
    epilog="Examples: sonata vim add --emulation cdn  |  sonata vim add core --openrc core.rc  |  "
    'eval "$(sonata emu openrc core)"; sonata vim add core'
)
def add(
    name: Annotated[str, typer.Argument(help="Name of the PoP, as the WIM knows it.")] = "",
    openrc: Annotated[Path | None, typer.Option(help="File with `export OS_...` lines; default: environment.")] = None,
    emulation: Annotated[str, typer.Option(help="Register all PoPs and the wide area of this emulation.")] = "",
    replace: Annotated[bool, typer.Option("--replace", help="Replace one of this name with another endpoint.")] = False,
    data: Data = None,
    form: Form = output.Format.TABLE,
) -> None:
    """Register a VIM; credentials come from an openrc file or the environment, never from the command line."""
    with client_of(data) as client:
        if emulation:
            record = emulation_records.find(emulation)
            client.attach_emulation(record)
            sites = ", ".join(site.name for site in record.topology.sites)
            output.say(f"registered {sites} and the wide area of emulation {record.name}")
            return
        if not name:
            raise InvalidInput("a VIM needs a name", hint="sonata vim add NAME, or --emulation NAME")
        given = _credentials(openrc)
        added = client.add_vim(
            name=name,
            endpoint=given["OS_AUTH_URL"],
            username=given["OS_USERNAME"],
            password=given["OS_PASSWORD"],
            project=given["OS_PROJECT_NAME"],
            user_domain=given.get("OS_USER_DOMAIN_NAME", "Default"),
            project_domain=given.get("OS_PROJECT_DOMAIN_NAME", "Default"),
            region=given.get("OS_REGION_NAME", ""),
            replace=replace,
        )
    output.details(added, form)


@app.command("ls", epilog="Example: sonata vim ls -o json")
def list_(data: Data = None, form: Form = output.Format.TABLE) -> None:
    """List VIMs."""
    with client_of(data) as client:
        output.rows(("name", "type", "endpoint", "project", "uuid"), client.list("vims"), form)


@app.command(epilog="Example: sonata vim show core")
def show(name: Name, data: Data = None, form: Form = output.Format.TABLE) -> None:
    """Show a VIM with the capacity that it reports now."""
    with client_of(data) as client:
        output.details(client.show("vims", name), form)


@app.command("rm", epilog="Example: sonata vim rm core")
def remove(name: Name, data: Data = None) -> None:
    """Forget a VIM that no live service uses."""
    with client_of(data) as client:
        client.remove("vims", name)
    output.say(f"VIM {name} removed")


def _credentials(openrc: Path | None) -> Mapping[str, str]:
    given = _read_openrc(openrc) if openrc else os.environ
    lacking = [variable for variable in _NEEDED if not given.get(variable)]
    if lacking:
        where = f"`{openrc}`" if openrc else "the environment"
        raise InvalidInput(f"{where} lacks {', '.join(lacking)}", hint="`sonata emu openrc POP` prints them")
    return given


def _read_openrc(path: Path) -> dict[str, str]:
    """Variables of a file of `export NAME=VALUE` lines; nothing in it is run."""
    try:
        text = path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput(f"cannot read `{path}`: {error}") from error
    found = {}
    for word in shlex.split(text, comments=True):
        name, equals, value = word.partition("=")
        if equals and name.startswith("OS_"):
            found[name] = value
    return found
