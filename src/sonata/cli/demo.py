"""`sonata demo`: demonstrations that run from nothing to a result."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Any

import typer

from sonata._lib.paths import data_home
from sonata.adapters.images_local import LocalImages
from sonata.cli import output
from sonata.formats.recipe import read_recipe
from sonata.sdk.cdn_demo import DemoReport, PlacementReport, run_cdn_demo
from sonata.sdk.cdn_demo.demo import EXAMPLE as CDN
from sonata.sdk.demonstration import image_recipes
from sonata.sdk.multipop_demo import FormReport, MultipopReport, run_multipop_demo
from sonata.sdk.multipop_demo.demo import EXAMPLE as MULTIPOP
from sonata.sdk.multipop_demo.report import Packets
from sonata.sdk.multipop_demo.stock_client import find_client

app = typer.Typer(add_completion=False, no_args_is_help=True, help="Demonstrations that run from nothing to a result.")


class PlacementChoice(StrEnum):
    """Who decides where VNFs go."""

    SSM = "ssm"
    GENERIC = "generic"


@app.callback()
def demo() -> None:
    """Demonstrations that run from nothing to a result."""


@app.command(epilog="Example: sonata demo cdn --placement ssm -o json")
def cdn(
    placement: Annotated[
        PlacementChoice | None, typer.Option(help="One placement only; without it both, side by side.")
    ] = None,
    keep: Annotated[bool, typer.Option("--keep", help="Leave everything running at the end.")] = False,
    form: Annotated[output.Format, typer.Option("-o", "--output", help="How to print.")] = output.Format.TABLE,
) -> None:
    """A CDN from package to content that users fetch through three VNFs in two sites.

    The service's own manager places cache and classifier near the users and the transcoder near the content; the
    generic placer knows capacity and delay only. Both are deployed, used and removed again.
    """
    _build_images(CDN)
    wanted = [placement.value] if placement else [choice.value for choice in PlacementChoice]
    report = run_cdn_demo(wanted, output.say, keep=keep)
    if form is output.Format.TABLE:
        _show(report)
    else:
        output.document(report.to_json(), form)


@app.command(epilog="Example: sonata demo multipop -o json")
def multipop(
    keep: Annotated[bool, typer.Option("--keep", help="Leave everything running at the end.")] = False,
    form: Annotated[output.Format, typer.Option("-o", "--output", help="How to print.")] = output.Format.TABLE,
) -> None:
    """One service over two sites in four forms: OpenStack commands, HOT, SONATA, OSM.

    A Squid cache at the edge, a Socat forwarder and an Apache in the core. Each form is deployed, its content is
    fetched by users, the packets of each VNF are counted, and it is removed; at last another forwarder takes Socat's
    place. The stock OpenStack client must be installed (the extra `clients`).
    """
    find_client()
    _build_images(MULTIPOP)
    report = run_multipop_demo(output.say, keep=keep)
    if form is output.Format.TABLE:
        _show_forms(report)
    else:
        output.document(report.to_json(), form)


def _build_images(example: str) -> None:
    store = LocalImages(data_home() / "images")
    for recipe in image_recipes(example):
        output.say(f"image {recipe.stem}: looking it up, building it when it is new")
        store.build(read_recipe(recipe), lambda message: output.say(f"  {message}"))


def _show_forms(report: MultipopReport) -> None:
    columns = ["form", "time to ready", "first byte, cold", "first byte, cached", "cache hits"]
    output.rows(columns, [_form_row(form) for form in report.forms])
    output.text("\npackets of each VNF (received > sent), while two objects were fetched:")
    rows = [
        {"form": form.form, "vnf": vnf.vnf, "pop": vnf.pop, "cold": _told(vnf.cold), "cached": _told(vnf.cached)}
        for form in report.forms
        for vnf in form.traffic
    ]
    output.rows(["form", "vnf", "pop", "cold", "cached"], rows)
    output.text(f"\ntook {report.took_s:.0f} s")
    _show_end(report.kept)


def _form_row(form: FormReport) -> dict[str, Any]:
    return {
        "form": form.form,
        "time to ready": f"{form.ready_s:.1f} s",
        "first byte, cold": f"{_latency(form.cold[0])} ms",
        "first byte, cached": f"{_latency(form.cached[0])} ms",
        "cache hits": f"{form.cache_hits} of {len(form.cached)}",
    }


def _told(packets: Packets) -> str:
    return f"{packets.received} > {packets.sent}"


def _show(report: DemoReport) -> None:
    columns = ["what", *(f"{run.placement} placement" for run in report.placements)]
    output.rows(columns, _comparison(report))
    for run in report.placements:
        output.text(f"\npath of one fetch with {run.placement} placement (packets, received > sent):")
        output.rows(["vnf", "pop", "input", "output"], [_traffic_row(run, i) for i in range(len(run.path))])
    output.text(f"\nwithout the service: {_latency(report.direct[0])} ms to the first byte")
    output.text(f"took {report.took_s:.0f} s")
    _show_end(report.kept)


def _show_end(kept: Mapping[str, str]) -> None:
    if kept:
        name, data = kept["emulation"], kept["data"]
        output.text(f"still running; end it with: sonata down --data {data}; sonata emu down --name {name}")
    else:
        output.text("everything was removed")


def _comparison(report: DemoReport) -> list[dict[str, Any]]:
    def row(what: str, value: Any) -> dict[str, Any]:
        return {"what": what, **{f"{run.placement} placement": value(run) for run in report.placements}}

    return [
        *(row(f"{vnf} runs at", lambda run, vnf=vnf: run.where[vnf]) for vnf in report.placements[0].where),
        row("decided by", lambda run: run.decided_by),
        row("request to READY", lambda run: f"{run.ready_s:.2f} s"),
        row("first byte, cold", lambda run: f"{_latency(run.cold[0])} ms"),
        row("first byte, cached", lambda run: f"{_latency(run.cached[0])} ms"),
        row("1 MB, cold", lambda run: f"{run.cold[-1].rate_mbps:.1f} Mbit/s"),
        row("1 MB, cached", lambda run: f"{run.cached[-1].rate_mbps:.1f} Mbit/s"),
        row("cache hits", lambda run: f"{run.cache_hits} of {len(run.cached)}"),
    ]


def _latency(fetch: Any) -> str:
    return f"{fetch.first_byte_ms:.1f}"


def _traffic_row(run: PlacementReport, index: int) -> dict[str, Any]:
    hop = run.path[index]
    cells = {cp: f"{hop.received[cp]} > {hop.sent[cp]}" for cp in hop.received}
    return {"vnf": hop.vnf, "pop": hop.pop, "input": cells.get("input"), "output": cells.get("output")}
