"""`sonata emu`: emulated multi-site infrastructure."""

from __future__ import annotations

import shlex
import signal
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sonata.cli import (
    emu_changes,
    emu_endpoints,
    emu_events,
    emu_links,
    emu_metrics,
    emu_scenarios,
    emu_topologies,
    emu_wan,
    exit_codes,
    output,
)
from sonata.cli.emu_options import Form, Name
from sonata.cli.left_running import leave_running
from sonata.errors import AdapterError, Conflict, InvalidInput, NotFound
from sonata.sdk.emulation_records import DEFAULT_HOST, DEFAULT_PORT, EmulationRecord, find, load, log_of, recorded
from sonata.sdk.emulator_client import EmulatorClient
from sonata.sdk.keepers import Keeper
from sonata.sdk.openrc import PROJECT, USER, auth_url
from sonata.sdk.openrc import openrc as openrc_of

if TYPE_CHECKING:  # slow to import, and of use to `up` alone
    from sonata.sdk.emulations import Emulation

app = typer.Typer(add_completion=False, help="Emulated multi-site infrastructure.", no_args_is_help=True)
app.add_typer(emu_links.app, name="link")
app.add_typer(emu_endpoints.app, name="endpoint")
app.add_typer(emu_scenarios.app, name="scenario")
app.add_typer(emu_wan.app, name="wan")
app.command(epilog=emu_links.CAPTURE_EXAMPLES)(emu_links.capture)
app.command("events", epilog=emu_events.EXAMPLES)(emu_events.events)
emu_metrics.register(app)
app.command(epilog="Example: sonata emu save --with-servers > line.yaml")(emu_changes.save)
emu_topologies.register(app)


@app.command(
    epilog="Examples: sonata emu up examples/line/topology.yaml --detach; "
    "sonata emu up line.yaml --dry-run --exit-code. Exit status 3: something would change."
)
def up(
    file: Annotated[Path, typer.Argument(help="Topology file.")],
    name: Annotated[str | None, typer.Option("--name", help="Name of the emulation; default: the topology's.")] = None,
    listen: Annotated[
        str | None,
        typer.Option(help=f"Loopback HOST:PORT; port 0 picks a free one. Default: {DEFAULT_HOST}:{DEFAULT_PORT}."),
    ] = None,
    engine: Annotated[
        str | None,
        typer.Option(envvar="SONATA_ENGINE", help="What runs machines: auto, crun, runc, launcher, podman or docker."),
    ] = None,
    detach: Annotated[bool, typer.Option("--detach", help="Return once it is ready, and leave it running.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check, show what would change, and change nothing.")] = (
        False
    ),
    exit_code: Annotated[
        bool, typer.Option("--exit-code", help="With --dry-run: exit status 3 when something would change.")
    ] = False,
    form: Annotated[output.Format, typer.Option("-o", "--output", help="How --dry-run is printed.")] = (
        output.Format.TABLE
    ),
    renderer: Annotated[
        str | None, typer.Option(help="What steers service function chains; default: the topology's.")
    ] = None,
) -> int:
    """Start an emulation, bring a killed one back, or change a running one into what the file says.

    Without --detach it runs until Ctrl-C, unless it was running already.
    """
    if exit_code and not dry_run:
        raise InvalidInput("--exit-code tells of a plan", hint="give --dry-run, too")
    with _keeper_ahead(wanted=not dry_run) as keeper:
        from sonata.formats.topology import read_topology  # slow to import, and of no use to the other verbs
        from sonata.sdk import emulations

        topology = read_topology(file)
        if renderer:
            topology = replace(topology, chain_renderer=renderer)
        address = _address(listen) if listen else None
        running = emulations.standing(name or topology.name)
        if dry_run:
            changes = emu_changes.show_plan(running, topology, address, form)
            return emu_changes.exit_code(changes, wanted=exit_code)
        if running:
            _require_engine(running, engine)
            emu_changes.change_running(running, topology, address)
            return exit_codes.OK
        at, tell = address or (DEFAULT_HOST, DEFAULT_PORT), output.say
        emulation = emulations.start(topology, name=name, listen=at, engine=engine, progress=tell, keeper=keeper)
    if detach:
        leave_running(emulation)
        _tell_ready(emulation.record)
        return exit_codes.OK
    return _attend(emulation)


@contextmanager
def _keeper_ahead(*, wanted: bool) -> Iterator[Keeper | None]:
    """A keeper that starts while we do; none where an emulation runs, which may be the one to be changed."""
    if not wanted or any(record.is_running for record in recorded()):
        yield None
        return
    with Keeper() as keeper:
        yield keeper


@app.command(epilog="Example: sonata emu down --name line")
def down(name: Name = None) -> None:
    """Stop an emulation and remove everything it left, also after it was killed."""
    from sonata.sdk import emulations  # slow to import

    name = name or _only_recorded()
    if not emulations.stop(name):
        raise NotFound(f"no emulation `{name}` is running or left over", hint="see `sonata emu ls`")
    output.say(f"emulation {name} is down")


@app.command("ls", epilog="Example: sonata emu ls -o json")
def list_(form: Form = output.Format.TABLE) -> None:
    """List emulations."""
    rows = [
        {
            "name": record.name,
            "state": _state(record),
            "pid": record.process.pid,
            "url": record.url,
            "pops": len(record.topology.pops),
            "created_at": record.created_at,
        }
        for record in recorded()
    ]
    output.rows(("name", "state", "pid", "url", "pops"), rows, form)


