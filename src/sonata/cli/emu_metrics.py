"""`sonata emu metrics`, `rules` and `top`: what an emulation does, in numbers."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sonata._lib.quantities import format_duration, format_share
from sonata._lib.values import dataclass
from sonata.cli import output
from sonata.cli.emu_options import Form, Name
from sonata.errors import InvalidInput, NotFound
from sonata.sdk.emulation_records import find
from sonata.sdk.metrics_client import MetricsClient

if TYPE_CHECKING:  # slow to import, and of use on a terminal alone
    from rich.table import Table

_MACHINES = ("name", "cpu", "memory", "processes", "received", "sent", "drops")
_LINKS = ("link", "source", "target", "up", "delay", "loss", "rate", "delivered", "lost", "measured")
_STEPS = ((1e9, "G"), (1e6, "M"), (1e3, "k"))
_FIRST_S = 1.0

Labels = frozenset[tuple[str, str]]
Row = dict[str, Any]


def register(app: typer.Typer) -> None:
    """Add the verbs."""
    app.command(epilog="Examples: sonata emu top; sonata emu top -o json")(top)
    app.command(
        epilog="Examples: sonata emu metrics; "
        "sonata emu metrics 'sum by (pop) (rate(sonata_vnf_cpu_seconds_total[1m]))'"
    )(metrics)
    app.command(epilog="Examples: sonata emu rules ours.yml; sonata emu rules; sonata emu rules --none")(rules)


def metrics(
    query: Annotated[
        str | None, typer.Argument(help="An expression of PromQL; without it all metrics, as Prometheus reads them.")
    ] = None,
    at: Annotated[float | None, typer.Option(help="Unix time, at most 15 minutes ago; default: now.")] = None,
    name: Name = None,
    form: Form = output.Format.TABLE,
) -> None:
    """Print all metrics, or what a query over the last 15 minutes comes to."""
    with MetricsClient.of(find(name)) as client:
        if query is None:
            _print_all(client, form)
            return
        answer = client.query(query, at)
    if answer["type"] == "scalar":
        rows: list[Row] = [{"name": "", "labels": {}, "value": float(answer["result"])}]
    else:
        rows = [{**one, "value": float(one["value"])} for one in answer["result"]]
    if form is not output.Format.TABLE:
        output.document(rows, form)
        return
    labels = sorted({label for one in rows for label in one["labels"]})
    output.rows(
        ("name", *labels, "value"),
        [{"name": one["name"] or None, **one["labels"], "value": f"{one['value']:.6g}"} for one in rows],
    )


def _print_all(client: MetricsClient, form: output.Format) -> None:
    if form is output.Format.TABLE:
        output.text(client.exposition())
    else:
        output.document(list(client.metrics()), form)


def rules(
    file: Annotated[
        Path | None, typer.Argument(help="Groups of recording rules as Prometheus loads them; without it, show them.")
    ] = None,
    none: Annotated[bool, typer.Option("--none", help="Drop all rules.")] = False,
    name: Name = None,
    form: Form = output.Format.TABLE,
) -> None:
    """Define metrics of your own by rules over others, or show those that are defined."""
    if none and file:
        raise InvalidInput("a file of rules and `--none` say two things", hint="give one of them")
    with MetricsClient.of(find(name)) as client:
        if file or none:
            client.replace_rules(_read(file) if file else "")
            return
        output.rows(("group", "record", "expr", "error"), client.rules(), form)


def _read(file: Path) -> str:
    try:
        return file.read_text()
    except FileNotFoundError as error:
        raise NotFound(f"there is no file `{file}`") from error
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput(f"`{file}` cannot be read: {error}") from error


def top(
    every: Annotated[float, typer.Option(min=0.5, max=60, help="Seconds between two readings.")] = 2.0,
    name: Name = None,
    form: Form = output.Format.TABLE,
) -> None:
    """Show servers, endpoints and links at work, until Ctrl-C; once where nobody looks on, or as JSON."""
    with MetricsClient.of(find(name)) as client:
        before = Reading.of(client)
        live = form is output.Format.TABLE and sys.stdout.isatty()
        time.sleep(every if live else min(every, _FIRST_S))
        after = Reading.of(client)
        if live:
            _show_live(client, before, after, every)
        elif form is output.Format.TABLE:
            output.rows(_MACHINES, [_for_people(row) for row in machines(before, after)])
            output.text("")
            output.rows(_LINKS, [_for_people(row) for row in links(before, after)])
        else:
            output.document({"machines": machines(before, after), "links": links(before, after)}, form)


def _show_live(client: MetricsClient, before: Reading, after: Reading, every: float) -> None:
    from rich.console import Group
    from rich.live import Live

    with Live(screen=True, auto_refresh=False) as live:
        while True:
            tables = _table(_MACHINES, _busiest(before, after)), _table(_LINKS, links(before, after))
            live.update(Group(tables[0], "", tables[1]), refresh=True)
            time.sleep(every)
            before, after = after, Reading.of(client)


def _busiest(before: Reading, after: Reading) -> list[Row]:
    return sorted(machines(before, after), key=lambda row: -(row["cpu"] or 0))


def _table(columns: Sequence[str], rows: Iterable[Row]) -> Table:
    from rich.table import Table

    table = Table(*(column.upper() for column in columns), box=None, pad_edge=False)
    for row in map(_for_people, rows):
        table.add_row(*("-" if row[column] is None else str(row[column]) for column in columns))
    return table


@dataclass(frozen=True)
class Reading:
    """All series at a moment, by name and labels."""

    at: float
    values: Mapping[str, Mapping[Labels, float]]

    @classmethod
    def of(cls, client: MetricsClient) -> Reading:
        """What a client reads now."""
        values: dict[str, dict[Labels, float]] = {}
        for family in client.metrics():
            for one in family["series"]:
                values.setdefault(one["name"], {})[frozenset(one["labels"].items())] = float(one["value"])
        return cls(time.monotonic(), values)

    def series(self, name: str) -> Mapping[Labels, float]:
        """The series of a name."""
        return self.values.get(name, {})


def machines(before: Reading, after: Reading) -> list[Row]:
    """Servers and endpoints: cores in use, memory, processes, bits and drops per second."""
    traffic = _traffic(before, after)
    rows = []
    for kind, label in (("vnf", "server"), ("endpoint", "endpoint")):
        for labels in after.series(f"sonata_{kind}_up"):
            known = dict(labels)
            name = f"{known['pop']}/{known[label]}" if kind == "vnf" else known[label]
            own = traffic.get((name, known.get("id", "")), Counter())
            rows.append(
                {
                    "name": name,
                    "cpu": _rate(before, after, f"sonata_{kind}_cpu_seconds_total", labels),
                    "memory": after.series(f"sonata_{kind}_memory_bytes").get(labels),
                    "processes": after.series(f"sonata_{kind}_processes").get(labels),
                    "received": own["receive_bytes"] * 8,
                    "sent": own["transmit_bytes"] * 8,
                    "drops": own["receive_drops"] + own["transmit_drops"],
                }
            )
    return rows


def _traffic(before: Reading, after: Reading) -> Mapping[tuple[str, str], Counter[str]]:
    """What passes all interfaces of a machine in a second, by its name and id."""
    found: dict[tuple[str, str], Counter[str]] = {}
    for what in ("receive_bytes", "receive_drops", "transmit_bytes", "transmit_drops"):
        series = f"sonata_interface_{what}_total"
        for labels in after.series(series):
            known = dict(labels)
            key = known["machine"], known.get("id", "")
            found.setdefault(key, Counter())[what] += _rate(before, after, series, labels) or 0  # type: ignore[assignment]
    return found


def links(before: Reading, after: Reading) -> list[Row]:
    """Both directions of all links: as declared, as measured, and what passes."""
    return sorted(_links(before, after), key=lambda row: (row["link"], row["source"]))


def _links(before: Reading, after: Reading) -> Iterator[Row]:
    for labels, up in after.series("sonata_link_up").items():
        known = dict(labels)
        delivered = _rate(before, after, "sonata_link_delivered_bytes_total", labels)
        window = frozenset({*labels, ("window", "10s")})
        yield {
            **known,
            "up": bool(up),
            "delay": after.series("sonata_link_delay_seconds").get(labels),
            "loss": after.series("sonata_link_loss_ratio").get(labels),
            "rate": after.series("sonata_link_rate_bits_per_second").get(labels),
            "delivered": None if delivered is None else delivered * 8,
            "lost": _rate(before, after, "sonata_link_queue_drops_total", labels),
            "measured": after.series("sonata_link_measured_delay_seconds").get(window),
        }


def _rate(before: Reading, after: Reading, name: str, labels: Labels) -> float | None:
    """Growth in a second; a counter that began anew has grown since then."""
    value = after.series(name).get(labels)
    if value is None:
        return None
    earlier = before.series(name).get(labels, value)
    return (value - earlier if value >= earlier else value) / (after.at - before.at)


def _for_people(row: Row) -> Row:
    return {key: value if value is None or key not in _WRITTEN else _WRITTEN[key](value) for key, value in row.items()}


def _share(value: float) -> str:
    return f"{100 * value:.1f}%"


def _bits(value: float) -> str:
    return f"{_scaled(value)}bit/s"


def _bytes(value: float) -> str:
    return f"{value / 1024**2:.1f}MiB"


def _scaled(value: float) -> str:
    step, letter = next(((step, letter) for step, letter in _STEPS if value >= step), (1.0, ""))
    return f"{value / step:.3g}{letter}"


def _count(value: float) -> str:
    return f"{value:.0f}"


def _short(value: float) -> str:
    return format_duration(float(f"{value:.3g}")) if value else "0"


def _per_second(value: float) -> str:
    return f"{value:.3g}/s"


def _rate_of(value: float) -> str:
    return f"{_scaled(value)}bit"


_WRITTEN: Mapping[str, Callable[[float], str]] = {
    "cpu": _share,
    "memory": _bytes,
    "processes": _count,
    "received": _bits,
    "sent": _bits,
    "drops": _per_second,
    "delay": _short,
    "measured": _short,
    "loss": format_share,
    "rate": _rate_of,
    "delivered": _bits,
    "lost": _per_second,
}
