"""`sonata emu scenario`: things that happen in an emulation at given times, again and again the same."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from sonata._lib.paths import data_home
from sonata._lib.plain import to_plain
from sonata._lib.quantities import format_duration
from sonata.cli import exit_codes, output
from sonata.cli.emu_options import Form, Name
from sonata.model.scenario import Scenario, Step
from sonata.sdk.emulation_records import EmulationRecord, find
from sonata.sdk.scenario_runs import ScenarioClient, written_to

app = typer.Typer(help="Things that happen at given times: links, crashes, hogs, moves.", no_args_is_help=True)

Log = Annotated[Path | None, typer.Option("--log", help="Where the log goes; default: below the data folder.")]
Detach = Annotated[bool, typer.Option("--detach", help="Return at once; `emu events` tells what happens.")]


@app.command(
    epilog="Examples: sonata emu scenario run bad-day.yaml --log bad-day.jsonl; "
    "sonata emu scenario run bad-day.yaml --seed 8 --dry-run"
)
def run(
    file: Annotated[Path, typer.Argument(help="Scenario file.")],
    seed: Annotated[int | None, typer.Option(help="Of the chance in it, instead of the file's own.")] = None,
    log: Log = None,
    detach: Detach = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the steps with all chance resolved.")] = False,
    name: Name = None,
    form: Form = output.Format.TABLE,
) -> int:
    """Carry a scenario out and write down what happens; Ctrl-C ends it and undoes what was to be undone."""
    from sonata.formats.scenario import read_scenario  # slow to import, and of no use to the other verbs

    scenario = read_scenario(file, seed)
    if dry_run:
        rows = [{**to_plain(step), "what": _what(step)} for step in scenario.steps]
        output.rows(("at_s", "action", "target", "what"), rows, form)
        return exit_codes.OK
    return _carry_out(find(name), scenario, log, form, detach=detach)


@app.command(epilog="Example: sonata emu scenario replay bad-day.jsonl")
def replay(
    file: Annotated[Path, typer.Argument(help="Log of a run.")],
    log: Log = None,
    detach: Detach = False,
    name: Name = None,
    form: Form = output.Format.TABLE,
) -> int:
    """Do again what a log tells, at the same times."""
    from sonata.formats.scenario_log import read_log

    return _carry_out(find(name), read_log(file), log, form, detach=detach)


@app.command("ls", epilog="Example: sonata emu scenario ls -o json")
def list_runs(name: Name = None, form: Form = output.Format.TABLE) -> None:
    """List the runs of scenarios."""
    with _client(find(name)) as client:
        output.rows(("run", "scenario", "seed", "state", "steps", "done", "failed"), client.runs(), form)


@app.command(epilog="Example: sonata emu scenario cancel 1")
def cancel(run: Annotated[int, typer.Argument(help="Number of the run.")], name: Name = None) -> None:
    """End a run, and undo what was to be undone."""
    with _client(find(name)) as client:
        ended = client.cancel(run)
    output.say(f"scenario {ended['scenario']} is {ended['state']} after {ended['done']} of {ended['steps']} steps")


def _carry_out(
    record: EmulationRecord, scenario: Scenario, log: Path | None, form: output.Format, *, detach: bool
) -> int:
    with _client(record) as client:
        begun = client.start(scenario)
        output.say(f"scenario {scenario.name}: {begun['steps']} steps, run {begun['run']}, seed {scenario.seed}")
        if detach:
            return exit_codes.OK
        path = log or _default_log(record.name, scenario)
        note = written_to(path, scenario, record.name)
        output.say(f"log: {path}")

        def tell(event: Mapping[str, Any]) -> None:
            note(event)
            _print(event, form)

        try:
            ended = client.follow(begun, tell)
        except KeyboardInterrupt:
            client.cancel(begun["run"])
            raise
    failed = ended["detail"]["failed"]
    if failed:
        output.say(f"{failed} of {begun['steps']} steps could not be done")
    return exit_codes.FAILED if failed or ended["kind"] != "scenario.ended" else exit_codes.OK


def _client(record: EmulationRecord) -> ScenarioClient:
    return ScenarioClient(record.url, record.token)


def _default_log(emulation: str, scenario: Scenario) -> Path:
    now = datetime.now(UTC).strftime("%Y%m%dT%H%M%S")
    return data_home() / "runs" / emulation / f"{scenario.name}-{now}.jsonl"


def _print(event: Mapping[str, Any], form: output.Format) -> None:
    if form is not output.Format.TABLE:
        output.text(json.dumps(event))
        sys.stdout.flush()
        return
    detail = event["detail"]
    if "step" in detail:
        step, outcome = detail["step"], event["kind"].removeprefix("scenario.")
        due_s = step["at_s"] + (step["for_s"] if outcome == "undone" else 0.0)
        said = f"{due_s + detail['late_s']:9.3f}s  {outcome:7} {step['action']} {step['target']}"
        output.text(f"{said}  {_what_plain(step)}{_outcome(detail)}".rstrip())
        sys.stdout.flush()


def _outcome(detail: Mapping[str, Any]) -> str:
    if "error" in detail:
        return f"  {detail['error']}"
    return f"  {detail['stdout'].strip()}" if detail.get("stdout") else ""


def _what(step: Step) -> str:
    return _what_plain(to_plain(step))


def _what_plain(step: Mapping[str, Any]) -> str:
    """What a step does, besides action and target."""
    parts = [f"{key}={value}" for key, value in step["changes"].items()]
    if step["up"] is not None:
        parts.append("up" if step["up"] else "down")
    parts += [f"{key}={step[key]}" for key in ("cpus", "memory_bytes", "to") if step[key]]
    parts += [f"from {step['origin']}"] if step["origin"] else []
    parts += [" ".join(step["command"])] if step["command"] else []
    parts += [f"for {format_duration(step['for_s'])}"] if step["for_s"] is not None else []
    return " ".join(parts)
