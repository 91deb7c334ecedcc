"""Reader of scenario files; chance is resolved here, so that the same file and seed are always the same steps.

Codes: SCEN-0001 to -0004 structure (see `diagnostics`), -0010 none or several things at once, -0011 a key of something
else, -0012 a key is missing, -0013 it cannot be undone, -0014 repeated at one time, -0015 times in the wrong order.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from random import Random
from typing import Any

from pydantic import ValidationError

from sonata.errors import Diagnostic
from sonata.formats.diagnostics import from_validation_error
from sonata.formats.findings import Finding, raise_errors
from sonata.formats.scenario_document import ChangesDocument, EventDocument, OneOf, ScenarioDocument
from sonata.formats.topology import FIELDS
from sonata.formats.yaml_nodes import YamlDocument, parse_yaml, read_yaml
from sonata.model.scenario import Action, Scenario, Step

_KEYS: Mapping[Action, tuple[frozenset[str], frozenset[str]]] = {
    "link": (frozenset(), frozenset({"set_", "up", "from_"})),
    "pop": (frozenset({"up"}), frozenset()),
    "crash": (frozenset(), frozenset()),
    "hog": (frozenset(), frozenset({"cpus", "memory"})),
    "move": (frozenset({"to"}), frozenset()),
    "run": (frozenset({"command"}), frozenset()),
}
"""Keys that each action needs, and those that it may have besides."""
_OWN_KEYS = frozenset().union(*(needed | allowed for needed, allowed in _KEYS.values()))
_ONE_OF = {"link": ("set_", "up"), "hog": ("cpus", "memory")}
"""Of these an action needs at least one."""
_FOR_EVER = frozenset({"crash", "run"})
"""What cannot be undone."""


def read_scenario(path: Path, seed: int | None = None) -> Scenario:
    """Read a scenario file.

    Args:
        path: the file.
        seed: instead of the file's own.

    Raises:
        NotFound: there is no such file.
        InvalidInput: with all findings.
    """
    return _resolved(read_yaml(path), seed)


def parse_scenario(text: str | bytes, file: str = "scenario.yaml", seed: int | None = None) -> Scenario:
    """Read a scenario from text; `file` is the name for diagnostics.

    Raises:
        InvalidInput: with all findings.
    """
    return _resolved(parse_yaml(text, file), seed)


def _resolved(document: YamlDocument, seed: int | None) -> Scenario:
    try:
        parsed = ScenarioDocument.model_validate(document.data)
    except ValidationError as error:
        raise_errors("scenario", from_validation_error(error, document, ScenarioDocument, "SCEN"))
        raise
    raise_errors(f"scenario `{parsed.name}`", _flaws(parsed, document))
    seed = parsed.seed if seed is None else seed
    chance = Random(seed)  # noqa: S311  # nosec B311  # the same seed is to give the same steps
    steps = [step for event in parsed.events for step in _steps(event, chance)]
    return Scenario(parsed.name, tuple(sorted(steps, key=lambda step: step.at_s)), seed)


def _flaws(parsed: ScenarioDocument, document: YamlDocument) -> list[Diagnostic]:
    return [
        Finding(code, ("events", number, *path), summary, hint).locate(document)
        for number, event in enumerate(parsed.events)
        for code, path, summary, hint in _event_flaws(event)
    ]


def _event_flaws(event: EventDocument) -> Iterator[tuple[str, tuple[str, ...], str, str]]:
    actions = _actions(event)
    if len(actions) != 1:
        told = f"`{'` and `'.join(actions)}` are given at once" if actions else "nothing is to happen"
        yield "SCEN-0010", (), told, f"give one of {', '.join(_KEYS)}"
        return
    (action,) = actions
    given = event.model_fields_set & _OWN_KEYS
    needed, allowed = _KEYS[action]
    for key in sorted(given - needed - allowed):
        yield "SCEN-0011", (_written(key),), f"`{_written(key)}` does not belong to `{action}`", ""
    for key in sorted(needed - given):
        yield "SCEN-0012", (action,), f"`{action}` needs `{_written(key)}`", ""
    if action in _ONE_OF and not given & set(_ONE_OF[action]):
        choice = " or ".join(f"`{_written(key)}`" for key in _ONE_OF[action])
        yield "SCEN-0012", (action,), f"`{action}` needs {choice}", ""
    if event.for_ is not None and action in _FOR_EVER:
        yield "SCEN-0013", ("for",), f"`{action}` cannot be undone", "leave `for` out"
    begin, end = event.at
    if end < begin:
        yield "SCEN-0015", ("at",), "the second time is before the first", ""
    if event.times > 1 and event.every is None and begin == end:
        yield "SCEN-0014", ("times",), "it would happen several times at once", "give `every`, or two times in `at`"


def _actions(event: EventDocument) -> list[Action]:
    return [action for action in _KEYS if getattr(event, action) is not None]


def _written(key: str) -> str:
    return key.rstrip("_")


def _steps(event: EventDocument, chance: Random) -> Iterator[Step]:
    (action,) = _actions(event)
    begin, end = event.at
    for number in range(event.times):
        at_s = chance.uniform(begin, end) + number * (event.every or 0.0)
        yield Step(
            at_s=at_s,
            action=action,
            target=_chosen(getattr(event, action), chance),
            for_s=event.for_,
            changes=_changes(event.set_),
            origin=event.from_ or "",
            up=event.up,
            cpus=event.cpus or 0.0,
            memory_bytes=event.memory or 0,
            to=_chosen(event.to, chance) if event.to is not None else "",
            command=tuple(event.command),
        )


def _chosen(value: Any, chance: Random) -> str:
    """One of several; two ends of a link become one text."""
    if isinstance(value, OneOf):
        return chance.choice(value.one_of)
    return "|".join(value) if isinstance(value, list) else str(value)


def _changes(given: ChangesDocument | None) -> dict[str, float | None]:
    if given is None:
        return {}
    values = {key: getattr(given, key) for key in FIELDS if key in given.model_fields_set}
    return {FIELDS[key]: None if value == "none" else value for key, value in values.items()}
