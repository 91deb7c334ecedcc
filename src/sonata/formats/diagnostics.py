"""From findings of Pydantic to diagnostics for people: file, line, column, allowed values, "did you mean".

Structural findings have the same numbers in every format, after the format's own prefix: 0001 unknown key, 0002 missing
key, 0003 wrong value, 0004 none of the allowed values. Rules of a format number theirs from 0010.
"""

from __future__ import annotations

import re
import types
import typing
from itertools import islice
from typing import Any

from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationError, WithJsonSchema
from pydantic_core import ErrorDetails

from sonata.errors import Diagnostic
from sonata.formats.findings import one_of, path_text
from sonata.formats.suggestions import suggestion
from sonata.formats.yaml_nodes import MAX_FINDINGS, DocumentPath, YamlDocument


class StrictModel(BaseModel):
    """Base of all file formats: unknown keys, guessed types, NaN and infinity are errors.

    Validators are built at their first use: no process reads files of all formats.
    """

    model_config = ConfigDict(
        extra="forbid", strict=True, allow_inf_nan=False, frozen=True, populate_by_name=True, defer_build=True
    )


def matching(pattern: str, meaning: str) -> tuple[Any, ...]:
    """Annotations of a text of this form; `meaning` says in words what the pattern says, e.g. "letters and digits"."""

    def check(value: str) -> str:
        if not re.fullmatch(pattern, value):
            raise ValueError(f"`{value[:80]}` must be {meaning}")
        return value

    return AfterValidator(check), WithJsonSchema({"type": "string", "pattern": f"^{pattern}$"})


def from_validation_error(
    error: ValidationError, document: YamlDocument, model: type[BaseModel], prefix: str
) -> list[Diagnostic]:
    """The findings of Pydantic, at most `MAX_FINDINGS`, in the order of the file."""
    first = islice(error.errors(include_url=False), MAX_FINDINGS)
    findings = [_from_details(details, document, model, prefix) for details in first]
    return sorted(findings, key=lambda finding: (finding.line, finding.column, finding.summary))


def model_at(model: type[BaseModel], path: DocumentPath) -> type[BaseModel] | None:
    """The model that describes the mapping at a path, None when none does."""
    annotation: Any = model
    for part in path:
        annotation = _step(annotation, part)
    found = _bare(annotation)
    return found if isinstance(found, type) and issubclass(found, BaseModel) else None


def field_names(model: type[BaseModel]) -> list[str]:
    """Keys as they are written in a file."""
    return [info.alias or name for name, info in model.model_fields.items()]


def _from_details(details: ErrorDetails, document: YamlDocument, model: type[BaseModel], prefix: str) -> Diagnostic:
    # Pydantic ends the path of a key (as opposed to its value) with this word.
    of_key = details["loc"][-1:] == ("[key]",)
    path = details["loc"][:-1] if of_key else details["loc"]
    kind = details["type"]
    if kind == "extra_forbidden":
        return _unknown_key(path, document, model, prefix)
    if kind == "missing":
        return _missing_key(path, document, prefix)
    if kind in {"literal_error", "enum"}:
        return _not_allowed(details, document, prefix)
    where = f"`{path_text(path)}`: " if path else ""
    return document.diagnostic(
        f"{prefix}-0003", where + _message(details), path, hint=_type_hint(details), of_key=of_key
    )


def _unknown_key(path: DocumentPath, document: YamlDocument, model: type[BaseModel], prefix: str) -> Diagnostic:
    parent = model_at(model, path[:-1])
    known = field_names(parent) if parent else []
    key = str(path[-1])
    hint = suggestion(key, known) or f"allowed: {one_of(known)}"
    where = f" in `{path_text(path[:-1])}`" if path[:-1] else ""
    return document.diagnostic(f"{prefix}-0001", f"unknown key `{key}`{where}", path, hint=hint, of_key=True)


def _missing_key(path: DocumentPath, document: YamlDocument, prefix: str) -> Diagnostic:
    where = f" in `{path_text(path[:-1])}`" if path[:-1] else ""
    return document.diagnostic(f"{prefix}-0002", f"key `{path[-1]}` is missing{where}", path[:-1], of_key=True)


def _not_allowed(details: ErrorDetails, document: YamlDocument, prefix: str) -> Diagnostic:
    expected = str(details.get("ctx", {}).get("expected", ""))
    choices = [choice.strip().strip("'") for choice in expected.replace(" or ", ", ").split(",")]
    given = _short(details["input"])
    hint = suggestion(str(details["input"]), choices)
    summary = f"`{path_text(details['loc'])}`: {given} is not one of {one_of(choices)}"
    return document.diagnostic(f"{prefix}-0004", summary, details["loc"], hint=hint)


def _message(details: ErrorDetails) -> str:
    if details["type"] == "value_error":
        return str(details.get("ctx", {}).get("error", details["msg"]))
    message = details["msg"]
    return f"{message[:1].lower()}{message[1:]}, found {_short(details['input'])}"


def _type_hint(details: ErrorDetails) -> str:
    if details["type"] == "string_type" and isinstance(details["input"], bool | int | float):
        return f'put it in quotes: "{details["input"]}"'
    return ""


def _short(value: Any) -> str:
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list):
        return "a list"
    if value is None:
        return "nothing"
    text = str(value)
    return f"`{text[:40]}...`" if len(text) > 40 else f"`{text}`"


def _step(annotation: Any, part: str | int) -> Any:
    annotation = _bare(annotation)
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        fields = annotation.model_fields
        found = next((info for name, info in fields.items() if part in (name, info.alias)), None)
        return found.annotation if found else None
    arguments = typing.get_args(annotation)
    return arguments[-1] if arguments and typing.get_origin(annotation) in (list, dict) else None


def _bare(annotation: Any) -> Any:
    """An annotation without `Annotated` and `None`."""
    if typing.get_origin(annotation) is typing.Annotated:
        return _bare(typing.get_args(annotation)[0])
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        rest = [part for part in typing.get_args(annotation) if part is not type(None)]
        return _bare(rest[0]) if len(rest) == 1 else annotation
    return annotation
