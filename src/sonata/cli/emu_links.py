"""`sonata emu link`: links between sites, and the access links of endpoints."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from sonata._lib.quantities import (
    format_duration,
    format_rate,
    format_share,
    parse_duration,
    parse_rate,
    parse_share,
)
from sonata.cli import exit_codes, output
from sonata.cli.emu_options import Form, Name
from sonata.errors import InvalidInput, NotFound
from sonata.sdk.emulation_records import find
from sonata.sdk.emulator_client import EmulatorClient
from sonata.sdk.metrics_client import MetricsClient

app = typer.Typer(help="Links between sites, and access links of endpoints.", no_args_is_help=True)

CAPTURE_EXAMPLES = (
    "Examples: sonata emu capture access core -w backbone.pcap --seconds 10; "
    "sonata emu capture core/cache:eth1 | tcpdump -n -r -"
)

Ends = Annotated[list[str], typer.Argument(metavar="A B", help="Two ends, sites or endpoints, or a link's name.")]

_QUANTITIES: Mapping[str, tuple[str, Callable[[float], str]]] = {
    "delay": ("delay_s", format_duration),
    "jitter": ("jitter_s", format_duration),
    "loss": ("loss", format_share),
    "rate": ("rate_bps", format_rate),
    "duplicate": ("duplicate", format_share),
    "reorder": ("reorder", format_share),
}
_RARE = ("duplicate", "reorder")
_WRITTEN = dict(_QUANTITIES.values())


@app.command("ls", epilog="Example: sonata emu link ls")
def list_links(name: Name = None, form: Form = output.Format.TABLE) -> None:
    """List links with what they really do."""
    with EmulatorClient.of(find(name)) as client:
        links = client.links()
    rare = [key for key in _RARE if any(way[key] for link in links for way in _directions(link))]
    columns = ("name", "a", "b", "delay", "jitter", "loss", "rate", *rare, "up", "mechanism", "dropped", "overruns")
    if form is output.Format.TABLE:
        links = [{**link, **_both_ways(link)} for link in links]
    output.rows(columns, links, form)


@app.command(
    "set",
    epilog="Examples: sonata emu link set access core --delay 50ms --loss 1%; sonata emu link set backbone --down; "
    "sonata emu link set home access --from home --rate 10Mbit",
)
def set_link(
    ends: Ends,
    delay: Annotated[str | None, typer.Option(help="One-way delay, e.g. 20ms.")] = None,
    jitter: Annotated[str | None, typer.Option(help="Standard deviation of the delay, e.g. 2ms.")] = None,
    loss: Annotated[str | None, typer.Option(help="Share of packets lost, e.g. 0.1%.")] = None,
    rate: Annotated[str | None, typer.Option(help="Rate per direction, e.g. 100Mbit, or `none`.")] = None,
    duplicate: Annotated[str | None, typer.Option(help="Share of packets that arrive twice, e.g. 1%.")] = None,
    reorder: Annotated[str | None, typer.Option(help="Share of packets that go ahead without the delay.")] = None,
    origin: Annotated[str | None, typer.Option("--from", help="Only packets that come from this end.")] = None,
    up_: Annotated[bool | None, typer.Option("--up/--down", help="Let packets pass, or none at all.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Also when connections have more reserved.")] = False,
    name: Name = None,
) -> None:
    """Change a link while packets flow; what is not given stays."""
    changes: dict[str, Any] = {}
    for field, text, parse in (
        ("delay_s", delay, parse_duration),
        ("jitter_s", jitter, parse_duration),
        ("loss", loss, parse_share),
        ("rate_bps", rate, _parse_rate),
        ("duplicate", duplicate, parse_share),
        ("reorder", reorder, parse_share),
    ):
        if text is not None:
            changes[field] = _parsed(parse, text)
    if up_ is not None:
        changes["up"] = up_
    if not changes:
        raise InvalidInput("nothing to change", hint="give --delay, --jitter, --loss, --rate, --up or --down")
    if origin is not None:
        changes["from"] = origin
    if force:
        changes["force"] = True
    with EmulatorClient.of(find(name)) as client:
        client.change_link(_link_name(client, ends), changes)


@app.command(
    "check",
    epilog="Examples: sonata emu link check; sonata emu link check access core --seconds 10 -o json. "
    "Exit status 7: a link is off.",
)
def check_links(
    ends: Annotated[
        list[str] | None, typer.Argument(metavar="[A B]", help="Two ends, or a link's name; default: every link.")
    ] = None,
    seconds: Annotated[float, typer.Option(min=0.1, max=300, help="For each measurement; more is surer.")] = 2.0,
    name: Name = None,
    form: Form = output.Format.TABLE,
) -> int:
    """Measure links and compare each with its declaration: delay, jitter, loss, duplicates, order, rate."""
    checked = []
    with EmulatorClient.of(find(name)) as client:
        names = [_link_name(client, ends)] if ends else [link["name"] for link in client.links()]
        for number, link in enumerate(names, 1):
            output.say(f"measuring {link} ({number} of {len(names)})")
            checked.append(client.check_link(link, seconds))
    rows = checked if form is not output.Format.TABLE else [row for link in checked for row in _judgements(link)]
    output.rows(("link", "from", "quantity", "declared", "measured", "margin", "verdict"), rows, form)
    return _verdict(checked)


@app.command(epilog="Examples: sonata emu link watch; sonata emu link watch --every 500ms; sonata emu link watch --off")
def watch(
    every: Annotated[str, typer.Option(help="Time between two packets of a link, 200ms to 10s.")] = "1s",
    off: Annotated[bool, typer.Option("--off", help="Measure no more.")] = False,
    name: Name = None,
) -> None:
    """Measure delay, jitter and loss of all links in the background, for `sonata emu top` and `sonata emu metrics`."""
    with MetricsClient.of(find(name)) as client:
        client.watch_links(None if off else _parsed(parse_duration, every))


@app.command(epilog=CAPTURE_EXAMPLES.replace("emu capture", "emu link capture"))
def capture(
    where: Annotated[
        list[str],
        typer.Argument(metavar="WHERE", help="Two ends, a link's name, an endpoint, or POP/SERVER[:eth0]."),
    ],
    write: Annotated[
        Path | None, typer.Option("-w", "--write", help="File to write; default: standard output.")
    ] = None,
    seconds: Annotated[float | None, typer.Option(help="How long; default: until Ctrl-C.")] = None,
    name: Name = None,
) -> None:
    """Record the packets of a link or of a machine's interface as pcap, for tcpdump or Wireshark."""
    with EmulatorClient.of(find(name)) as client:
        packets = _packets(client, where, seconds)
        if write is None:
            output.stream(packets)
            return
        with write.open("wb") as file:
            for piece in packets:
                file.write(piece)
                file.flush()


