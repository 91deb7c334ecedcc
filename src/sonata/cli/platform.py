"""`sonata up`, `down`, `status`, `logs`: the service platform."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Annotated

import typer

from sonata.cli import exit_codes, output
from sonata.cli.connection import Data, Form, client_of, folder_of
from sonata.cli.left_running import leave_running
from sonata.errors import InvalidInput, NotFound
from sonata.sdk import emulation_records, platforms
from sonata.sdk.platform_client import PlatformClient
from sonata.sdk.platform_records import LOG_FILE, find

app = typer.Typer(add_completion=False, help="The service platform.", no_args_is_help=True)


@app.command(epilog="Examples: sonata up --detach  |  sonata up --topology examples/cdn/topology.yaml")
def up(
    data: Data = None,
    listen: Annotated[str, typer.Option(help="Loopback HOST:PORT; port 0 picks a free one.")] = (
        f"{platforms.DEFAULT_HOST}:{platforms.DEFAULT_PORT}"
    ),
    detach: Annotated[bool, typer.Option("--detach", help="Return once it is ready, and leave it running.")] = False,
    topology: Annotated[
        Path | None, typer.Option(help="Also run this emulation (or attach to it), and register its sites.")
    ] = None,
) -> int:
    """Start the service platform; without --detach it runs until Ctrl-C."""
    folder = folder_of(data)
    platforms.refuse_running(folder)
    address = _address(listen)
    emulation = _emulation_of(topology) if topology else None
    platform = platforms.start(folder, listen=address)
    if emulation is not None:
        with PlatformClient.connect(folder) as client:
            client.attach_emulation(emulation)
        sites = ", ".join(site.name for site in emulation.topology.sites)
        output.say(f"attached to emulation {emulation.name}: {sites}")
    output.say(f"platform is ready on {platform.record.url}; data in {folder}")
    if detach:
        leave_running(platform)
        return exit_codes.OK
    return _attend(platform)


def _emulation_of(file: Path) -> emulation_records.EmulationRecord:
    """The running emulation of a topology file; started as an independent process when it does not run."""
    from sonata.formats.topology import read_topology  # only this verb needs them, and they take their time
    from sonata.sdk import emulations

    topology = read_topology(file)
    known = emulation_records.load(topology.name)
    if known is not None and known.is_running:
        output.say(f"emulation {known.name} runs already on {known.url}")
        return known
    emulation = emulations.start(topology, progress=output.say)
    emulation.let_go()
    return emulation.record


def _attend(platform: platforms.RunningPlatform) -> int:
    """Stay until the platform ends or the person ends it."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with platform:
            output.say("Ctrl-C ends it")
            platform.wait()
    except KeyboardInterrupt:
        output.say("platform is down")
        return exit_codes.OK
    output.say("the platform ended; `sonata logs` tells more")
    return exit_codes.FAILED


@app.command(epilog="Example: sonata down")
def down(data: Data = None) -> None:
    """Stop the service platform; what is under way goes on at the next start. Emulations keep running."""
    platforms.stop(folder_of(data))
    output.say("platform is down")


@app.command(epilog="Example: sonata status -o json")
def status(data: Data = None, form: Form = output.Format.TABLE) -> None:
    """Tell where the platform runs, and what it has and does."""
    record = find(folder_of(data))
    with client_of(data) as client:
        answer = {"url": record.url, "pid": record.process.pid, **client.status()}
    output.details(answer, form)


@app.command(epilog="Example: sonata logs | tail")
def logs(data: Data = None) -> None:
    """Print the log of the platform, also of one that has ended."""
    path = folder_of(data) / LOG_FILE
    if not path.exists():
        raise NotFound(
            f"no platform ever ran on data folder `{folder_of(data)}`", hint="name the right folder with `--data`"
        )
    output.text(path.read_text(errors="replace"))


def _address(text: str) -> tuple[str, int]:
    host, colon, port = text.rpartition(":")
    if not colon or not port.isdigit() or int(port) > 65535:
        raise InvalidInput(f"`{text}` is no HOST:PORT", hint="e.g. --listen 127.0.0.1:0")
    return host.strip("[]") or platforms.DEFAULT_HOST, int(port)
