"""A subset of PromQL over the history, meant and computed as Prometheus does (2.x): the same text works there.

There are: instant vectors with label matchers; `rate`, `increase`, `avg_over_time`, `min_over_time`, `max_over_time`,
`sum_over_time`, `count_over_time` of range vectors; `sum`, `avg`, `min`, `max`, `count` with `by` and `without`;
arithmetic and comparison between scalars and vectors whose labels are equal. All else is refused, with its place.
"""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

import promql_parser as parser

from sonata.emulator.observing.history import History, Samples
from sonata.errors import InvalidInput, Unsupported
from sonata.model.metrics import Labels

LOOKBACK_S = 300.0
MOST_CHARACTERS = 4096
_THRESHOLD = 1.1
_NAME = "__name__"


class Element(NamedTuple):
    """An element of an instant vector; computed ones have no name."""

    name: str
    labels: Labels
    value: float


Vector = Sequence[Element]
Value = float | Vector
Evaluate = Callable[[History, float], Value]
"""An expression that was understood: from a history and a moment to a value."""


def understand(text: str) -> Evaluate:
    """What an expression asks for.

    Raises:
        InvalidInput: it is no PromQL.
        Unsupported: it is, but not of the subset; names the part.
    """
    if len(text) > MOST_CHARACTERS:
        raise InvalidInput(f"the expression has {len(text)} characters, and at most {MOST_CHARACTERS} are read")
    try:
        tree = parser.parse(text)
    except ValueError as error:
        raise InvalidInput(f"`{text}` is no PromQL: {error}") from error
    return _compile(tree)


def _compile(node: parser.Expr) -> Evaluate:
    for kind, build in _BUILDERS.items():
        if isinstance(node, kind):
            return build(node)
    raise _refused(node, _CANNOT.get(type(node).__name__, "this kind of expression"))


def _refused(node: object, what: str) -> Unsupported:
    return Unsupported(
        f"`{node}`: {what} is not of the subset of PromQL that is there", hint="see the reference of metrics"
    )


_CANNOT = {"SubqueryExpr": "a subquery", "StringLiteral": "text", "MatrixSelector": "a range outside of a function"}


def _number(node: parser.NumberLiteral) -> Evaluate:
    value = float(node.val)
    return lambda _history, _at: value


def _paren(node: parser.ParenExpr) -> Evaluate:
    return _compile(node.expr)


def _unary(node: parser.UnaryExpr) -> Evaluate:
    inner = _compile(node.expr)

    def negated(history: History, at: float) -> Value:
        value = inner(history, at)
        return -value if isinstance(value, float) else [Element("", one.labels, -one.value) for one in value]

    return negated


def _selector(node: parser.VectorSelector) -> Evaluate:
    name, wanted = _selection(node)

    def select(history: History, at: float) -> Value:
        index = history.last(at, LOOKBACK_S)
        if index is None:
            return []
        return [Element(*found) for found in history.instant(name, wanted, index)]

    return select


def _selection(node: parser.VectorSelector) -> tuple[str | None, Callable[[str, Labels], bool]]:
    if node.offset is not None:
        raise _refused(node, "`offset`")
    if node.at is not None:
        raise _refused(node, "`@`")
    if node.matchers.or_matchers:
        raise _refused(node, "`or` between matchers")
    tests = [(matcher.name, _test(node, matcher)) for matcher in node.matchers.matchers]

    def wanted(name: str, labels: Labels) -> bool:
        known = {_NAME: name, **dict(labels)} if tests else {}
        return all(test(known.get(label, "")) for label, test in tests)

    return node.name or None, wanted


def _test(node: parser.VectorSelector, matcher: parser.Matcher) -> Callable[[str], bool]:
    wanted = matcher.value
    if matcher.op == parser.MatchOp.Equal:
        return lambda value: value == wanted
    if matcher.op == parser.MatchOp.NotEqual:
        return lambda value: value != wanted
    try:
        pattern = re.compile(wanted)
    except re.error as error:
        raise InvalidInput(f"`{node}`: `{wanted}` is no regular expression: {error}") from error
    if matcher.op == parser.MatchOp.Re:
        return lambda value: pattern.fullmatch(value) is not None
    return lambda value: pattern.fullmatch(value) is None


