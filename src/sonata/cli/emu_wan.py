"""`sonata emu wan`: what links between sites have left, and connections that join networks over them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any

import typer

from sonata._lib.quantities import format_duration, format_rate, parse_duration, parse_rate
from sonata.cli import output
from sonata.cli.emu_options import Form, Name
from sonata.errors import InvalidInput, NotFound
from sonata.sdk.emulation_records import find
from sonata.sdk.wan_client import WanClient

app = typer.Typer(help="Connections between networks of several sites, and what they reserve.", no_args_is_help=True)

Row = Mapping[str, Any]

Members = Annotated[
    list[str], typer.Argument(metavar="SITE/NETWORK...", help="Networks to join, by name or id; one of each site.")
]
OtherMembers = Annotated[
    list[str] | None, typer.Argument(metavar="[SITE/NETWORK...]", help="Other networks to join; default: as they are.")
]
Which = Annotated[str, typer.Argument(metavar="TAG", help="A connection, by its tag or id.")]
Rate = Annotated[str | None, typer.Option(help="Reserved between each two sites, each way, e.g. 20Mbit; or `none`.")]
Most = Annotated[str | None, typer.Option(help="The most that passes there, at least the rate; or `none`.")]
Delay = Annotated[str | None, typer.Option(help="Longest one-way delay between two sites, e.g. 30ms; or `none`.")]

_HOPS = ("link", "from", "to", "delay", "rate", "reserved", "left")
_MADE = ("id", "tag", "members", "state", "reason", "rate", "most", "delay", "links", "price_per_hour")


@app.command(epilog="Examples: sonata emu wan links; sonata emu wan links -o json")
def links(name: Name = None, form: Form = output.Format.TABLE) -> None:
    """List links between sites: what of each direction is reserved and left, the price, and who has reserved."""
    with WanClient.of(find(name)) as client:
        found = client.links()
    if form is output.Format.TABLE:
        told = ("up", "price", "connections")
        found = [
            {"link": link["name"], **_direction(one), **{key: link[key] for key in told}}
            for link in found
            for one in link["directions"]
        ]
    output.rows((*_HOPS, "up", "price", "connections"), found, form)


@app.command(epilog="Examples: sonata emu wan path access core; sonata emu wan path users core -o json")
def path(
    origin: Annotated[str, typer.Argument(metavar="A", help="A site, or an endpoint for the site where it is.")],
    target: Annotated[str, typer.Argument(metavar="B", help="Another one.")],
    name: Name = None,
    form: Form = output.Format.TABLE,
) -> None:
    """Show the links that packets from one site to another pass now, with what is left for a connection."""
    with WanClient.of(find(name)) as client:
        found = client.path(origin, target)
    if form is not output.Format.TABLE:
        output.document(found, form)
        return
    output.rows(_HOPS, [{"link": hop["link"], **_direction(hop["direction"])} for hop in found["hops"]])
    left = _written_rate(found["available_bps"]) or "any rate"
    output.say(
        f"{found['origin']} to {found['target']}: {format_duration(found['delay_s'])}, {left} left, "
        f"{found['price']:g} an hour for 1Gbit"
    )


@app.command(epilog="Example: sonata emu wan networks")
def networks(name: Name = None, form: Form = output.Format.TABLE) -> None:
    """List networks of the sites that can be joined, and the connection that each is in."""
    with WanClient.of(find(name)) as client:
        output.rows(("pop", "name", "id", "cidrs", "connection"), client.networks(), form)


@app.command(
    epilog="Examples: sonata emu wan connect video access/inner core/inner --rate 50Mbit; "
    "sonata emu wan connect backup a/n b/n c/n --rate 5Mbit --most 20Mbit --delay 30ms"
)
def connect(
    tag: Annotated[str, typer.Argument(help="Name of the connection; the same name gives the same connection.")],
    members: Members,
    rate: Rate = None,
    most: Most = None,
    delay: Delay = None,
    name: Name = None,
    form: Form = output.Format.TABLE,
) -> None:
    """Join networks of several sites into one, with bandwidth reserved on every link of the way."""
    bounds = _bounds(rate, most, delay)
    with WanClient.of(find(name)) as client:
        _show(client.connect(tag, _members(members, client.networks()), bounds), form)


@app.command("ls", epilog="Examples: sonata emu wan ls; sonata emu wan ls --site core -o json")
def list_connections(
    site: Annotated[str | None, typer.Option(help="Only those with an end in this site.")] = None,
    endpoint: Annotated[str | None, typer.Option(help="Only those with an end where this endpoint is.")] = None,
    name: Name = None,
    form: Form = output.Format.TABLE,
) -> None:
    """List connections with their state: what was promised, whether it holds, and why not."""
    with WanClient.of(find(name)) as client:
        found = client.connections(pop=site or "", endpoint=endpoint or "")
    columns = ("tag", "state", "members", "rate", "most", "delay", "links", "price_per_hour", "reason")
    output.rows(columns, [_connection(one) for one in found] if form is output.Format.TABLE else found, form)


@app.command(
    "set",
    epilog="Examples: sonata emu wan set video --rate 80Mbit --most none; "
    "sonata emu wan set video access/inner edge/inner",
)
def change(
    tag: Which,
    members: OtherMembers = None,
    rate: Rate = None,
    most: Most = None,
    delay: Delay = None,
    name: Name = None,
    form: Form = output.Format.TABLE,
) -> None:
    """Change a connection while packets flow, all at once or nothing; what is not given stays."""
    changes: dict[str, Any] = _bounds(rate, most, delay)
    if not changes and not members:
        raise InvalidInput("nothing to change", hint="give --rate, --most, --delay, or networks to join")
    with WanClient.of(find(name)) as client:
        if members:
            changes["members"] = _members(members, client.networks())
        _show(client.change(_id_of(tag, client.connections()), changes), form)


@app.command("rm", epilog="Example: sonata emu wan rm video")
def release(
    tags: Annotated[list[str], typer.Argument(metavar="TAG...", help="Connections, by their tags or ids.")],
    name: Name = None,
) -> None:
    """Take connections apart and release what they have reserved; the networks stay."""
    with WanClient.of(find(name)) as client:
        known = client.connections()
        for connection_id in [_id_of(tag, known) for tag in tags]:
            client.disconnect(connection_id)


def _members(given: Sequence[str], known: Sequence[Row]) -> dict[str, str]:
    """Network ids by site, from `SITE/NETWORK` with names or ids."""
    members: dict[str, str] = {}
    for one in given:
        pop, _, network = one.partition("/")
        if not network:
            raise InvalidInput(f"`{one}` names no network", hint="write it as SITE/NETWORK, e.g. `core/inner`")
        if pop in members:
            raise InvalidInput(f"site `{pop}` is named twice", hint="a connection has one network of each site")
        members[pop] = _network(pop, network, known)
    return members


def _network(pop: str, wanted: str, known: Sequence[Row]) -> str:
    there = [row for row in known if row["pop"] == pop]
    found = [row for row in there if row["id"] == wanted] or [row for row in there if row["name"] == wanted]
    if not found:
        names = ", ".join(f"`{row['name']}`" for row in there) or "none"
        raise NotFound(f"site `{pop}` has no network `{wanted}`", hint=f"it has {names}; see `sonata emu wan networks`")
    if len(found) > 1:
        ids = ", ".join(str(row["id"]) for row in found)
        raise InvalidInput(f"site `{pop}` has {len(found)} networks `{wanted}`", hint=f"name one by its id: {ids}")
    return str(found[0]["id"])


def _id_of(wanted: str, known: Sequence[Row]) -> str:
    for row in known:
        if wanted in (row["tag"], row["id"]):
            return str(row["id"])
    tags = ", ".join(f"`{row['tag']}`" for row in known) or "none"
    raise NotFound(f"no connection `{wanted}`", hint=f"there are {tags}")


def _bounds(rate: str | None, most: str | None, delay: str | None) -> dict[str, Any]:
    """The bounds that are given, as the emulator's API names them; `none` is none."""
    given = (("rate_bps", rate, parse_rate), ("max_rate_bps", most, parse_rate), ("max_delay_s", delay, parse_duration))
    try:
        return {field: None if text == "none" else parse(text) for field, text, parse in given if text is not None}
    except ValueError as error:
        raise InvalidInput(str(error)) from error


