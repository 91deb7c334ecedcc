"""The Python reference tells of every name, field and method that scripts may use."""

from __future__ import annotations

import dataclasses
import inspect
from pathlib import Path

import pytest

import sonata.embedding as embedding
from sonata.model import shapes

PAGE = (Path(__file__).parents[3] / "docs" / "reference" / "python.md").read_text()
CLASSES = [each for name in embedding.__all__ if isinstance(each := getattr(embedding, name), type)]


@pytest.mark.parametrize("name", embedding.__all__)
def test_every_name_is_there(name: str) -> None:
    assert f"`{name}" in PAGE


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
def test_every_field_and_method_is_there(kind: type) -> None:
    fields = [field.name for field in dataclasses.fields(kind)] if dataclasses.is_dataclass(kind) else []
    methods = [name for name, _ in inspect.getmembers(kind, inspect.isfunction) if not name.startswith("_")]
    own = [name for name in methods if kind.__module__.startswith("sonata.embedding") and name in vars(kind)]
    missing = [name for name in fields + own if f"`{name}" not in PAGE]
    assert missing == []


@pytest.mark.parametrize("method", ["exec", "openrc", "openstack", "link"])
def test_arguments_of_calls_are_there(method: str) -> None:
    (line,) = [line for line in PAGE.splitlines() if line.startswith(f"| `{method}(")]
    names = list(inspect.signature(getattr(embedding.RunningEmulation, method)).parameters)[1:]
    if method != "link":  # its two forms are told one by one
        assert [name for name in names if name not in line] == []


def test_every_shape_is_there() -> None:
    public = [
        name
        for name, each in inspect.getmembers(shapes, inspect.isfunction)
        if each.__module__ == shapes.__name__ and not name.startswith("_")
    ]
    assert len(public) == 8
    assert [name for name in public if f"`{name}`" not in PAGE] == []
    assert [field.name for field in dataclasses.fields(shapes.Kit) if f"`{field.name}=" not in PAGE] == []
