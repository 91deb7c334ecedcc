"""Metrics as text that Prometheus scrapes: its own format 0.0.4, and OpenMetrics 1.0.

Source: Prometheus documentation, "Exposition formats"; OpenMetrics 1.0, clause "Text format".
"""

from __future__ import annotations

from collections.abc import Iterator

from sonata.model.metrics import Family, Labels, Readings

PROMETHEUS = "text/plain; version=0.0.4; charset=utf-8"
OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"

_ESCAPES = str.maketrans({"\\": r"\\", "\n": r"\n", '"': r"\""})
_HELP_ESCAPES = str.maketrans({"\\": r"\\", "\n": r"\n"})


def exposition(readings: Readings, *, openmetrics: bool = False) -> str:
    """All families with their points, in the order given; families without points are left out."""
    lines: list[str] = []
    braced: dict[Labels, str] = {}  # many families share their labels
    for family, points in readings.items():
        if points:
            lines += _head(family, openmetrics=openmetrics)
            for labels, value, suffix in points:
                if labels not in braced:
                    braced[labels] = _braced(labels)
                lines.append(f"{family.name}{suffix}{braced[labels]} {_number(value)}")
    if openmetrics:
        lines.append("# EOF")
    return "\n".join((*lines, ""))


def _head(family: Family, *, openmetrics: bool) -> Iterator[str]:
    name = family.name.removesuffix("_total") if openmetrics and family.kind == "counter" else family.name
    help_ = family.help.translate(_ESCAPES if openmetrics else _HELP_ESCAPES)
    yield f"# HELP {name} {help_}"
    yield f"# TYPE {name} {family.kind}"


def _braced(labels: Labels) -> str:
    if not labels:
        return ""
    return "{" + ",".join(f'{name}="{value.translate(_ESCAPES)}"' for name, value in labels) + "}"


def _number(value: float) -> str:
    """As Go writes it, so that infinity and what is no number are understood."""
    if type(value) is int:
        return str(value)
    if value != value:
        return "NaN"
    if value in (float("inf"), float("-inf")):
        return "+Inf" if value > 0 else "-Inf"
    return str(int(value)) if value == int(value) and abs(value) < 1e15 else repr(float(value))
