"""`sonata ns`: network services."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Annotated

import typer

from sonata.cli import exit_codes, output
from sonata.cli.connection import Data, Form, client_of
from sonata.cli.following import follow
from sonata.errors import InvalidInput
from sonata.sdk.platform_client import PlatformClient

app = typer.Typer(add_completion=False, help="Network services.", no_args_is_help=True)

Instance = Annotated[str, typer.Argument(metavar="NAME|UUID", help="The service instance.")]
Wait = Annotated[bool, typer.Option("--wait", help="Follow the operation to its end; exit code 1 when it fails.")]


class Placer(StrEnum):
    """Who places a service."""

    AUTO = "auto"
    SSM = "ssm"
    GENERIC = "generic"


class OnFailure(StrEnum):
    """What happens when a manager fails."""

    GENERIC = "generic"
    FAIL = "fail"


@app.command(epilog="Example: sonata ns instantiate cdn --ingress users --egress origin --wait")
def instantiate(
    service: Annotated[str, typer.Argument(metavar="NAME|UUID", help="The service, as on-boarded.")],
    name: Annotated[str, typer.Option("--name", help="Name of the instance.")] = "",
    ingress: Annotated[str, typer.Option(help="Endpoint from which users come.")] = "",
    egress: Annotated[str, typer.Option(help="Endpoint that users address.")] = "",
    placement: Annotated[Placer, typer.Option(help="Who places it; auto: its manager, if it has one.")] = Placer.AUTO,
    on_manager_failure: Annotated[OnFailure, typer.Option(help="When its manager fails.")] = OnFailure.GENERIC,
    at: Annotated[
        list[str] | None, typer.Option(metavar="VNF=POP", help="Pin a VNF to a PoP; may be repeated.")
    ] = None,
    wait: Wait = False,
    data: Data = None,
    form: Form = output.Format.TABLE,
) -> int:
    """Instantiate a service."""
    pinned = dict(map(read_pin, at or ()))
    with client_of(data) as client:
        request = client.instantiate(
            service,
            name=name,
            ingress=ingress,
            egress=egress,
            placement=placement.value,
            on_manager_failure=on_manager_failure.value,
            pinned=pinned,
        )
        if not wait:
            output.details(request, form)
            return exit_codes.OK
        code = follow(client, request["id"])
        _print_record(client, request["instance_uuid"], form)
    return code


def read_pin(text: str) -> tuple[str, str]:
    """VNF and PoP of `VNF=POP`.

    Raises:
        InvalidInput: it is something else.
    """
    vnf, _, pop = text.partition("=")
    if not (vnf and pop):
        raise InvalidInput(f"`--at {text}` is no pin", hint="write --at VNF=POP, as --at squid=edge")
    return vnf, pop


@app.command("ls", epilog="Example: sonata ns ls --status READY")
def list_(
    status: Annotated[str, typer.Option(help="Only instances in this state.")] = "",
    data: Data = None,
    form: Form = output.Format.TABLE,
) -> None:
    """List service instances."""
    with client_of(data) as client:
        records = client.list("records/services", status=status)
    rows = [{**record, "service": record["service"]["name"]} if form is output.Format.TABLE else record
            for record in records]  # fmt: skip
    output.rows(("name", "service", "status", "uuid", "created_at"), rows, form)


@app.command(epilog="Example: sonata ns show web -o yaml")
def show(name: Instance, data: Data = None, form: Form = output.Format.TABLE) -> None:
    """Show a service instance: where its VNFs are, who decided, and by which rule."""
    with client_of(data) as client:
        _print_record(client, name, form)


@app.command(epilog="Example: sonata ns terminate web --wait")
def terminate(name: Instance, wait: Wait = False, data: Data = None, form: Form = output.Format.TABLE) -> int:
    """Terminate a service instance."""
    with client_of(data) as client:
        request = client.terminate(name)
        if wait:
            return follow(client, request["id"])
    output.details(request, form)
    return exit_codes.OK


def _print_record(client: PlatformClient, key: str, form: output.Format) -> None:
    record = client.show("records/services", key)
    if form is not output.Format.TABLE:
        output.document(dict(record), form)
        return
    shown = {field: record[field] for field in ("name", "uuid", "status", "ingress", "egress", "created_at", "error")}
    placement = record["placement"] or {}
    shown |= {"decided_by": placement.get("decided_by", ""), "rule": placement.get("rule", "")}
    output.details({field: value for field, value in shown.items() if value})
    rows = [{**vnf, **_addresses(vnf["interfaces"])} for vnf in record["network_functions"]]
    if rows:
        reached = ("reached_at",) if any(row["reached_at"] for row in rows) else ()
        output.rows(("vnf_id", "vim", "status", "addresses", *reached), rows)


def _addresses(interfaces: Sequence[Mapping[str, str]]) -> dict[str, list[str]]:
    """Addresses of a VNF, and those at which it is reached from outside."""
    public = [each["public_address"] for each in interfaces]
    return {"addresses": [each["address"] for each in interfaces], "reached_at": [each for each in public if each]}
