"""`sonata doctor`: what this machine can do, and how to get the rest."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from sonata.adapters.fabric_linux.renderers import Candidate, candidates
from sonata.adapters.host_probe import Finding, probe
from sonata.cli import exit_codes, output
from sonata.sdk.engines import engine_findings

app = typer.Typer(add_completion=False, help="What this machine can do, and how to get the rest.")


@app.command(epilog="Example: sonata doctor -o json")
def doctor(
    form: Annotated[output.Format, typer.Option("-o", "--output", help="How data is printed.")] = output.Format.TABLE,
) -> int:
    """Try what emulations need; exit status 0 when the defaults can run, else 1."""
    findings = [*probe(), *engine_findings(), *map(_renderer, candidates())]
    output.rows(("group", "name", "state", "why", "remedy"), [asdict(finding) for finding in findings], form)
    missing = [finding.name for finding in findings if finding.state == "missing"]
    if missing:
        output.say(f"the defaults cannot run here: {', '.join(missing)} missing")
        return exit_codes.FAILED
    output.say("the defaults can run here")
    return exit_codes.OK


def _renderer(found: Candidate) -> Finding:
    """What can steer service function chains, as `chain_renderer` of a topology names it."""
    if found.why_not:
        return Finding("chains", found.name, "limited", found.why_not, "use `steering`, which the defaults need anyway")
    return Finding("chains", found.name, "ok", found.purpose)
