"""Environments and types of resources are those of OpenStack Heat: each is asked of its own schemata.

Heat's own package is installed into an environment of its own (`heat_oracle.py`); without one the tests are skipped.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from sonata.emulator.cloud.orchestration.catalogue import HIDDEN, kinds
from sonata.emulator.cloud.orchestration.schema import Property
from tests.oracle.heat_oracle import Heat
from tests.oracle.our_answers import Ours

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]
Case = dict[str, Any]

TABLE = yaml.safe_load(Path(__file__).with_name("environments.yaml").read_text())
SAMPLES: tuple[Any, ...] = (
    "text", "", "5", "1.5", "yes", "true", "a,b", 5, 0, -1, 1.5, True, False, [], ["a"], [1], [{}], {}, {"a": 1},
    "100000", 100000,
)  # fmt: skip
"""Values that are given to every property."""


def difference(heat: Heat, ours: Ours, case: Case) -> str:
    """What Heat and this project say differently; empty when they agree. Words of errors may differ."""
    theirs, mine = (without_nulls(one.answer(case)) for one in (heat, ours))
    if theirs.keys() & {"value"} == mine.keys() & {"value"} and theirs.get("value") == mine.get("value"):
        return ""
    return f"{case}\n  Heat: {theirs}\n  ours: {mine}"


def without_nulls(answer: Any) -> Any:
    """An answer in which keys of maps without a value are left out."""
    if isinstance(answer, Mapping):
        return {key: without_nulls(value) for key, value in answer.items() if value is not None or key == "value"}
    return [without_nulls(value) for value in answer] if isinstance(answer, list) else answer


def differences(heat: Heat, ours: Ours, cases: Iterator[Case]) -> str:
    """All of them."""
    return "\n".join(filter(None, (difference(heat, ours, case) for case in cases)))


def test_environments_of_requests(heat: Heat, ours: Ours) -> None:
    cases = ({"kind": "environment", "declared": TABLE["declared"], "body": body} for body in TABLE["requests"])
    assert not differences(heat, ours, cases)


def test_environments_of_updates_with_what_is_there(heat: Heat, ours: Ours) -> None:
    base = {"kind": "existing", "declared": TABLE["declared"], "old": TABLE["existing"]["old"]}
    assert not differences(heat, ours, ({**base, "body": body} for body in TABLE["existing"]["bodies"]))


def test_types_that_stand_for_others(heat: Heat, ours: Ours) -> None:
    cases = (
        {"kind": "mapping", "registry": one["registry"], "resource": "r", "type": kind}
        for one in TABLE["mappings"]
        for kind in one["types"]
    )
    assert not differences(heat, ours, cases)


def test_hooks_restrictions_and_environments_of_nested_stacks(heat: Heat, ours: Ours) -> None:
    cases = (
        {"kind": "nested", "registry": one["registry"], "name": name}
        for one in TABLE["nested"]
        for name in one["names"]
    )
    assert not differences(heat, ours, cases)


def test_every_type_is_offered_or_refused_with_a_reason(heat: Heat, ours: Ours) -> None:
    assert not difference(heat, ours, {"kind": "types"})


@pytest.mark.parametrize("name", sorted(set(kinds()) - HIDDEN))
def test_the_schema_of_a_type_is_that_of_heat(heat: Heat, ours: Ours, name: str) -> None:
    """What a property is, which values it may have, and whether a change of it replaces the resource."""
    assert not difference(heat, ours, {"kind": "type", "type": name})


@pytest.mark.parametrize("name", sorted(set(kinds()) - HIDDEN))
def test_values_of_properties_are_taken_as_by_heat(heat: Heat, ours: Ours, name: str) -> None:
    cases = (
        {"kind": "property", "type": name, "name": key, "value": value}
        for key, one in kinds()[name].properties.items()
        if not one.same_as and not needs_a_cloud(one)
        for value in SAMPLES
    )
    assert not differences(heat, ours, cases)


OTHERWISE = {
    "OS::Heat::Stack.context": "there is one region, and a context is refused",
    "OS::Nova::Server.networks": "other networks make another server here",
    "OS::Nova::Server.admin_pass": "another password makes another server here",
}


@pytest.mark.parametrize("name", sorted(set(kinds()) - HIDDEN))
def test_a_change_of_a_property_does_what_it_does_in_heat(heat: Heat, ours: Ours, name: str) -> None:
    """In place, by another resource, or not at all."""
    properties = {key: one for key, one in kinds()[name].properties.items() if not one.same_as}
    needed = {key: pair(one)[0] for key, one in properties.items() if one.required}
    cases = {
        f"{name}.{key}": {
            "kind": "change",
            "type": name,
            "before": {**needed, key: pair(one)[0]},
            "after": {**needed, key: pair(one)[1]},
        }
        for key, one in properties.items()
    }
    told = {key: difference(heat, ours, case) for key, case in cases.items()}
    assert {key for key, text in told.items() if text} == OTHERWISE.keys() & told.keys(), "\n".join(told.values())


def pair(one: Property) -> tuple[Any, Any]:
    """Two different values of a property."""
    if one.kind == "list":
        plain = Property("string", allowed=one.allowed)
        first, second = pair(plain if one.allowed else one.items or plain)
        return [first], [second]
    if one.allowed:
        return one.allowed[0], one.allowed[-1]
    if one.kind == "map":
        inner = {key: pair(part)[0] for key, part in one.keys.items() if part.required and not part.same_as}
        more = {key: pair(part)[1] for key, part in one.keys.items() if not part.same_as} or {"a": "b"}
        return inner, more
    if one.kind in ("integer", "number"):
        low = int(one.low or 0)
        return low, low + 1
    return (True, False) if one.kind == "boolean" else ("some-text", "other-text")


def needs_a_cloud(one: Property) -> bool:
    """Whether only a cloud can check a value."""
    inner: Mapping[str, Property] = {**one.keys, **({"*": one.items} if one.items else {})}
    return bool(one.custom) or any(map(needs_a_cloud, inner.values()))
