"""`sonata pkg`: build, validate and unpack packages here; on-board and list them on a platform."""

from __future__ import annotations

from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from sonata.cli import exit_codes, output
from sonata.cli.output import Format
from sonata.errors import Diagnostic
from sonata.formats.diagnostics import errors_in

app = typer.Typer(no_args_is_help=True, add_completion=False, help="Packages: build, validate, on-board.")

Form = Annotated[Format, typer.Option("--output", "-o", help="How data is printed.")]
Tolerant = Annotated[
    bool, typer.Option("--tolerant", help="Take flaws that do not matter for running the package as warnings.")
]


class PackageForm(StrEnum):
    """The two kinds of package files."""

    TGO = "tgo"
    SON = "son"


class CheckLevel(StrEnum):
    """How far validation goes; each level includes the ones before."""

    SYNTAX = "syntax"
    INTEGRITY = "integrity"
    TOPOLOGY = "topology"


@app.command(
    epilog="Examples: sonata pkg build examples/cdn  |  sonata pkg build . -f cdn.son",
)
def build(
    project: Annotated[Path, typer.Argument(help="Folder with a project.yml.")] = Path(),
    file: Annotated[Path | None, typer.Option("--file", "-f", help="File to write, or folder to write into.")] = None,
    form: Annotated[PackageForm, typer.Option("--form", help="Kind of package.")] = PackageForm.TGO,
) -> None:
    """Build the package of a project; the same project gives the same bytes.

    Prints the path of the package.
    """
    from sonata.sdk.packages import build_package

    path = build_package(project, file, form=form.value)
    output.say(f"built {path}")
    output.text(str(path))


@app.command(epilog="Examples: sonata pkg validate cdn.tgo  |  sonata pkg validate examples/cdn --level integrity")
def validate(
    path: Annotated[Path, typer.Argument(metavar="FILE|DIR", help="A package file or a project folder.")],
    tolerant: Tolerant = False,
    level: Annotated[CheckLevel, typer.Option("--level", help="How far to look.")] = CheckLevel.TOPOLOGY,
    form: Form = Format.TABLE,
) -> None:
    """Report everything that is wrong with a package or project; exit code 2 when there are errors."""
    from sonata.sdk.packages import validate_package, validate_project

    check = validate_project if path.is_dir() else validate_package
    findings = check(path, tolerant=tolerant, level=level.value)
    _print_findings(findings, form)
    errors = len(errors_in(findings))
    output.say(f"{path}: {_count(errors, 'error')}, {_count(len(findings) - errors, 'warning')}")
    if errors:
        raise typer.Exit(exit_codes.INVALID)


@app.command(epilog="Example: sonata pkg unpack cdn.tgo cdn")
def unpack(
    file: Annotated[Path, typer.Argument(help="A package file.")],
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A folder that is empty or does not exist yet.")],
) -> None:
    """Write all files of a package into a folder; nothing is written when the package is unsafe or damaged."""
    from sonata.sdk.packages import unpack_package

    for path in unpack_package(file, folder):
        output.text(str(path))


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _print_findings(findings: list[Diagnostic], form: Format) -> None:
    if form is Format.TABLE:
        for finding in findings:
            output.text(str(finding))
        return
    rows: list[dict[str, Any]] = [asdict(finding) for finding in findings]
    output.rows([], rows, form)