def _call(node: parser.Call) -> Evaluate:
    compute = _FUNCTIONS.get(node.func.name)
    if compute is None:
        raise _refused(node, f"the function `{node.func.name}`")
    (ranged,) = node.args
    if not isinstance(ranged, parser.MatrixSelector):
        raise _refused(ranged, "a range that is no selector's")
    name, wanted = _selection(ranged.vector_selector)
    span_s = ranged.range.total_seconds()

    def apply(history: History, at: float) -> Value:
        found = []
        for _, samples in history.between(name, wanted, at - span_s, at):
            value = compute(samples, at - span_s, at)
            if value is not None:
                found.append(Element("", samples.labels, value))
        return _distinct(node, found)

    return apply


def _increase(samples: Samples, begin: float, end: float) -> float | None:
    """Growth of a counter, its new beginnings counted, and stretched to the whole range as Prometheus does it."""
    times, values = samples.times, samples.values
    if len(values) < 2:
        return None
    resets = sum(before for before, after in pairwise(values) if after < before)
    grown = values[-1] - values[0] + resets
    sampled_s = times[-1] - times[0]
    to_start, to_end = times[0] - begin, end - times[-1]
    between_s = sampled_s / (len(values) - 1)
    if grown > 0 and values[0] >= 0:
        to_start = min(to_start, sampled_s * values[0] / grown)  # it was never below zero
    edges = sum(gap if gap < _THRESHOLD * between_s else between_s / 2 for gap in (to_start, to_end))
    return grown * (sampled_s + edges) / sampled_s


def _rate(samples: Samples, begin: float, end: float) -> float | None:
    grown = _increase(samples, begin, end)
    return None if grown is None else grown / (end - begin)


def _over(fold: Callable[[Sequence[float]], float]) -> Callable[[Samples, float, float], float | None]:
    return lambda samples, _begin, _end: fold(samples.values)


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)


def _count(values: Sequence[float]) -> float:
    return float(len(values))


_FUNCTIONS: Mapping[str, Callable[[Samples, float, float], float | None]] = {
    "rate": _rate,
    "increase": _increase,
    "avg_over_time": _over(_mean),
    "min_over_time": _over(min),
    "max_over_time": _over(max),
    "sum_over_time": _over(math.fsum),
    "count_over_time": _over(_count),
}

_FOLDS: Mapping[str, Callable[[Sequence[float]], float]] = {
    "sum": math.fsum,
    "avg": _mean,
    "min": min,
    "max": max,
    "count": _count,
}


def _aggregate(node: parser.AggregateExpr) -> Evaluate:
    fold = _FOLDS.get(str(node.op))
    if fold is None:
        raise _refused(node, f"the aggregation `{node.op}`")
    inner, group = _compile(node.expr), _grouping(node.modifier)

    def aggregate(history: History, at: float) -> Value:
        groups: dict[Labels, list[float]] = {}
        value = inner(history, at)
        for one in [] if isinstance(value, float) else value:
            groups.setdefault(group(one), []).append(one.value)
        found = []
        for labels, values in groups.items():
            name = dict(labels).get(_NAME, "")
            found.append(Element(name, tuple(pair for pair in labels if pair[0] != _NAME), fold(values)))
        return found

    return aggregate


def _grouping(modifier: parser.AggModifier | None) -> Callable[[Element], Labels]:
    if modifier is None:
        return lambda _one: ()
    named = frozenset(modifier.labels)
    if modifier.type == parser.AggModifierType.By:
        return lambda one: tuple(pair for pair in _with_name(one) if pair[0] in named)
    return lambda one: tuple(pair for pair in one.labels if pair[0] not in named)


