"""HOT templates: parsing with all findings, parameters, conditions, functions, environments, dependencies."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sonata.errors import InvalidInput
from sonata.formats.hot import functions as fn
from sonata.formats.hot.environment import read_environment
from sonata.formats.hot.errors import (
    CircularDependency,
    InvalidTemplateVersion,
    ResourceTypeUnavailable,
    StackValidationFailed,
)
from sonata.formats.hot.graph import dependants, dependencies
from sonata.formats.hot.parameters import declared, shown
from sonata.formats.hot.resolver import Resolver
from sonata.formats.hot.template import read_template
from sonata.formats.hot.versions import FUNCTIONS

NEWEST = "2021-04-16"


class World:
    """A scope with one parameter, one resource, one file, one condition."""

    def parameter(self, name: str) -> Any:
        """The parameters."""
        known = {"p": {"a": [1, {"b": 2}]}, "text": "hello", "OS::stack_name": "s"}
        if name not in known:
            raise StackValidationFailed(f"The Parameter ({name}) was not provided.")
        return known[name]

    def reference(self, resource: str) -> Any:
        """Ids are made of names."""
        return f"id-of-{resource}"

    def attribute(self, resource: str, name: str, path: tuple[str, ...]) -> Any:
        """Attributes are told with their path."""
        return fn.select({"x": {"y": [10, 11]}}, (name, *path), None) if name else {"all": resource}

    def file(self, name: str) -> str:
        """Files hold their names."""
        return f"<{name}>"

    def condition(self, name: str) -> bool:
        """One of two."""
        return name == "yes"

    def query(self, expression: str, data: Any) -> Any:
        """Queries are told as they are asked."""
        return [expression, data]

    def facade(self, what: str) -> Any:
        """What was asked."""
        return what


def resolve(snippet: Any, version: str = NEWEST) -> Any:
    return Resolver(version, World()).resolve(snippet)


@pytest.mark.parametrize(
    ("snippet", "value"),
    [
        ({"get_param": "text"}, "hello"),
        ({"get_param": ["p", "a", 1, "b"]}, 2),
        ({"get_param": ["p", "nothing"]}, ""),
        ({"get_resource": "r"}, "id-of-r"),
        ({"get_attr": ["r", "x", "y", 1]}, 11),
        ({"get_attr": ["r", "x", "z"]}, None),
        ({"get_attr": ["r"]}, {"all": "r"}),
        ({"get_file": "f"}, "<f>"),
        ({"resource_facade": "metadata"}, "metadata"),
        ({"str_replace": {"template": "$a $ab", "params": {"$a": "$ab", "$ab": 1}}}, "$ab 1"),
        ({"str_replace": {"template": "x", "params": {"x": {"k": [1]}}}}, '{"k": [1]}'),
        ({"list_join": [", ", ["a", {"k": 1}], ["b"]]}, 'a, {"k": 1}, b'),
        ({"str_split": [",", "a,b"]}, ["a", "b"]),
        ({"str_split": [",", "a,b", 1]}, "b"),
        ({"map_merge": [{"a": 1}, {"a": 2, "b": 3}]}, {"a": 2, "b": 3}),
        ({"map_replace": [{"k": "v"}, {"keys": {"k": "K"}, "values": {"v": "V"}}]}, {"K": "V"}),
        (
            {"repeat": {"for_each": {"%p%": ["80", "81"]}, "template": {"port-%p%": "%p%"}}},
            [{"port-80": "80"}, {"port-81": "81"}],
        ),
        ({"filter": [["a"], ["a", "b"]]}, ["b"]),
        ({"list_concat": [[1], [2, 1]]}, [1, 2, 1]),
        ({"list_concat_unique": [[1], [2, 1]]}, [1, 2]),
        ({"contains": ["a", ["a", "b"]]}, True),
        ({"digest": ["sha256", "x"]}, "2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881"),
        (
            {"make_url": {"scheme": "http", "host": "::1", "port": 80, "path": "/a b", "query": {"q": "1"}}},
            "http://[::1]:80/a%20b?q=1",
        ),
        ({"yaql": {"expression": "$.data", "data": [1, 2]}}, ["$.data", [1, 2]]),
        ({"if": ["yes", "a", "b"]}, "a"),
        ({"if": [{"not": "yes"}, "a", "b"]}, "b"),
        ({"if": [{"and": ["yes", {"equals": [{"get_param": "text"}, "hello"]}]}, 1, 2]}, 1),
        ({"k": {"if": ["no", 1]}, "l": [1, {"if": ["no", 2]}]}, {"l": [1]}),
        ({"get_param": "text", "more": 1}, {"get_param": "text", "more": 1}),
    ],
)
def test_functions(snippet: Any, value: Any) -> None:
    assert resolve(snippet) == value


@pytest.mark.parametrize(
    "snippet",
    [
        {"get_param": "nothing"},
        {"get_attr": []},
        {"list_join": ["a"]},
        {"str_split": [",", "a", 5]},
        {"digest": ["crc", "x"]},
        {"str_replace_strict": {"template": "x", "params": {"y": "z"}}},
        {"str_replace_vstrict": {"template": "x", "params": {"x": ""}}},
        {"map_replace": [{"a": 1, "b": 2}, {"keys": {"a": "b"}}]},
        {"repeat": {"for_each": {"%a%": [1], "%b%": [1, 2]}, "template": "t", "permutations": False}},
        {"repeat": {"for_each": {"%a%": list(range(200)), "%b%": list(range(200))}, "template": "t"}},
        {"yaql": {"expression": 5, "data": 1}},
        {"list_join": [", ", ["a", 1]]},
        {"make_url": {"host": "h", "port": 99999}},
        {"Fn::Join": ["", []]},
    ],
)
def test_functions_refuse_what_they_cannot_work_with(snippet: Any) -> None:
    with pytest.raises(InvalidInput):
        resolve(snippet)


def _nested(levels: int, wrap: Any, inner: Any) -> Any:
    for _ in range(levels):
        inner = wrap(inner)
    return inner


@pytest.mark.parametrize(
    "snippet",
    [
        _nested(30, lambda text: {"str_replace": {"template": "$a$a", "params": {"$a": text}}}, "xx"),
        _nested(3, lambda text: {"list_join": ["x" * 9, [text] * 50]}, "xx"),
        _nested(3, lambda text: {"repeat": {"for_each": {"$a": ["x"] * 120}, "template": text}}, "$a"),
        {"list_concat": [_nested(9, lambda items: {"list_concat": [items, items]}, ["x" * 64] * 99)] * 9},
        {"repeat": {"for_each": {"$a": ["x" * 9999]}, "template": "$a" * 9999}},
        {"list_concat_unique": [[[number] for number in range(20_000)]]},
    ],
)
def test_no_template_grows_without_bounds(snippet: Any) -> None:
    with pytest.raises(InvalidInput):
        resolve(snippet)


def test_each_version_knows_its_own_functions() -> None:
    assert resolve({"Fn::Base64": "x"}, "2013-05-23") == "x"
    assert resolve({"yaql": {"expression": "1", "data": 1}}, "2016-04-08") == {"yaql": {"expression": "1", "data": 1}}
    with pytest.raises(StackValidationFailed):
        resolve({"if": ["no", 1]}, "2018-08-31")


@given(st.text(max_size=40), st.dictionaries(st.text(min_size=1, max_size=3), st.text(max_size=5), max_size=4))
def test_replacing_by_itself_changes_nothing(text: str, others: dict[str, str]) -> None:
    assert fn.str_replace({"template": text, "params": {key: key for key in others}}) == text
    foreign = {key: value for key, value in others.items() if key not in text}
    assert fn.str_replace({"template": text, "params": foreign}) == text


@given(st.lists(st.text(alphabet="abc", max_size=4), min_size=1, max_size=6))
def test_joining_undoes_splitting(parts: list[str]) -> None:
    assert fn.str_split([",", fn.list_join([",", parts])]) == parts


@given(st.lists(st.dictionaries(st.sampled_from("abc"), st.integers()), max_size=4))
def test_the_last_map_wins(maps: list[dict[str, int]]) -> None:
    merged = fn.map_merge(maps)
    assert all(merged[key] == next(one[key] for one in reversed(maps) if key in one) for key in merged)
    assert merged.keys() == {key for one in maps for key in one}


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=12,
)


@settings(max_examples=60, deadline=None)
@given(JSON, st.sampled_from(sorted(FUNCTIONS["2021-04-16"])))
def test_whatever_the_arguments_the_answer_is_a_value_or_a_refusal(argument: Any, name: str) -> None:
    with contextlib.suppress(InvalidInput):
        resolve({name: argument})


@given(st.dictionaries(st.sampled_from("abcdef"), st.sets(st.sampled_from("abcdef")), max_size=6))
def test_a_graph_is_acyclic_or_its_circle_is_told(needs: dict[str, set[str]]) -> None:
    snippets = {name: [{"get_resource": one} for one in wanted] for name, wanted in needs.items()}
    try:
        graph = dependencies(snippets, {})
    except CircularDependency:
        assert any(needs.values())
        return
    back = dependants(graph)
    assert all(name in back[one] for name, wanted in graph.items() for one in wanted)


BROKEN = """heat_template_version: rocky
resorces: {}
parameters:
  size: {type: numbr}
