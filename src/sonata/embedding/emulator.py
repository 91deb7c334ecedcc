"""A running emulation as an object: the same keeper, the same API and the same files as `sonata emu` has."""

from __future__ import annotations

import importlib
import shlex
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from sonata._lib.quantities import parse_duration, parse_rate, parse_share
from sonata._lib.values import dataclass
from sonata.errors import AdapterError, InvalidInput, NotFound
from sonata.formats.topology import ensure_valid, read_topology
from sonata.model.topology import Topology
from sonata.sdk import emulations
from sonata.sdk.emulation_records import DEFAULT_HOST, EmulationRecord, find, load
from sonata.sdk.emulator_client import EmulatorClient
from sonata.sdk.keepers import Keeper
from sonata.sdk.metrics_client import MetricsClient
from sonata.sdk.openrc import PROJECT, REGION, USER, auth_url, check_site, openrc
from sonata.sdk.templates import TEMPLATE

FREE_PORT = (DEFAULT_HOST, 0)
_OPENSTACK = "sonata.adapters.vim_openstack.calls"
"""Takes a second to import, and most scripts never need it: imported by the first call of `openstack`."""

Quantity = str | float
Row = Mapping[str, Any]


class CommandFailed(AdapterError):
    """A command in a machine ended with another status than 0; `completed` is all of it."""

    def __init__(self, machine: str, completed: Completed) -> None:
        said = completed.stderr.strip() or completed.stdout.strip()
        command = shlex.join(completed.argv)
        super().__init__(
            f"`{command}` in `{machine}` ended with status {completed.status}: {said[-500:] or 'it said nothing'}",
            call=command,
            answer=said,
        )
        self.completed = completed


@dataclass(frozen=True, slots=True)
class Completed:
    """A command that has ended; its output as text, undecodable bytes replaced."""

    argv: tuple[str, ...]
    status: int
    stdout: str
    stderr: str


class LinkHandle:
    """One link, or the access line of an endpoint, of a running emulation."""

    def __init__(self, client: EmulatorClient, name: str) -> None:
        self.name = name
        self._client = client

    def set(
        self,
        *,
        delay: Quantity | None = None,
        jitter: Quantity | None = None,
        loss: Quantity | None = None,
        rate: Quantity | None = None,
        duplicate: Quantity | None = None,
        reorder: Quantity | None = None,
        origin: str | None = None,
        force: bool = False,
    ) -> None:
        """Change what it does to packets while they flow; what is not given stays.

        Args:
            delay: one-way, as `"20ms"`, or in seconds.
            jitter: its standard deviation, alike.
            loss: as `"0.1%"`, or in 0..1.
            rate: as `"100Mbit"`, in bits per second, or `"none"`.
            duplicate: share of packets that arrive twice, as `"1%"`, or in 0..1.
            reorder: share of packets that go ahead without the delay, alike.
            origin: the end whose packets alone are meant; both directions without it.
            force: also when connections have more reserved than the rate would leave.

        Raises:
            Conflict: connections have more reserved.
        """
        given = {
            "delay_s": _in_si(delay, parse_duration),
            "jitter_s": _in_si(jitter, parse_duration),
            "loss": _in_si(loss, parse_share),
            "duplicate": _in_si(duplicate, parse_share),
            "reorder": _in_si(reorder, parse_share),
        }
        changes: dict[str, Any] = {key: value for key, value in given.items() if value is not None}
        if rate is not None:
            changes["rate_bps"] = None if rate == "none" else _in_si(rate, parse_rate)
        if not changes:
            raise InvalidInput(f"nothing to change at link `{self.name}`", hint="give delay, jitter, loss or rate")
        changes |= {"from": origin} if origin is not None else {}
        changes |= {"force": True} if force else {}
        self._client.change_link(self.name, changes)

    def down(self) -> None:
        """Let no packet pass."""
        self._client.change_link(self.name, {"up": False})

    def up(self) -> None:
        """Let packets pass again."""
        self._client.change_link(self.name, {"up": True})

    @property
    def status(self) -> Row:
        """What it really does: ends, impairment in SI units, whether it is up, mechanism, counters."""
        return _named(self.name, self._client.links(), "link")

    def capture(self, seconds: float) -> bytes:
        """Its packets of so many seconds from now, as pcap."""
        return b"".join(self._client.capture(self.name, seconds))