def _with_name(one: Element) -> Labels:
    return ((_NAME, one.name), *one.labels) if one.name else one.labels


def _divided(left: float, right: float) -> float:
    if right:
        return left / right
    return math.nan if left == 0 or math.isnan(left) else math.copysign(math.inf, left) * math.copysign(1, right)


def _remainder(left: float, right: float) -> float:
    return math.nan if right == 0 or math.isinf(left) else math.fmod(left, right)


def _power(left: float, right: float) -> float:
    try:
        return math.pow(left, right)
    except ValueError:
        return math.inf if left == 0 else math.nan
    except OverflowError:
        return math.inf


_ARITHMETIC: Mapping[str, Callable[[float, float], float]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": _divided,
    "%": _remainder,
    "^": _power,
}
_COMPARISON: Mapping[str, Callable[[float, float], bool]] = {
    "==": operator.eq,
    "!=": operator.ne,
    ">": operator.gt,
    "<": operator.lt,
    ">=": operator.ge,
    "<=": operator.le,
}
Outcome = tuple[float, bool]
"""What an operator makes of two numbers, and whether a vector keeps the element."""


def _binary(node: parser.BinaryExpr) -> Evaluate:
    sign, modifier = str(node.op), node.modifier
    as_number = bool(modifier and modifier.return_bool)
    if modifier and (modifier.matching is not None or modifier.card != parser.VectorMatchCardinality.OneToOne):
        raise _refused(node, "matching other than by equal labels")
    if sign not in _ARITHMETIC and sign not in _COMPARISON:
        raise _refused(node, f"the operator `{sign}`")
    left, right = _compile(node.lhs), _compile(node.rhs)
    filters = sign in _COMPARISON and not as_number

    def outcome(kept: float, one: float, other: float) -> Outcome:
        if sign in _ARITHMETIC:
            return _ARITHMETIC[sign](one, other), True
        holds = _COMPARISON[sign](one, other)
        return (float(holds), True) if as_number else (kept, holds)

    def combine(history: History, at: float) -> Value:
        one, other = left(history, at), right(history, at)
        if isinstance(one, float) and isinstance(other, float):
            return outcome(one, one, other)[0]
        if isinstance(other, float):
            return _kept(((each, outcome(each.value, each.value, other)) for each in _vector(one)), filters)
        if isinstance(one, float):
            return _kept(((each, outcome(each.value, one, each.value)) for each in other), filters)
        partners = _by_labels(node, other)
        pairs = (
            (each, partners[each.labels].value) for each in _by_labels(node, one).values() if each.labels in partners
        )
        return _kept(((each, outcome(each.value, each.value, value)) for each, value in pairs), filters)

    return combine


def _vector(value: Value) -> Vector:
    return [] if isinstance(value, float) else value


def _kept(results: Iterable[tuple[Element, Outcome]], filters: bool) -> Vector:
    """Elements that stay, with their names only where nothing was computed."""
    return [Element(one.name if filters else "", one.labels, value) for one, (value, stays) in results if stays]


def _by_labels(node: object, vector: Vector) -> Mapping[Labels, Element]:
    return {one.labels: one for one in _distinct(node, vector)}


def _distinct(node: object, vector: Vector) -> Vector:
    """The vector itself.

    Raises:
        InvalidInput: two of its elements have equal labels, so that nobody can tell them apart without their names.
    """
    if len({one.labels for one in vector}) < len(vector):
        raise InvalidInput(
            f"`{node}`: two series have equal labels there", hint="select one name, or aggregate the others"
        )
    return vector


_BUILDERS: Mapping[type, Callable[..., Evaluate]] = {
    parser.NumberLiteral: _number,
    parser.ParenExpr: _paren,
    parser.UnaryExpr: _unary,
    parser.VectorSelector: _selector,
    parser.Call: _call,
    parser.AggregateExpr: _aggregate,
    parser.BinaryExpr: _binary,
}
