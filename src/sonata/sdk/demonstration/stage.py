"""Where the examples of demonstrations are, and how an operation is followed while it is told."""

from __future__ import annotations

from collections.abc import Callable
from importlib import resources
from pathlib import Path

from sonata.errors import InvalidInput, PermanentError
from sonata.sdk.platform_client import PlatformClient

Say = Callable[[str], None]
_PATIENCE_S = 60.0


def example_folder(name: str) -> Path:
    """Folder of an example, in a source tree or in an installed package.

    Raises:
        InvalidInput: it is in neither.
    """
    installed = Path(str(resources.files("sonata"))) / "examples" / name
    source = Path(__file__).parents[4] / "examples" / name
    for folder in (installed, source):
        if (folder / "topology.yaml").exists():
            return folder
    raise InvalidInput(f"the example `{name}` is not installed", hint="run from a source tree, or install the wheel")


def image_recipes(example: str) -> list[Path]:
    """Recipes of the images that an example needs."""
    return sorted((example_folder(example) / "images").glob("*.yaml"))


def follow(platform: PlatformClient, operation_id: str, say: Say) -> None:
    """Wait for an operation and tell each step.

    Raises:
        PermanentError: it failed.
    """
    for kind, document in platform.watch(operation_id, _PATIENCE_S):
        if kind == "step" and document["state"] == "DONE":
            say(f"  {document['step']}: {document['detail']}")
    operation = platform.show("operations", operation_id)
    if operation["state"] != "COMPLETED":
        raise PermanentError(
            f"operation `{operation_id}` ended as {operation['state']}: {operation['error']}", hint=operation["hint"]
        )
