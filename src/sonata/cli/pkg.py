"""`sonata pkg`: build, validate and unpack packages here; on-board and list them on a platform."""

from __future__ import annotations

import tempfile
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from sonata.cli import exit_codes, output
from sonata.cli.connection import Data, Form, client_of
from sonata.cli.output import Format
from sonata.errors import Diagnostic, InvalidInput, NotFound
from sonata.formats.findings import errors_in
from sonata.sdk.packages import build_package, unpack_package, validate_package, validate_project

app = typer.Typer(no_args_is_help=True, add_completion=False, help="Packages: build, validate, on-board.")

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
    for path in unpack_package(file, folder):
        output.text(str(path))


@app.command(epilog="Examples: sonata pkg onboard cdn.tgo  |  sonata pkg onboard examples/cdn")
def onboard(
    path: Annotated[Path, typer.Argument(metavar="FILE|DIR", help="A package file, or a project to build first.")],
    data: Data = None,
    form: Form = Format.TABLE,
) -> None:
    """Put a package on the platform; the same package again changes nothing."""
    with client_of(data) as client:
        record = client.onboard(_archive_of(path), path.name)
    output.details(record, form)


@app.command("ls", epilog="Example: sonata pkg ls -o json")
def list_(data: Data = None, form: Form = Format.TABLE) -> None:
    """List the packages of the platform."""
    with client_of(data) as client:
        output.rows(("name", "vendor", "version", "size", "created_at", "uuid"), client.list("packages"), form)


@app.command(epilog="Example: sonata pkg show cdn")
def show(
    package: Annotated[str, typer.Argument(help="Name or UUID.")], data: Data = None, form: Form = Format.TABLE
) -> None:
    """Show a package of the platform."""
    with client_of(data) as client:
        output.details(client.show("packages", package), form)


@app.command("rm", epilog="Example: sonata pkg rm cdn")
def remove(package: Annotated[str, typer.Argument(help="Name or UUID.")], data: Data = None) -> None:
    """Remove a package, with its descriptors, that no live service uses."""
    with client_of(data) as client:
        client.remove("packages", package)
    output.say(f"package {package} removed")


def _archive_of(path: Path) -> bytes:
    """The bytes of a package file, or of the package of a project."""
    try:
        if path.is_dir():
            with tempfile.TemporaryDirectory() as folder:
                return build_package(path, Path(folder)).read_bytes()
        return path.read_bytes()
    except FileNotFoundError:
        raise NotFound(f"there is no package `{path}`") from None
    except OSError as error:
        raise InvalidInput(f"cannot read package `{path}`: {error.strerror}") from error


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _print_findings(findings: list[Diagnostic], form: Format) -> None:
    if form is Format.TABLE:
        for finding in findings:
            output.text(str(finding))
        return
    rows: list[dict[str, Any]] = [asdict(finding) for finding in findings]
    output.rows([], rows, form)
