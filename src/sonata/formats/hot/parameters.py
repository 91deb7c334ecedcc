"""Parameters of templates: their declarations, their values, their constraints.

Source: HOT specification, "Parameters section".
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from sonata._lib.values import dataclass
from sonata.formats.hot.errors import StackValidationFailed

TYPES = ("string", "number", "comma_delimited_list", "json", "boolean")
KEYS = ("type", "label", "description", "default", "hidden", "constraints", "immutable", "tags")
CONSTRAINTS = ("length", "range", "allowed_values", "allowed_pattern", "modulo", "custom_constraint")
HIDDEN = "******"
LONGEST_PATTERN = 2000
_SINCE = {"modulo": "2017-02-24", "tags": "2018-03-02"}
_TAKEN_BY: Mapping[str, tuple[str, ...]] = {
    "length": ("string", "comma_delimited_list", "json"),
    "range": ("number",),
    "modulo": ("number",),
    "allowed_values": ("string", "number", "boolean", "comma_delimited_list"),
    "allowed_pattern": ("string",),
    "custom_constraint": ("string", "number", "boolean", "comma_delimited_list"),
}
"""Types whose parameters can have a constraint."""
_HEATS_NAMES = {"length": "Length", "range": "Range", "modulo": "Modulo", "allowed_values": "AllowedValues",
                "allowed_pattern": "AllowedPattern", "custom_constraint": "CustomConstraint"}  # fmt: skip
_TRUE = ("t", "true", "on", "y", "yes", "1")
_FALSE = ("f", "false", "off", "n", "no", "0")


@dataclass(frozen=True, slots=True)
class Parameter:
    """A declared parameter; `default` is None when there is none."""

    name: str
    kind: str
    label: str
    description: str = ""
    default: Any = None
    hidden: bool = False
    immutable: bool = False
    constraints: tuple[Mapping[str, Any], ...] = ()
    tags: tuple[str, ...] = ()

    @property
    def patterns(self) -> list[tuple[str, str]]:
        """Regular expressions that a value must match, each with what is to be told when it does not.

        Whoever writes templates writes them, so they are not evaluated here.
        """
        given = [one for one in self.constraints if "allowed_pattern" in one]
        return [(one["allowed_pattern"], str(one.get("description") or "")) for one in given]

    @property
    def custom(self) -> list[str]:
        """Names of custom constraints, which only the cloud can check."""
        return [one["custom_constraint"] for one in self.constraints if "custom_constraint" in one]

    def value(self, given: Any) -> Any:
        """A given value in the parameter's type, checked against the constraints except for `patterns` and `custom`.

        Raises:
            StackValidationFailed: with all constraints that do not hold.
        """
        try:
            value = converted(self.kind, given)
        except (ValueError, TypeError) as error:
            raise StackValidationFailed(f"Parameter '{self.name}' is invalid: {error}") from None
        if wrong := [text for one in self.constraints for text in violations(one, value)]:
            raise StackValidationFailed(f"Parameter '{self.name}' is invalid: {'; '.join(wrong)}")
        return value


def declared(name: str, document: Mapping[str, Any]) -> Parameter:
    """The parameter that a template declares; `findings_in` has found nothing wrong with it."""
    return Parameter(
        name=name,
        kind=str(document["type"]),
        label=str(document.get("label", name)),
        description=str(document.get("description", "")),
        default=document.get("default"),
        hidden=is_true(document.get("hidden", False)),
        immutable=is_true(document.get("immutable", False)),
        constraints=tuple(document.get("constraints") or ()),
        tags=tuple(document.get("tags") or ()),
    )


def findings_in(document: Any, version: str) -> Iterator[str]:
    """What is wrong with the declaration of a parameter in a template of this version."""
    if not isinstance(document, Mapping):
        yield "a parameter is declared by a map"
        return
    known = [key for key in KEYS if _SINCE.get(key, "") <= version]
    yield from (f"Invalid key '{key}' for parameter" for key in document if key not in known)
    if not isinstance(document.get("tags") or [], list):
        yield "Tags property should be a list for parameter"
    kind = document.get("type")
    if kind is None:
        yield "Missing parameter type for parameter"
    elif kind not in TYPES:
        yield f"Invalid type ({kind}); it is one of {', '.join(TYPES)}"
    constraints = document.get("constraints") or []
    if not isinstance(constraints, list):
        yield "Invalid parameter constraints, expected a list"
        return
    wrong = [text for one in constraints for text in _constraint_findings(one, kind, version)]
    yield from wrong
    if kind in TYPES and not wrong and document.get("default") is not None:
        yield from _default_findings(document, kind)


def _constraint_findings(one: Any, of: Any, version: str) -> Iterator[str]:
    if not isinstance(one, Mapping):
        yield "Invalid parameter constraints, expected a mapping"
        return
    kinds = [key for key in one if key != "description"]
    known = [key for key in CONSTRAINTS if _SINCE.get(key, "") <= version]
    if len(kinds) != 1 or kinds[0] not in known:
        yield f"No constraint expressed: each has one of {', '.join(known)}"
        return
    (kind,) = kinds
    if of in TYPES and of not in _TAKEN_BY[kind]:
        yield f"{_HEATS_NAMES[kind]} constraint invalid for {of}"
    yield from _CONTENT_FINDINGS[kind](kind, one[kind])


def _limit_findings(kind: str, limits: Any) -> Iterator[str]:
    if not isinstance(limits, Mapping) or not limits or any(key not in ("min", "max") for key in limits):
        yield f"A {kind} constraint must have a min value and/or a max value specified."
        return
    for key, limit in limits.items():
        try:
            _number(limit)
        except ValueError:
            yield f"the {key} of a {kind} constraint is not a number: {limit!r}"


def _modulo_findings(_kind: str, limits: Any) -> Iterator[str]:
    if not isinstance(limits, Mapping) or set(limits) != {"step", "offset"}:
        yield "A modulo constraint must have a step value and an offset value specified."
        return
    try:
        step, offset = int(limits["step"]), int(limits["offset"])
    except (ValueError, TypeError):
        yield "step and offset of a modulo constraint must be integers"
        return
    if step == 0:
        yield "step cannot be 0."
    elif abs(offset) >= abs(step):
        yield "offset must be smaller (by absolute value) than step."
    elif step * offset < 0:
        yield "step and offset must be both positive or both negative."


def _value_findings(_kind: str, choices: Any) -> Iterator[str]:
    if not isinstance(choices, list):
        yield "AllowedValues must be a list"


def _pattern_findings(_kind: str, pattern: Any) -> Iterator[str]:
    if not _compiles(pattern):
        yield f"allowed_pattern {str(pattern)[:200]!r} is no regular expression of at most {LONGEST_PATTERN} characters"


def _custom_findings(_kind: str, name: Any) -> Iterator[str]:
    if not isinstance(name, str):
        yield "a custom_constraint is named by a text"


_CONTENT_FINDINGS: Mapping[str, Callable[[str, Any], Iterator[str]]] = {
    "length": _limit_findings,
    "range": _limit_findings,
    "modulo": _modulo_findings,
    "allowed_values": _value_findings,
    "allowed_pattern": _pattern_findings,
    "custom_constraint": _custom_findings,
}


def _compiles(pattern: Any) -> bool:
    try:
        re.compile(pattern)
    except (re.error, TypeError, RecursionError, OverflowError):
        return False
    return len(pattern) <= LONGEST_PATTERN


def _default_findings(document: Mapping[str, Any], kind: str) -> Iterator[str]:
    try:
        value = converted(kind, document["default"])
    except (ValueError, TypeError) as error:
        yield f"Invalid default {document['default']} ({error})"
        return
    for one in document.get("constraints") or ():
        yield from (f"Invalid default {document['default']} ({text})" for text in violations(one, value))


def converted(kind: str, given: Any) -> Any:
    """A value in the type `kind`.

    Raises:
        ValueError: it cannot be that.
    """
    return _CONVERTERS[kind](given)


def _number(given: Any) -> int | float:
    if isinstance(given, int | float):
        return given
    text = str(given)
    try:
        return int(text)
    except ValueError:
        try:
            return float(text)
        except ValueError:
            raise ValueError(f'could not convert "{text}" to a number') from None


def _listed(given: Any) -> list[Any]:
    if isinstance(given, list | tuple):
        return [str(one) for one in given]
    if isinstance(given, str):
        return given.split(",") if given else []
    raise ValueError("Value must be a comma-delimited list string or a list")


def _json(given: Any) -> Any:
    try:
        return json.loads(given) if given and isinstance(given, str) else given
    except ValueError as error:
        raise ValueError(f"Value must be valid JSON: {error}") from None


def is_true(given: Any) -> bool:
    """A boolean, however it is written.

    Raises:
        ValueError: it is none.
    """
    text = str(given).strip().lower()
    if text not in _TRUE + _FALSE:
        raise ValueError(f"Unrecognized value '{given}', acceptable values are: {', '.join(_TRUE + _FALSE)}")
    return text in _TRUE


_CONVERTERS: Mapping[str, Callable[[Any], Any]] = {
    "string": str,
    "number": _number,
    "comma_delimited_list": _listed,
    "json": _json,
    "boolean": is_true,
}


def violations(constraint: Mapping[str, Any], value: Any) -> Iterator[str]:
    """What of a constraint a value does not fulfil; a constraint's own description says it where there is one.

    Custom constraints name objects of the cloud and are looked up when properties are used; patterns are evaluated
    elsewhere (`Parameter.patterns`).
    """
    for kind, limits in constraint.items():
        check = _CHECKS.get(kind)
        if check and (told := check(limits, value)):
            yield str(constraint.get("description") or told)


def _length(limits: Mapping[str, Any], value: Any) -> str:
    size = len(value)
    low, high = int(limits.get("min", 0)), limits.get("max")
    if low <= size and (high is None or size <= int(high)):
        return ""
    return f"length ({size}) is out of range (min: {limits.get('min')}, max: {high})"


def _range(limits: Mapping[str, Any], value: Any) -> str:
    low, high = limits.get("min"), limits.get("max")
    if (low is None or value >= _number(low)) and (high is None or value <= _number(high)):
        return ""
    return f"{value} is out of range (min: {low}, max: {high})"


def _allowed(choices: Any, value: Any) -> str:
    known = [str(one) for one in choices]
    wrong = [
        one for one in (value if isinstance(value, list) else [value]) if one not in choices and str(one) not in known
    ]
    return f'"{value}" is not an allowed value [{", ".join(known)}]' if wrong else ""


def _modulo(limits: Mapping[str, Any], value: Any) -> str:
    step, offset = int(limits.get("step", 1)), int(limits.get("offset", 0))
    if step and int(value) % step == offset % step:
        return ""
    return f"{value} is not a multiple of {step} with an offset of {offset}"


_CHECKS: Mapping[str, Callable[[Any, Any], str]] = {
    "length": _length,
    "range": _range,
    "allowed_values": _allowed,
    "modulo": _modulo,
}


def shown(parameter: Parameter, value: Any) -> str:
    """A value as it is told to users: as text, hidden ones not at all."""
    if parameter.hidden:
        return HIDDEN
    if parameter.kind == "json":
        return json.dumps(value)
    if parameter.kind == "comma_delimited_list":
        return ",".join(map(str, value))
    return str(value)
