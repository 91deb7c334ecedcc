"""What a machine image is made of: Debian packages, a few files, a program."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field

from sonata._lib.values import dataclass


@dataclass(frozen=True, slots=True)
class RecipeFile:
    """A file to be put into the image; `mode` as in chmod(2)."""

    content: bytes
    mode: int


@dataclass(frozen=True, slots=True)
class Recipe:
    """A recipe with all that it refers to.

    Args:
        base: the recipe below, None for the bare system; its release, program and environment are inherited.
        files: by absolute path in the image.
    """

    name: str
    suite: str
    base: Recipe | None = None
    packages: tuple[str, ...] = ()
    files: Mapping[str, RecipeFile] = field(default_factory=dict)
    command: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    ready_tcp_port: int = 0
