"""`sonata emu up` on a running emulation, its plans, and `sonata emu save`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Annotated, Any

import typer

from sonata._lib.plain import to_plain
from sonata._lib.quantities import format_duration, format_rate, format_share, format_size
from sonata.cli import exit_codes, output
from sonata.errors import Conflict
from sonata.model.topology import Topology
from sonata.model.topology_changes import diff
from sonata.sdk.emulation_records import EmulationRecord, find
from sonata.sdk.emulator_client import EmulatorClient

Row = Mapping[str, Any]

_SIGNS = {"add": "+", "remove": "-", "change": "~"}
_IMPAIRMENT: Mapping[str, tuple[str, Callable[[float], str]]] = {
    "delay_s": ("delay", format_duration),
    "jitter_s": ("jitter", format_duration),
    "loss": ("loss", format_share),
    "rate_bps": ("rate", format_rate),
    "duplicate": ("duplicate", format_share),
    "reorder": ("reorder", format_share),
}
_SIZES = {"memory_bytes": "memory", "disk_bytes": "disk"}
_TELLING: Mapping[str, tuple[str, ...]] = {
    "pop": ("managed_by",),
    "link": ("a", "b", "impairment", "reverse", "up", "price"),
    "endpoint": ("attach", "image", "impairment", "reverse", "up"),
    "server": ("pop", "image", "flavor"),
}
"""What is told of a part that comes, where it is not as usual."""
_USUAL = {"managed_by": "", "reverse": None, "up": True, "price": 0.0}


def save(
    name: Annotated[
        str | None, typer.Option("--name", help="Which emulation; may be left out while only one runs.")
    ] = None,
    with_servers: Annotated[
        bool, typer.Option("--with-servers", help="Also servers that were made since, as far as a file can say them.")
    ] = False,
) -> None:
    """Print the running emulation as a topology file: links as they are now, servers that still stand."""
    from sonata.formats.topology import dump_topology  # slow to import

    with EmulatorClient.of(find(name)) as client:
        topology, left_out = client.definition(with_servers=with_servers)
    for note in left_out:
        output.say(note)
    output.text(dump_topology(topology))


def change_running(record: EmulationRecord, topology: Topology, listen: tuple[str, int] | None) -> None:
    """Make a running emulation this topology, and tell what was done.

    Raises:
        Conflict: it listens elsewhere, or cannot become this topology while it runs.
    """
    _require_same(record, listen)
    output.say(f"emulation {record.name} runs on {record.url}: only what differs is changed")
    with EmulatorClient.of(record) as client:
        changes = client.apply(topology)["changes"]
    for row in changes:
        output.say(line_of(row))
    output.say(_count(changes, "nothing differs"))


def show_plan(
    record: EmulationRecord | None, topology: Topology, listen: tuple[str, int] | None, form: output.Format
) -> int:
    """Print what `up` would do; returns how many changes that are. Against nothing running everything is added."""
    if record:
        _require_same(record, listen)
        with EmulatorClient.of(record) as client:
            changes = client.apply(topology, dry_run=True)["changes"]
    else:
        changes = rows_from_nothing(topology)
    if form is not output.Format.TABLE:
        output.document({"name": topology.name, "running": record is not None, "changes": changes}, form)
    else:
        for row in changes:
            output.text(line_of(row))
        output.say(_count(changes, "nothing would change"))
    return len(changes)


def rows_from_nothing(topology: Topology) -> Sequence[Row]:
    """The plan of an emulation that does not run yet, as the emulator's API tells plans."""
    plan = diff(Topology(topology.name, {}), topology)
    return [
        {
            "action": str(change.action),
            "kind": str(change.kind),
            "name": change.name,
            "differing": [],
            "before": None,
            "after": to_plain(change.after),
        }
        for change in plan
    ]


def line_of(row: Row) -> str:
    """A change on one line: `+ pop d`, `~ link ab: delay 10ms -> 20ms`."""
    head = f"{_SIGNS[row['action']]} {row['kind']} {row['name']}"
    told = ", ".join(_differences(row) if row["action"] == "change" else _particulars(row))
    return f"{head}: {told}" if told else head


def exit_code(changes: int, *, wanted: bool) -> int:
    """The exit code of a plan: with `--exit-code` it tells whether there are changes."""
    return exit_codes.HAS_CHANGES if changes and wanted else exit_codes.OK


def _require_same(record: EmulationRecord, listen: tuple[str, int] | None) -> None:
    """Refuse another address than the emulation has; port 0 is any."""
    host, _, port = record.url.removeprefix("http://").rpartition(":")
    if listen and (listen[0] != host.strip("[]") or listen[1] not in (0, int(port))):
        raise Conflict(
            f"emulation `{record.name}` runs and listens on {host}:{port}, not on {listen[0]}:{listen[1]}",
            hint="leave out --listen, or take it down first",
        )


def _count(changes: Sequence[Row], none: str) -> str:
    counts = {sign: sum(_SIGNS[row["action"]] == sign for row in changes) for sign in _SIGNS.values()}
    words = zip(("to come", "to go", "to change"), counts.values(), strict=True)
    return ", ".join(f"{count} {word}" for word, count in words if count) or none


def _particulars(row: Row) -> Iterator[str]:
    part = row["after"] or {}
    for name in _TELLING[row["kind"]]:
        value = part.get(name)
        if value != _USUAL.get(name) and (told := _told(name, value)):
            yield f"{name} {told}" if name not in ("a", "b", "impairment") else told


def _differences(row: Row) -> Iterator[str]:
    for name in row["differing"]:
        before, after = row["before"][name], row["after"][name]
        if name == "impairment":
            yield from _impairments(before, after)
        elif name == "reverse":
            there_before, there_after = row["before"]["impairment"], row["after"]["impairment"]
            yield from (f"reverse {one}" for one in _impairments(before or there_before, after or there_after))
        else:
            yield f"{_SIZES.get(name, name)} {_told(name, before) or 'none'} -> {_told(name, after) or 'none'}"


def _impairments(before: Row, after: Row) -> Iterator[str]:
    for field, (name, write) in _IMPAIRMENT.items():
        if before[field] != after[field]:
            yield f"{name} {_quantity(before[field], write)} -> {_quantity(after[field], write)}"


def _told(name: str, value: Any) -> str:
    """A value for people; empty for none."""
    if name in _SIZES:
        return format_size(value)
    if name in ("impairment", "reverse"):
        known = ((key, write, (value or {}).get(field)) for field, (key, write) in _IMPAIRMENT.items())
        return ", ".join(f"{key} {write(one)}" for key, write, one in known if one)
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {each}" for key, each in value.items()) + "}" if value else ""
    if isinstance(value, list):
        return "[" + ", ".join(_told("", each) for each in value) + "]" if value else ""
    return "" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def _quantity(value: float | None, write: Callable[[float], str]) -> str:
    return write(value) if value else "none"
