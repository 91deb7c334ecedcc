"""`sonata emu import`, `generate` and `graph`: topologies of others, topologies of known shapes, pictures of both."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from sonata._lib.plain import from_plain
from sonata._lib.quantities import parse_duration, parse_rate
from sonata.cli import output
from sonata.errors import InvalidInput
from sonata.model import shapes
from sonata.model.topology import Impairment, Topology
from sonata.sdk.emulation_records import find
from sonata.sdk.emulator_client import EmulatorClient

T = TypeVar("T")
generators = typer.Typer(help="Topologies of known shapes, printed as topology files.", no_args_is_help=True)

Name = Annotated[str | None, typer.Option("--name", help="Name of the topology; default: its shape.")]
Pops = Annotated[int, typer.Option("--pops", help="How many PoPs.")]
Delay = Annotated[str | None, typer.Option("--delay", help="One-way delay of each link, e.g. 5ms.")]
Rate = Annotated[str | None, typer.Option("--rate", help="Rate of each link per direction, e.g. 1Gbit.")]
Servers = Annotated[int, typer.Option("--servers-per-pop", help="Idle servers on each PoP's default network.")]
Endpoints = Annotated[int, typer.Option("--endpoints-per-pop", help="Idle hosts that reach each other everywhere.")]
Seed = Annotated[int, typer.Option("--seed", help="Another seed gives another topology.")]
Side = Annotated[float, typer.Option("--side-km", help="Side of the square in which the PoPs are.")]


class GraphFormat(StrEnum):
    """How a topology is drawn or written."""

    JSON = "json"
    GRAPHML = "graphml"
    MERMAID = "mermaid"
    SVG = "svg"


def register(app: typer.Typer) -> None:
    """Add these verbs to `sonata emu`."""
    app.command("import", epilog="Example: sonata emu import Abilene.graphml --detour 1.3 > abilene.yaml")(import_)
    app.command(epilog="Example: sonata emu graph examples/line/topology.yaml -o svg > line.svg")(graph)
    app.add_typer(generators, name="generate")


def import_(
    file: Annotated[Path, typer.Argument(help="GraphML, SNDlib (XML or native) or node-link JSON.")],
    name: Annotated[str, typer.Option("--name", help="Name of the topology; default: the file's own.")] = "",
    detour: Annotated[
        float, typer.Option(help="Length of a fibre as a multiple of the distance between its ends.")
    ] = 1.0,
    delay: Annotated[str, typer.Option(help="One-way delay of links whose length is unknown, e.g. 5ms.")] = "0",
    rate: Annotated[str | None, typer.Option(help="Rate of links that have none in the file, e.g. 1Gbit.")] = None,
    capacity_unit: Annotated[str, typer.Option(help="What a capacity of 1 means in SNDlib files.")] = "1Mbit",
    external: Annotated[
        bool, typer.Option("--external/--no-external", help="Whether nodes of other networks become PoPs.")
    ] = True,
) -> None:
    """Print a network that others have drawn as a topology file: PoPs, links with fibre delays and rates."""
    from sonata.formats.networks import ImportOptions, read_network_file  # slow to import

    options = ImportOptions(
        name=name,
        detour=detour,
        delay_s=_parsed(parse_duration, delay),
        rate_bps=None if rate is None else _parsed(parse_rate, rate),
        unit_bps=_parsed(parse_rate, capacity_unit),
        keeps_external=external,
    )
    imported = read_network_file(file, options)
    for note in imported.notes:
        output.say(note)
    _print(imported.topology)


def graph(
    file: Annotated[Path | None, typer.Argument(help="Topology file; default: the running emulation.")] = None,
    form: Annotated[GraphFormat, typer.Option("-o", "--output", help="How it is drawn or written.")] = GraphFormat.SVG,
    name: Annotated[str | None, typer.Option("--name", help="Which emulation, instead of a file.")] = None,
) -> None:
    """Draw a topology file, or the running emulation with its links as they are."""
    from sonata.formats import graphs  # slow to import
    from sonata.formats.topology import read_topology

    if file and name:
        raise InvalidInput("a file and --name were given", hint="draw the file, or the running emulation")
    drawn = graphs.graph_of(read_topology(file)) if file else _running(name)
    if form is GraphFormat.JSON:
        output.document(graphs.node_link_of(drawn))
        return
    if form is GraphFormat.MERMAID and len(drawn.edges) > graphs.MAX_MERMAID_EDGES:
        output.say(f"Mermaid draws more than {graphs.MAX_MERMAID_EDGES} links only where `maxEdges` is set higher")
    writers = {"graphml": graphs.graphml_of, "mermaid": graphs.mermaid_of, "svg": graphs.svg_of}
    output.text(writers[form.value](drawn))


def _running(name: str | None) -> Any:
    from sonata.formats.graphs import graph_of

    record = find(name)
    with EmulatorClient.of(record) as client:
        links = client.links()
    states = {row["name"]: _state_of(row) for row in links}
    return graph_of(record.topology, states)


@generators.command("single", epilog="Example: sonata emu generate single --endpoints-per-pop 10 > single.yaml")
def single(name: Name = "single", servers: Servers = 0, endpoints: Endpoints = 0) -> None:
    """One PoP."""
    _print(shapes.single(name=name or "single", kit=_kit(None, None, servers, endpoints)))


def _of_pops(shape: Callable[..., Topology], default: int) -> None:
    """A verb for a shape that needs to know the number of PoPs alone."""
    title = shape.__name__

    def verb(
        pops: Pops = default,
        name: Name = title,
        delay: Delay = None,
        rate: Rate = None,
        servers: Servers = 0,
        endpoints: Endpoints = 0,
    ) -> None:
        _print(shape(pops, name=name or title, kit=_kit(delay, rate, servers, endpoints)))

    verb.__doc__ = shape.__doc__
    generators.command(title, epilog=f"Example: sonata emu generate {title} --pops 5 --delay 5ms > {title}.yaml")(verb)


_of_pops(shapes.line, 4)
_of_pops(shapes.ring, 4)
_of_pops(shapes.star, 4)


@generators.command("tree", epilog="Example: sonata emu generate tree --depth 3 --fanout 2 > tree.yaml")
def tree(
    depth: Annotated[int, typer.Option(help="Levels of PoPs.")] = 2,
    fanout: Annotated[int, typer.Option(help="PoPs below each one.")] = 2,
    name: Name = "tree",
    delay: Delay = None,
    rate: Rate = None,
    servers: Servers = 0,
    endpoints: Endpoints = 0,
) -> None:
    """Levels of PoPs, each linked with some of the next level; machines are at the lowest one alone."""
    _print(shapes.tree(depth, fanout, name=name or "tree", kit=_kit(delay, rate, servers, endpoints)))


@generators.command("fat-tree", epilog="Example: sonata emu generate fat-tree --k 4 --endpoints-per-pop 2 > fat.yaml")
def fat_tree(
    k: Annotated[int, typer.Option(help="Pods, and links of each PoP; even.")] = 4,
    name: Name = "fat-tree",
    delay: Delay = None,
    rate: Rate = None,
    servers: Servers = 0,
    endpoints: Endpoints = 0,
) -> None:
    """The fat tree of Al-Fares et al. (2008): k pods between (k/2)² core PoPs; machines are at the edge alone."""
    _print(shapes.fat_tree(k, name=name or "fat-tree", kit=_kit(delay, rate, servers, endpoints)))


@generators.command("random-geometric", epilog="Example: sonata emu generate random-geometric --pops 30 --seed 7")
def random_geometric(
    pops: Pops = 10,
    seed: Seed = 0,
    radius: Annotated[float | None, typer.Option(help="What is near, as a share of the square's side.")] = None,
    side_km: Side = 1000.0,
    name: Name = "random-geometric",
    delay: Delay = None,
    rate: Rate = None,
    servers: Servers = 0,
    endpoints: Endpoints = 0,
) -> None:
    """PoPs at random places, linked when they are near, and in any case connected; delays are those of fibres."""
    kit = _kit(delay, rate, servers, endpoints)
    title = name or "random-geometric"
    _print(shapes.random_geometric(pops, seed=seed, radius=radius, side_km=side_km, name=title, kit=kit))


@generators.command("waxman", epilog="Example: sonata emu generate waxman --pops 30 --seed 7 --beta 0.6")
def waxman(
    pops: Pops = 10,
    seed: Seed = 0,
    alpha: Annotated[float, typer.Option(help="How much long links are favoured.")] = 0.15,
    beta: Annotated[float, typer.Option(help="How many links there are, 0..1.")] = 0.4,
    side_km: Side = 1000.0,
    name: Name = "waxman",
    delay: Delay = None,
    rate: Rate = None,
    servers: Servers = 0,
    endpoints: Endpoints = 0,
) -> None:
    """PoPs at random places, linked the rather the nearer they are (Waxman 1988), and in any case connected."""
    kit, title = _kit(delay, rate, servers, endpoints), name or "waxman"
    _print(shapes.waxman(pops, seed=seed, alpha=alpha, beta=beta, side_km=side_km, name=title, kit=kit))


def _kit(delay: str | None, rate: str | None, servers: int, endpoints: int) -> shapes.Kit:
    """What links and PoPs get; links without --delay are as long as their ends are apart, if those have places."""
    return shapes.Kit(
        delay_s=None if delay is None else _parsed(parse_duration, delay),
        rate_bps=None if rate is None else _parsed(parse_rate, rate),
        servers_per_pop=servers,
        endpoints_per_pop=endpoints,
    )


def _print(topology: Topology) -> None:
    from sonata.formats.topology import dump_topology, ensure_valid  # slow to import

    ensure_valid(topology)
    output.text(dump_topology(topology))


def _parsed(parse: Callable[[object], T], text: str) -> T:
    try:
        return parse(text)
    except ValueError as error:
        raise InvalidInput(str(error)) from error


def _state_of(row: Mapping[str, Any]) -> Any:
    from sonata.formats.graphs import LinkState

    reverse = row.get("reverse")
    there, back = (from_plain(each, Impairment) if each else None for each in (row["impairment"], reverse))
    return LinkState(there or Impairment(), row["up"], back)