def _show(connection: Row, form: output.Format) -> None:
    if form is output.Format.TABLE:
        told = {**connection, **_connection(connection), "members": list(_ends(connection))}
        connection = {key: told[key] for key in _MADE}
    output.details(connection, form)


def _connection(one: Row) -> Row:
    """A connection for people."""
    return {
        "tag": one["tag"],
        "state": one["state"],
        "members": list(one["members"]),
        "rate": _written_rate(one["rate_bps"]),
        "most": _written_rate(one["max_rate_bps"]),
        "delay": format_duration(one["delay_s"]),
        "links": one["links"],
        "price_per_hour": f"{one['price_per_hour']:g}",
        "reason": one["reason"] or None,
    }


def _ends(one: Row) -> Iterator[str]:
    return (f"{pop}/{network}" for pop, network in one["members"].items())


def _direction(one: Row) -> Row:
    """A direction of a link for people."""
    return {
        "from": one["origin"],
        "to": one["target"],
        "delay": format_duration(one["delay_s"]),
        "rate": _written_rate(one["rate_bps"]),
        "reserved": _written_rate(one["reserved_bps"] or None),
        "left": _written_rate(one["available_bps"]),
    }


def _written_rate(rate_bps: float | None) -> str | None:
    return None if rate_bps is None else format_rate(rate_bps)