def _directions(link: Mapping[str, Any]) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    return link["impairment"], link["reverse"] or link["impairment"]


def _both_ways(link: Mapping[str, Any]) -> dict[str, str | None]:
    """Quantities of a link; where they differ, from its first end and from its second one."""
    there, back = map(_written, _directions(link))
    return {
        key: there[key] if there[key] == back[key] else f"{there[key] or 'none'}/{back[key] or 'none'}" for key in there
    }


def _written(impairment: Mapping[str, Any]) -> dict[str, str | None]:
    values = {key: impairment[field] for key, (field, _) in _QUANTITIES.items()}
    return {key: None if value is None else _QUANTITIES[key][1](value) for key, value in values.items()}


def _parse_rate(text: str) -> float | None:
    return None if text == "none" else parse_rate(text)


def _parsed(parse: Any, text: str) -> float | None:
    try:
        value: float | None = parse(text)
    except ValueError as error:
        raise InvalidInput(str(error)) from error
    return value


def _packets(client: EmulatorClient, where: list[str], seconds: float | None) -> Iterator[bytes]:
    """The packets of what was named: of a link, where there is one of this name, else of a machine."""
    machine, colon, interface = where[0].partition(":")
    links = {link["name"] for link in client.links()}
    if len(where) == 1 and where[0] not in links and (colon or "/" in machine or machine in _endpoints(client)):
        return client.capture_interface(machine, interface or "eth0", seconds)
    return client.capture(_link_name(client, where), seconds)


def _endpoints(client: EmulatorClient) -> set[str]:
    return {endpoint["name"] for endpoint in client.endpoints()}


def _judgements(link: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """A row for each quantity of both directions, and for what 99 of 100 packets keep to."""
    for direction in link["directions"]:
        place = {"link": link["name"], "from": direction["source"]}
        for one in direction["quantities"]:
            write = _WRITTEN.get(one["name"], format_share)
            values = {key: None if one[key] is None else write(_rounded(one[key])) for key in ("declared", "measured")}
            margin = write(_rounded(one["margin"])) if one["margin"] else "-"
            quantity = one["name"].removesuffix("_s").removesuffix("_bps")
            yield {**place, "quantity": quantity, **values, "margin": margin, "verdict": one["verdict"]}
        if direction["late_s"] is not None:
            late = {
                "quantity": "99% within",
                "declared": "-",
                "measured": format_duration(_rounded(direction["late_s"])),
            }
            yield {**place, **late, "margin": "-", "verdict": "-"}


def _rounded(value: float) -> float:
    """Three digits that matter; times below a microsecond are nothing."""
    return float(f"{value:.3g}") if abs(value) >= 1e-6 else 0.0


def _verdict(checked: Sequence[Mapping[str, Any]]) -> int:
    """Tell what is off or not sure; the exit code that fits."""
    by_verdict: dict[str, list[str]] = {"off": [], "unsure": []}
    for link in checked:
        verdicts = {one["verdict"] for direction in link["directions"] for one in direction["quantities"]}
        for verdict, names in by_verdict.items():
            if verdict in verdicts:
                names.append(link["name"])
    if by_verdict["unsure"]:
        output.say(f"not sure of {', '.join(by_verdict['unsure'])}: measure longer with --seconds")
    if by_verdict["off"]:
        output.say(f"not as declared: {', '.join(by_verdict['off'])}")
        return exit_codes.VIOLATED
    return exit_codes.OK


def _link_name(client: EmulatorClient, ends: list[str]) -> str:
    if len(ends) == 1:
        return ends[0]
    if len(ends) > 2:
        raise InvalidInput("give two sites, or the name of a link")
    found = [link["name"] for link in client.links() if {link["a"], link["b"]} == set(ends)]
    if len(found) == 1:
        return str(found[0])
    if found:
        raise InvalidInput(f"several links join `{ends[0]}` and `{ends[1]}`", hint=f"use a name: {', '.join(found)}")
    raise NotFound(f"no link between `{ends[0]}` and `{ends[1]}`", hint="see `sonata emu link ls`")
