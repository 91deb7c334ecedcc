"""Templates are evaluated as OpenStack Heat evaluates them; where they are not, that is on purpose and told.

Heat's own package is installed into an environment of its own (`heat_oracle.py`); without one the tests are skipped.
"""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.oracle.heat_cases import PARAMETERS, VERSIONS, corpus_cases, snippet, written_cases
from tests.oracle.heat_oracle import Heat
from tests.oracle.our_answers import Ours

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]
Case = dict[str, Any]

UNKNOWN = "was not provided."
"""Of parameters that a template uses and does not declare; Heat finds them when the value is used."""
ON_PURPOSE = {
    # More is told, and earlier: Heat finds these when the value is used, or never.
    '{"if": ["t", {"get_param": "text"}, {"get_param": "nothing"}]}': "parameters in branches that are not taken",
    "conditions: {c: {not: c}}": "a condition that needs itself",
    "conditions: {c: {equals: [{get_param: p}, 1]}}": "unknown parameters in conditions",
    "resources: {a: {type: T, properties: {p: {get_param: q}}}}": "unknown parameters",
    "parameters: {OS::stack_name: {type: string, default: x}}": "names that are taken",
    "outputs: {o: {value: 1, other: 2}}": "keys that mean nothing",
    "outputs: {o: {value: {get_resource: c}}}": "references of outputs",
    "outputs: {o: {value: {get_param: nothing}}}": "parameters of outputs",
    "outputs: {o: {value: {Ref: a}}}": "references of outputs",
    "outputs: {o: {value: {get_file: x}}}": "files of outputs",
    '[{"type": "number", "default": "x"}, 5]': "a default of another type, though it is not used",
    # Heat's own accidents.
    '{"get_attr": "r"}': "a text is no list, though the name of a resource be one letter long",
    '[{"type": "string", "constraints": [{"length": {"min": 2, "max": 4}}]}, 55]': "numbers have a length as texts",
    '[{"type": "string", "hidden": "false"}, "x"]': "`hidden` is a boolean, however it is written",
    "resources: {1: {type: T}}": "a name that is a number is a text",
    # What JSON cannot say.
    '{"yaql": {"expression": "set(1, 2)"}}': "sets are lists",
}


def name_of(case: Case) -> str:
    """How a case is called in the table of what is on purpose."""
    if case["kind"] == "parameter":
        return json.dumps([case["declaration"], case["given"]])
    return json.dumps(case["snippet"]) if case["kind"] == "snippet" else case["text"].partition("\n")[2][:500]


def difference(heat: Heat, ours: Ours, case: Case) -> str:
    """What Heat and this project say differently; empty when they agree."""
    theirs, mine = heat.answer(case), ours.answer(case)
    if theirs.keys() & {"value"} == mine.keys() & {"value"} and theirs.get("value") == mine.get("value"):
        return ""
    return f"{case['version']} {name_of(case)}\n  Heat: {theirs}\n  ours: {mine}"


def test_what_is_written_down_is_answered_as_by_heat(heat: Heat, ours: Ours) -> None:
    told = {name_of(case): difference(heat, ours, case) for case in written_cases()}
    found = [text for name, text in told.items() if text and name not in ON_PURPOSE]
    assert not found, "\n".join(found)


def test_what_differs_on_purpose_differs(heat: Heat, ours: Ours) -> None:
    differing = {
        name_of(case) for case in written_cases() if name_of(case) in ON_PURPOSE and difference(heat, ours, case)
    }
    assert differing == set(ON_PURPOSE)


def test_published_templates_are_answered_as_by_heat(heat: Heat, ours: Ours) -> None:
    cases = list(corpus_cases())
    if not cases:
        pytest.skip("no corpus of templates; set SONATA_HOT_CORPUS")
    found = [text for case in cases if (text := difference(heat, ours, case)) and UNKNOWN not in text]
    assert not found, "\n".join(found)


TEXTS = st.sampled_from(["", "a", "b", "ab", "a,b", "%p%", "$x", "x y", "1", "hello"])
PLAIN = st.one_of(st.none(), st.booleans(), st.integers(-2, 3), TEXTS)
STEPS = st.lists(st.sampled_from(["x", "y", "a", "k", "list", "text", 0, 1, "1"]), max_size=3)
REFERENCES = st.one_of(
    st.sampled_from(list(PARAMETERS)).map(lambda name: {"get_param": name}),
    st.tuples(st.sampled_from(["map", "list"]), STEPS).map(lambda path: {"get_param": [path[0], *path[1]]}),
    st.tuples(st.sampled_from(["r", "s"]), STEPS).map(lambda path: {"get_attr": [path[0], *path[1]]}),
)


def calls(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Calls of functions with arguments that are now and then of the wrong kind."""
    values = st.one_of(inner, PLAIN)
    lists = st.one_of(st.lists(values, max_size=3), values)
    maps = st.one_of(st.dictionaries(TEXTS, values, max_size=2), values)
    replacing = st.fixed_dictionaries({"template": values, "params": maps})
    condition = st.one_of(st.sampled_from(["t", "f", "same", "other", "both", "nothing", True]), values)
    branches = st.tuples(condition, values, values).map(list)
    arguments = {
        "str_replace": replacing,
        "str_replace_strict": replacing,
        "str_replace_vstrict": replacing,
        "list_join": st.lists(lists, min_size=1, max_size=3).flatmap(lambda some: TEXTS.map(lambda by: [by, *some])),
        "str_split": st.lists(values, min_size=1, max_size=3),
        "map_merge": st.lists(maps, max_size=3),
        "map_replace": st.tuples(maps, st.fixed_dictionaries({}, optional={"keys": maps, "values": maps})).map(list),
        "repeat": st.fixed_dictionaries(
            {
                "for_each": st.dictionaries(st.sampled_from(["%p%", "a"]), lists, min_size=1, max_size=2),
                "template": values,
            },
            optional={"permutations": st.booleans()},
        ),
        "digest": st.tuples(st.sampled_from(["md5", "sha256", "none"]), values).map(list),
        "filter": st.tuples(lists, lists).map(list),
        "list_concat": st.lists(lists, max_size=3),
        "list_concat_unique": st.lists(lists, max_size=3),
        "contains": st.tuples(values, lists).map(list),
        "make_url": st.dictionaries(
            st.sampled_from(["scheme", "host", "port", "path", "query", "fragment", "username"]), values, max_size=4
        ),
        "if": branches,
        "Fn::Select": st.tuples(values, lists).map(list),
        "Fn::Join": st.tuples(TEXTS, lists).map(list),
    }
    return st.one_of(*(made.map(lambda value, name=name: {name: value}) for name, made in arguments.items()))


SNIPPETS = st.recursive(st.one_of(PLAIN, REFERENCES), calls, max_leaves=6)


@settings(max_examples=600, derandomize=True, deadline=None, suppress_health_check=list(HealthCheck))
@given(SNIPPETS, st.sampled_from(VERSIONS))
def test_made_up_snippets_are_answered_as_by_heat(heat: Heat, ours: Ours, value: Any, version: str) -> None:
    assert not difference(heat, ours, snippet(value, version))