class RunningEmulation:
    """An emulation that runs, whoever started it."""

    def __init__(self, record: EmulationRecord) -> None:
        self.record = record
        self._client = EmulatorClient.of(record)

    @property
    def name(self) -> str:
        """Under which `sonata emu --name` finds it."""
        return self.record.name

    @property
    def url(self) -> str:
        """Where its OpenStacks and its own API are."""
        return self.record.url

    @property
    def topology(self) -> Topology:
        """What is declared now."""
        return self.record.topology

    def plan(self, topology: Topology) -> Sequence[Row]:
        """What `apply` would do, as rows: action, kind, name, and what it is before and after.

        Raises:
            InvalidInput: the topology has flaws.
            Conflict: it cannot be done while the emulation runs; with all reasons.
        """
        changes: Sequence[Row] = self._client.apply(ensure_valid(topology), dry_run=True)["changes"]
        return changes

    def apply(self, topology: Topology) -> Sequence[Row]:
        """Make the running emulation this topology; returns what was done, as rows.

        Raises:
            InvalidInput: the topology has flaws.
            Conflict: it cannot be done while the emulation runs; nothing was changed then.
        """
        try:
            changes: Sequence[Row] = self._client.apply(ensure_valid(topology))["changes"]
        finally:
            self.record = load(self.name) or self.record
        return changes

    def definition(self, *, with_servers: bool = False) -> Topology:
        """The topology as it is now, links changed by hand included, and other servers as far as it can say them."""
        return self._client.definition(with_servers=with_servers)[0]

    def exec(
        self, machine: str, argv: Sequence[str] | str, *, stdin: bytes | str = b"", check: bool = False
    ) -> Completed:
        """Run a command in an endpoint or a server, and wait for its end.

        Args:
            machine: an endpoint, or POP/SERVER.
            argv: the command and its arguments; a text is split as a shell would, and run without one.
            stdin: what it reads.
            check: whether a status other than 0 is an error.

        Raises:
            CommandFailed: `check` is set and it failed.
            NotFound: there is no such machine.
        """
        split = tuple(shlex.split(argv) if isinstance(argv, str) else argv)
        given = stdin.encode() if isinstance(stdin, str) else stdin
        status, stdout, stderr = self._client.exec(machine, split, given)
        completed = Completed(split, status, stdout.decode(errors="replace"), stderr.decode(errors="replace"))
        if check and status:
            raise CommandFailed(machine, completed)
        return completed

    def machines(self) -> Sequence[Row]:
        """Endpoints and servers: name, kind, pop, image, status, addresses."""
        return self._client.machines()

    def addresses(self, machine: str) -> Sequence[str]:
        """Addresses of an endpoint or server."""
        addresses: Sequence[str] = _named(machine, self.machines(), "machine")["addresses"]
        return addresses

    def counters(self, machine: str) -> Row:
        """Counters of a machine's ports."""
        return self._client.counters(machine)

    def query(self, expression: str, *, at: float | None = None) -> Sequence[Row]:
        """What an expression of PromQL over the last 15 minutes comes to: rows with `name`, `labels` and `value`.

        Args:
            expression: a metric, or a calculation with some; a number that belongs to nothing is one row.
            at: Unix time, at most 15 minutes ago; now by default.

        Raises:
            InvalidInput, Unsupported: it is not understood.
        """
        answer = MetricsClient.of(self.record).query(expression, at)
        if answer["type"] == "scalar":
            return [{"name": "", "labels": {}, "value": float(answer["result"])}]
        return [{**row, "value": float(row["value"])} for row in answer["result"]]

    def metrics(self) -> str:
        """All metrics as they are at this moment, as text that Prometheus reads."""
        return MetricsClient.of(self.record).exposition()

    def links(self) -> Sequence[Row]:
        """All links as they are."""
        return self._client.links()

    def link(self, name: str, other: str | None = None) -> LinkHandle:
        """A link by its name, or by the two PoPs that it joins.

        Raises:
            NotFound: there is no such link.
        """
        rows = self.links()
        if other is None:
            return LinkHandle(self._client, _named(name, rows, "link")["name"])
        joining = [row["name"] for row in rows if {row["a"], row["b"]} == {name, other}]
        if not joining:
            raise NotFound(f"no link joins `{name}` and `{other}`", hint=_there(rows))
        return LinkHandle(self._client, joining[0])

    def openrc(self, pop: str, *, project: str = PROJECT, user: str = USER) -> dict[str, str]:
        """The variables `OS_...` with which stock OpenStack clients use a site."""
        return openrc(self.record, pop, project=project, user=user)

    def openstack(self, pop: str, *, project: str = PROJECT, user: str = USER, password: str | None = None) -> Any:
        """An openstacksdk connection to a site: an `openstack.connection.Connection`, of the administrator by default.

        Raises:
            NotFound: there is no such site.
            InvalidInput: another user than `admin` without a password.
        """
        check_site(self.topology, pop)
        if password is None and user != USER:
            raise InvalidInput(f"the password of user `{user}` is not known", hint="give it as `password`")
        calls = importlib.import_module(_OPENSTACK)
        secret = self.record.admin_password if password is None else password
        return calls.connect(calls.Login(auth_url(self.record, pop), user, secret, project, region=REGION))

    def close(self) -> None:
        """Hang up; the emulation goes on."""
        self._client.__exit__(None, None, None)


