"""Options that verbs share, and the way to the platform."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sonata.cli import output
from sonata.sdk.platform_client import PlatformClient
from sonata.sdk.platform_records import default_data

Data = Annotated[
    Path | None, typer.Option("--data", envvar="SONATA_DATA", help="Data folder of the platform.", show_default=False)
]
Form = Annotated[output.Format, typer.Option("-o", "--output", help="How data is printed.")]


def folder_of(data: Path | None) -> Path:
    """The data folder meant."""
    return (data or default_data()).absolute()


def client_of(data: Path | None) -> PlatformClient:
    """A client of the platform that runs on this data folder."""
    return PlatformClient.connect(folder_of(data))