resources:
  a:
    type: OS::Heat::Value
    properties: {value: {get_resource: b}}
  c: {type: OS::Heat::Value, propertis: {value: {get_param: nothing}}}
outputs:
  o: {description: no value}
"""


def test_all_findings_come_at_once_with_their_places() -> None:
    with pytest.raises(StackValidationFailed) as caught:
        read_template(BROKEN, "t.yaml")
    told = [(one.line, one.summary) for one in caught.value.diagnostics]
    assert [line for line, _ in told] == [2, 4, 9, 11, 6, 9]
    text = " ".join(summary for _, summary in told)
    for word in ("resorces", "numbr", "propertis", '"b"', "nothing", "value key"):
        assert word in text


@pytest.mark.parametrize(
    "version", ["heat_template_version: 2099-01-01", "AWSTemplateFormatVersion: 2010-09-09", "description: none"]
)
def test_versions_that_are_not_known(version: str) -> None:
    with pytest.raises(InvalidTemplateVersion):
        read_template(version + "\nresources: {}\n")


@pytest.mark.parametrize(
    ("document", "given_value", "value"),
    [
        ({"type": "number"}, "3", 3),
        ({"type": "number"}, "3.5", 3.5),
        ({"type": "boolean"}, "yes", True),
        ({"type": "comma_delimited_list"}, "a, b", ["a", " b"]),
        ({"type": "json"}, '{"a": 1}', {"a": 1}),
        ({"type": "string", "constraints": [{"length": {"max": 3}}, {"allowed_pattern": "[a-c]+"}]}, "abc", "abc"),
        ({"type": "number", "constraints": [{"modulo": {"step": 2, "offset": 1}}]}, 5, 5),
    ],
)
def test_parameters_take_values_of_their_type(document: dict[str, Any], given_value: Any, value: Any) -> None:
    assert declared("p", document).value(given_value) == value


@pytest.mark.parametrize(
    ("document", "wrong"),
    [
        ({"type": "number"}, "x"),
        ({"type": "boolean"}, "perhaps"),
        ({"type": "json"}, "{"),
        ({"type": "string", "constraints": [{"allowed_values": ["a"]}]}, "b"),
        ({"type": "number", "constraints": [{"range": {"min": 1, "max": 2}}]}, 3),
        ({"type": "number", "constraints": [{"modulo": {"step": 2, "offset": 1}}]}, 4),
    ],
)
def test_parameters_refuse_other_values(document: dict[str, Any], wrong: Any) -> None:
    with pytest.raises(StackValidationFailed, match="Parameter 'p' is invalid"):
        declared("p", document).value(wrong)


def test_hidden_parameters_are_not_shown() -> None:
    assert shown(declared("p", {"type": "string", "hidden": "true"}), "secret") == "******"
    assert json.loads(shown(declared("p", {"type": "json"}), {"a": 1})) == {"a": 1}


def known(kind: str) -> bool:
    return kind.startswith("OS::")


def test_environments_merge_in_their_order() -> None:
    files = {
        "a.yaml": "parameters: {x: 1, l: [1]}\nresource_registry: {'My::*': 'OS::*'}\n"
        "parameter_merge_strategies: {l: merge}",
        "b.yaml": "parameters: {x: 2, l: [2]}\nparameter_merge_strategies: {l: merge}",
    }
    kinds = {"x": "number", "l": "comma_delimited_list"}
    given = {"parameters": {"x": 3, "z": 3}, "parameter_defaults": {"y": 3}}
    read = read_environment(given, files, ["a.yaml", "b.yaml"], kinds)
    assert (read.parameters, read.defaults) == ({"x": 2, "z": 3, "l": [1, 2]}, {"y": 3})
    assert read.mapped("r", "My::Nova::Server", known) == "OS::Nova::Server"
    assert read.mapped("r", "OS::Nova::Server", known) == "OS::Nova::Server"


def test_an_environment_is_laid_over_another() -> None:
    old = {"parameters": {"a": 1}, "resource_registry": {"A::B": "OS::B", "resources": {"r": {"A::C": "OS::C"}}}}
    new = {"parameters": {"b": 2}, "resource_registry": {"A::B": None, "resources": {"r": {"hooks": "pre-update"}}}}
    read = read_environment(new, {}, existing=old)
    assert read.parameters == {"a": 1, "b": 2}
    assert read.registry == {"resources": {"r": {"A::C": "OS::C", "hooks": "pre-update"}}}


def test_hooks_and_restrictions_go_by_patterns_and_down_to_nested_stacks() -> None:
    resources = {"web*": {"hooks": "pre-create", "inner": {"restricted_actions": ["replace"]}}, "db": {}}
    read = read_environment({"resource_registry": {"resources": resources}}, {})
    assert (read.hooks("web1"), read.hooks("db")) == ({"pre-create"}, frozenset())
    nested = read_environment(read.child("web1", None, {}), {})
    assert (nested.restricted("inner"), nested.restricted("web1")) == ({"replace"}, frozenset())


def test_sinks_and_unknown_words_are_refused() -> None:
    with pytest.raises(StackValidationFailed, match="acceptable hook types"):
        read_environment({"resource_registry": {"resources": {"r": {"hooks": "never"}}}}, {})
    with pytest.raises(ResourceTypeUnavailable, match="zaqar"):
        read_environment({"event_sinks": [{"type": "zaqar-queue"}]}, {})
    with pytest.raises(StackValidationFailed, match="kafka"):
        read_environment({"event_sinks": [{"type": "kafka"}]}, {})
    with pytest.raises(StackValidationFailed):
        read_environment({"paramters": {}}, {})
