"""Strict and tolerant reading of documents found in the wild.

A tolerant reader leaves out unknown keys, wrong *decoration* (keys that do not matter for running what is described)
and empty values, and reads numbers as text where text is due, as they are written. Each repair is a warning, DESC-0001;
what cannot be repaired is an error as in strict reading.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from itertools import islice
from typing import Any, ClassVar, TypeVar

from pydantic import ValidationError

from sonata.errors import Diagnostic
from sonata.formats.diagnostics import StrictModel, from_validation_error, model_at
from sonata.formats.findings import path_text
from sonata.formats.yaml_nodes import MAX_FINDINGS, DocumentPath, YamlDocument

_MAX_REPAIRS = 500


class TolerableModel(StrictModel):
    """A model that knows which of its keys a tolerant reader can do without."""

    decoration: ClassVar[frozenset[str]] = frozenset()


M = TypeVar("M", bound=TolerableModel)

Upgrade = Callable[[Any, YamlDocument], list[Diagnostic]]
"""Changes a parsed document in place and returns a warning for each change."""


def read_model(
    source: YamlDocument, model: type[M], prefix: str, *, tolerant: bool = False, upgrade: Upgrade | None = None
) -> tuple[M | None, list[Diagnostic]]:
    """The model of a document, None when there are errors, and all findings.

    Args:
        source: the document.
        model: what it should be.
        prefix: of the codes of structural findings, see `diagnostics`.
        tolerant: whether to repair what can be repaired.
        upgrade: changes what older versions of the format wrote differently, when tolerant.
    """
    data = copy.deepcopy(source.data) if tolerant else source.data
    repairs = upgrade(data, source) if upgrade and tolerant else []
    while True:
        try:
            return model.model_validate(data), repairs
        except ValidationError as error:
            made = _repair(data, source, error, model) if tolerant and len(repairs) < _MAX_REPAIRS else []
            if not made:
                return None, [*repairs, *from_validation_error(error, source, model, prefix)]
            repairs += made


def _repair(data: Any, source: YamlDocument, error: ValidationError, model: type[TolerableModel]) -> list[Diagnostic]:
    """Change `data` so that fewer findings remain; returns a warning for each change, none when nothing helped."""
    made = []
    for details in islice(error.errors(include_url=False), MAX_FINDINGS):
        path = details["loc"]
        summary = _repair_one(data, source, path, details["type"], model)
        if summary:
            made.append(source.diagnostic("DESC-0001", summary, path, warning=True, of_key=True))
    return made


def _repair_one(data: Any, source: YamlDocument, path: DocumentPath, kind: str, model: type[TolerableModel]) -> str:
    written = source.source_text(path)
    parent = _value_at(data, path[:-1])
    if not path or not isinstance(parent, dict | list):
        return ""
    if kind == "string_type" and written is not None and _value_at(data, path) is not None:
        parent[path[-1]] = written  # type: ignore[index]
        return f"`{path_text(path)}` is not text; read as `{written}`"
    if kind == "extra_forbidden" and isinstance(parent, dict):
        return f"unknown key `{path_text(path)}` is left out" if parent.pop(path[-1], None) is not None else ""
    victim = _decoration_on(path, model)
    holder = _value_at(data, victim[:-1]) if victim else None
    if victim and isinstance(holder, dict) and victim[-1] in holder:
        del holder[victim[-1]]
        return f"`{path_text(victim)}` is wrong and left out"
    if isinstance(parent, dict) and path[-1] in parent and parent[path[-1]] is None:
        del parent[path[-1]]
        return f"`{path_text(path)}` is empty and left out"
    return ""


def _decoration_on(path: DocumentPath, model: type[TolerableModel]) -> DocumentPath:
    """The longest part of a path that ends in a key which its model can do without; empty when there is none."""
    for length in range(len(path), 0, -1):
        owner = model_at(model, path[: length - 1])
        if owner and issubclass(owner, TolerableModel) and path[length - 1] in owner.decoration:
            return path[:length]
    return ()


def _value_at(data: Any, path: DocumentPath) -> Any:
    for part in path:
        try:
            data = data[part]
        except (KeyError, IndexError, TypeError):
            return None
    return data
