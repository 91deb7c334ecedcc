"""`sonata image`: build, import, list and remove machine images."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from sonata._lib.paths import data_home
from sonata.adapters.images_local import LocalImages
from sonata.cli import output
from sonata.cli.output import Format
from sonata.formats.recipe import read_recipe
from sonata.ports.images import Image

app = typer.Typer(add_completion=False, no_args_is_help=True, help="Machine images.")

_FormatOption = Annotated[Format, typer.Option("--output", "-o", help="How to print the result.")]
_QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="Do not tell the progress.")]


@app.command(epilog="Example: sonata image build examples/cdn/images/*.yaml")
def build(
    recipes: Annotated[list[Path], typer.Argument(help="Recipe files, YAML.")],
    form: _FormatOption = Format.TABLE,
    quiet: _QuietOption = False,
) -> None:
    """Build images from recipes; what was built before is there at once."""
    _print([_store().build(read_recipe(recipe), _ignore if quiet else output.say) for recipe in recipes], form)


@app.command(name="import", epilog="Example: docker save app -o app.tar; sonata image import app.tar app")
def import_(
    archive: Annotated[Path, typer.Argument(help="OCI layout (folder or tar), or the file of `docker save`.")],
    name: Annotated[str, typer.Argument(help="Name of the image here.")],
    form: _FormatOption = Format.TABLE,
    quiet: _QuietOption = False,
) -> None:
    """Import a container image."""
    _print([_store().import_archive(archive, name, _ignore if quiet else output.say)], form)


@app.command(name="ls", epilog="Example: sonata image ls -o json")
def list_(form: _FormatOption = Format.TABLE) -> None:
    """List images."""
    _print(_store().list(), form)


@app.command(name="rm", epilog="Example: sonata image rm app")
def remove(names: Annotated[list[str], typer.Argument(help="Names or ids.")]) -> None:
    """Remove images."""
    for name in names:
        _store().remove(name)
        output.say(f"image {name} removed")


def _store() -> LocalImages:
    return LocalImages(data_home() / "images")


def _ignore(_message: str) -> None:
    """Tell nothing."""


def _print(images: list[Image] | Any, form: Format) -> None:
    values = [_row(image) for image in images]
    if form is Format.TABLE:
        for value in values:
            value["size"] = f"{value['size_bytes'] / 1024**2:.0f} MiB"
            value["id"] = value["id"][:8]
            value["command"] = " ".join(value["argv"]) or None
    output.rows(("name", "id", "size", "ready_tcp_port", "command"), values, form)


def _row(image: Image) -> dict[str, Any]:
    return {**asdict(image), "layers": [str(layer) for layer in image.layers], "argv": list(image.argv)}