class Emulator:
    """A topology that runs within a `with` block, in a process of its own that ends with ours in any case.

    Args:
        topology: what to run, or the path of its file.
        name: under which the command line finds it; the topology's by default.
        listen: loopback address of its APIs; any free port by default.
        images: folder of the image store, by default the user's own.
        progress: told what is going on.

    Raises:
        InvalidInput: the topology has flaws; at the start of the block.
        Conflict: an emulation of this name runs; at the start of the block.
    """

    def __init__(
        self,
        topology: Topology | str | Path,
        *,
        name: str | None = None,
        listen: tuple[str, int] = FREE_PORT,
        images: Path | None = None,
        progress: Callable[[str], None] = lambda message: None,
    ) -> None:
        self._topology = topology
        self._options = {"name": name, "listen": listen, "images": images, "progress": progress}
        self._keeper: emulations.Emulation | None = None
        self._running: RunningEmulation | None = None

    def __enter__(self) -> RunningEmulation:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> RunningEmulation:
        """Start it and return when it is ready; a second call gives the same."""
        if self._running is None:
            topology = self._topology
            value = ensure_valid(topology) if isinstance(topology, Topology) else read_topology(Path(topology))
            with Keeper(TEMPLATE.spawn) as keeper:
                self._keeper = emulations.start(value, **self._options, keeper=keeper)  # type: ignore[arg-type]
            self._running = RunningEmulation(self._keeper.record)
        return self._running

    def stop(self) -> None:
        """End it and remove whatever it left; nothing happens when it does not run."""
        keeper, running = self._keeper, self._running
        self._keeper = self._running = None
        if running:
            running.close()
        if keeper:
            keeper.stop()


def attach(name: str | None = None) -> RunningEmulation:
    """An emulation that somebody else has started, e.g. `sonata emu up`; the only one when no name is given.

    Raises:
        NotFound: it does not run.
        Conflict: several run and no name is given.
    """
    return RunningEmulation(find(name))


def _in_si(value: Quantity | None, parse: Callable[[object], float]) -> float | None:
    """A text with its unit, or a number that is in SI units already."""
    if not isinstance(value, str):
        return value
    try:
        return parse(value)
    except ValueError as error:
        raise InvalidInput(str(error)) from error


def _named(name: str, rows: Sequence[Row], what: str) -> Row:
    for row in rows:
        if row["name"] == name:
            return row
    raise NotFound(f"no {what} `{name}`", hint=_there(rows))


def _there(rows: Sequence[Row]) -> str:
    return f"there are {', '.join(str(row['name']) for row in rows[:10])}" if rows else "there is none"