@app.command(epilog="Example: sonata emu show --name line -o yaml")
def show(name: Name = None, form: Form = output.Format.TABLE) -> None:
    """Show an emulation: its sites, machines and where its APIs are."""
    record = find(name)
    with EmulatorClient.of(record) as client:
        status, machines = client.status(), client.machines()
    pops = _sites(record)
    if form is not output.Format.TABLE:
        head = {"name": record.name, "url": record.url, "pid": record.process.pid, "proxy": record.proxy}
        output.document({**head, **status, "pops": pops, "machines": machines}, form)
        return
    output.text(f"{record.name}: {record.url}, keeper {record.process.pid}, runtime {status['runtime']}")
    for limit, reason in status["unenforced"].items():
        output.text(f"not enforced: {limit}: {reason}")
    output.rows(("pop", "auth_url", *(("zones",) if any(site["zones"] for site in pops) else ())), pops)
    output.rows(("name", "kind", "pop", "image", "status", "addresses"), machines)


@app.command(epilog="Example: sonata emu logs --name line")
def logs(name: Name = None) -> None:
    """Print the log of an emulation."""
    record = load(name) if name else find(None)
    if record is None:
        raise NotFound(f"no emulation `{name}`", hint="see `sonata emu ls`")
    output.text(log_of(record.name).read_text(errors="replace"))


@app.command("exec", epilog="Example: sonata emu exec users -- ping -c 3 100.64.1.10")
def exec_(
    machine: Annotated[str, typer.Argument(metavar="NAME", help="An endpoint, or POP/SERVER.")],
    command: Annotated[list[str], typer.Argument(metavar="-- CMD...", help="What to run.")],
    with_stdin: Annotated[bool, typer.Option("-i", "--stdin", help="Give it our standard input.")] = False,
    name: Name = None,
) -> int:
    """Run a command in an endpoint or server; its exit status becomes ours."""
    stdin = sys.stdin.buffer.read() if with_stdin else b""
    with EmulatorClient.of(find(name)) as client:
        return client.follow(machine, command, output.raw, stdin)


@app.command(epilog="Example: sonata emu console core/cache")
def console(
    machine: Annotated[str, typer.Argument(metavar="NAME", help="An endpoint, or POP/SERVER.")],
    name: Name = None,
) -> None:
    """Open a shell in an endpoint or server on this terminal; Ctrl-] leaves it."""
    from sonata.cli.console import RemoteTerminal, join, window  # what it needs takes time to import

    rows, columns = window()
    terminal = RemoteTerminal.of(find(name), machine, rows=rows, columns=columns)
    if sys.stdin.isatty():
        output.say(f"connected to {machine}; Ctrl-] leaves")
    if join(terminal):
        output.say(f"left {machine}")


@app.command(epilog='Example: eval "$(sonata emu openrc core)" && openstack server list')
def openrc(
    pop: Annotated[str, typer.Argument(metavar="POP", help="A site.")],
    project: Annotated[str, typer.Option(help="The project to work in.")] = PROJECT,
    user: Annotated[str, typer.Option(help="Who works; clients ask for the password of others than `admin`.")] = (USER),
    name: Name = None,
) -> None:
    """Print `export OS_...` lines that let stock OpenStack clients use a site."""
    record = find(name)
    variables = openrc_of(record, pop, project=project, user=user)
    output.text("\n".join(f"export {variable}={shlex.quote(value)}" for variable, value in variables.items()))


def _require_engine(record: EmulationRecord, engine: str | None) -> None:
    """Refuse another engine than the one that machines of a running emulation have."""
    from sonata.sdk.engines import AUTO

    if engine in (None, AUTO):
        return
    with EmulatorClient.of(record) as client:
        runtime = client.status()["runtime"]
    if runtime.partition(" ")[0] != engine:
        raise Conflict(
            f"emulation `{record.name}` runs by {runtime}, and cannot change to `{engine}`",
            hint=f"end it with `sonata emu down --name {record.name}` first",
        )


def _attend(emulation: Emulation) -> int:
    """Stay until the emulation ends or the person ends it."""
    with ExitStack() as ending:
        ending.callback(emulation.stop)
        try:
            _tell_ready(emulation.record)
            output.say("Ctrl-C ends it")
            emulation.wait()
        except KeyboardInterrupt:
            output.say("ending")
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            return exit_codes.OK
        if load(emulation.record.name) is None:  # it has cleaned up behind itself, as when somebody said `down`
            output.say("the emulation was ended")
            return exit_codes.OK
        ending.pop_all()
        emulation.bury()
        name = emulation.record.name
        raise AdapterError(
            f"emulation `{name}` died",
            hint="`sonata emu up` with the same file brings its clouds back, `sonata emu down` drops them",
        )


def _tell_ready(record: EmulationRecord) -> None:
    output.say(f"emulation {record.name} is ready on {record.url}")


def _address(text: str) -> tuple[str, int]:
    host, colon, port = text.rpartition(":")
    if not colon or not port.isdigit() or int(port) > 65535:
        raise InvalidInput(f"`{text}` is no HOST:PORT", hint="e.g. --listen 127.0.0.1:0")
    return host.strip("[]") or DEFAULT_HOST, int(port)


def _only_recorded() -> str:
    names = [record.name for record in recorded()]
    if not names:
        raise NotFound("no emulation is running or left over", hint="start one with `sonata emu up FILE`")
    if len(names) > 1:
        raise InvalidInput(f"there are {len(names)} emulations: {', '.join(names)}", hint="say which with --name")
    return names[0]


def _state(record: EmulationRecord) -> str:
    if not record.is_running:
        return "dead"
    return "ready" if record.ready else "starting"


def _sites(record: EmulationRecord) -> list[dict[str, Any]]:
    """The PoPs with an OpenStack of their own, and the PoPs that each has as zones besides."""
    return [
        {
            "pop": site.name,
            "auth_url": auth_url(record, site.name),
            "zones": [pop.name for pop in record.topology.managed(site.name)],
        }
        for site in record.topology.sites
    ]
