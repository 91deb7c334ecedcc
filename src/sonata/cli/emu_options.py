"""Options that verbs of `sonata emu` share."""

from __future__ import annotations

from typing import Annotated

import typer

from sonata.cli import output

Name = Annotated[str | None, typer.Option("--name", help="Which emulation; may be left out while only one runs.")]
Form = Annotated[output.Format, typer.Option("-o", "--output", help="How data is printed.")]
