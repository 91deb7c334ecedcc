"""Metrics of one's own: recording rules in the text that Prometheus loads.

Source: Prometheus documentation, "Defining recording rules".
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import field
from typing import Annotated, Any

import msgspec

from sonata._lib.values import dataclass
from sonata.emulator.observing.history import History
from sonata.emulator.observing.promql import Evaluate, understand
from sonata.errors import InvalidInput, SonataError, Unsupported
from sonata.formats.yaml_nodes import parse_yaml
from sonata.model.metrics import Family, Labels, Point, SeriesKey

MOST_RULES = 1000
_NAME = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
_LABEL = re.compile(r"(?!__)[a-zA-Z_][a-zA-Z0-9_]*")


class RuleDocument(msgspec.Struct, forbid_unknown_fields=True):
    """A rule as it is written."""

    record: str | None = None
    expr: str | int | float = ""
    labels: dict[str, str] = {}
    alert: str | None = None


class GroupDocument(msgspec.Struct, forbid_unknown_fields=True):
    """A group: its rules are evaluated in their order, at each reading; `interval` is Prometheus' business."""

    name: str
    rules: list[dict[str, Any]] = []
    interval: str | None = None


class RulesDocument(msgspec.Struct, forbid_unknown_fields=True):
    """A whole file."""

    groups: Annotated[list[GroupDocument], msgspec.Meta(max_length=MOST_RULES)] = []


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule that was understood."""

    group: str
    record: str
    expr: str
    labels: Mapping[str, str]
    evaluate: Evaluate


@dataclass(slots=True)
class Rules:
    """The rules of an emulation, and what they came to at the last reading.

    Args:
        text: as it was given.
        failures: why a rule came to nothing, by its name.
    """

    text: str = ""
    rules: Sequence[Rule] = ()
    results: dict[Family, list[Point]] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)

    def replace(self, text: str) -> None:
        """Make these the rules; none for an empty text.

        Raises:
            InvalidInput, Unsupported: one of them is wrong; names it. The former ones stay.
        """
        rules = list(read_rules(text)) if text.strip() else []
        self.text, self.rules = text, rules
        self.results, self.failures = {}, {}

    def evaluate(self, history: History, at: float) -> None:
        """Evaluate all at a moment; later rules see what earlier ones have made."""
        self.results, self.failures = {}, {}
        families = {rule.record: Family(rule.record, "gauge", "Recorded by a rule.") for rule in self.rules}
        for rule in self.rules:
            try:
                points = _points(rule, history, at)
            except SonataError as error:
                self.failures[rule.record] = error.message
                continue
            self.results.setdefault(families[rule.record], []).extend(points)
            for point in points:
                history.add(SeriesKey(rule.record, point.labels), point.value)


def _points(rule: Rule, history: History, at: float) -> list[Point]:
    value = rule.evaluate(history, at)
    if isinstance(value, float):
        return [Point(_labelled((), rule.labels), value)]
    found = {_labelled(one.labels, rule.labels): one.value for one in value}
    if len(found) < len(value):
        raise InvalidInput(f"rule `{rule.record}` makes two series with equal labels")
    return [Point(labels, number) for labels, number in found.items()]


def _labelled(labels: Labels, own: Mapping[str, str]) -> Labels:
    merged = {**dict(labels), **own}
    return tuple(sorted(pair for pair in merged.items() if pair[1]))


def read_rules(text: str) -> Iterator[Rule]:
    """The rules of a file.

    Raises:
        InvalidInput, Unsupported: something is wrong; names the rule.
    """
    data = parse_yaml(text, "rules").data
    try:
        document = msgspec.convert(data, RulesDocument)
    except msgspec.ValidationError as error:
        raise InvalidInput(f"rules: {error}", hint="a file has `groups`, a group `name` and `rules`") from error
    if sum(len(group.rules) for group in document.groups) > MOST_RULES:
        raise InvalidInput(f"there are more than {MOST_RULES} rules")
    _require_distinct([group.name for group in document.groups])
    for group in document.groups:
        for number, one in enumerate(group.rules, 1):
            yield _rule(group.name, f"rule {number} of group `{group.name}`", one)


def _require_distinct(names: Sequence[str]) -> None:
    for name in names:
        if names.count(name) > 1:
            raise InvalidInput(f"two groups are named `{name}`", hint="Prometheus refuses that, too")


def _rule(group: str, where: str, written: Mapping[str, Any]) -> Rule:
    if "alert" in written:
        raise Unsupported(f"{where} is an alert, and there is nobody to be told", hint="give it to a Prometheus")
    try:
        rule = msgspec.convert(written, RuleDocument)
    except msgspec.ValidationError as error:
        raise InvalidInput(f"{where}: {error}", hint="a rule has `record`, `expr` and perhaps `labels`") from error
    record = rule.record or ""
    if not _NAME.fullmatch(record):
        raise InvalidInput(f"{where}: `{record}` is no name of a metric", hint="letters, digits, `_` and `:`")
    if record.startswith("sonata_"):
        raise InvalidInput(f"{where}: `{record}` belongs to the emulator", hint="choose a name with a colon, as a:b:c")
    for label in rule.labels:
        if not _LABEL.fullmatch(label):
            raise InvalidInput(f"{where}: `{label}` is no name of a label")
    try:
        return Rule(group, record, str(rule.expr), rule.labels, understand(str(rule.expr)))
    except SonataError as error:
        raise type(error)(f"{where} (`{record}`): {error.message}", hint=error.hint) from error
