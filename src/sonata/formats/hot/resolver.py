"""Resolving what is written in a template: functions become their values, everything else stays as it is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import field
from typing import Any, Protocol

from sonata._lib.values import dataclass
from sonata.formats.hot import functions as fn
from sonata.formats.hot.errors import InvalidTemplateReference, StackValidationFailed
from sonata.formats.hot.versions import ALL_FUNCTIONS, FUNCTIONS, condition_functions
from sonata.formats.yaml_nodes import DocumentPath

Snippet = Any


class Scope(Protocol):
    """Where functions find what is not among their arguments."""

    def parameter(self, name: str) -> Any:
        """The value of a parameter or pseudo parameter; raises InvalidInput when there is none."""

    def reference(self, resource: str) -> Any:
        """What `get_resource` of a resource is."""

    def attribute(self, resource: str, name: str, path: tuple[Any, ...]) -> Any:
        """An attribute of a resource and what a path leads to in it; all attributes in a map when the name is empty."""

    def query(self, expression: str, data: Any) -> Any:
        """What a YAQL expression finds in data; raises ValueError when it cannot be evaluated."""

    def file(self, name: str) -> str:
        """The content of a file given with the template."""

    def condition(self, name: str) -> bool:
        """The value of a named condition."""

    def facade(self, what: str) -> Any:
        """`metadata`, `deletion_policy` or `update_policy` of the resource that stands for this stack in its parent."""


class Allowance:
    """How much all functions of one evaluation may do together, so that no template takes the time of others."""

    def __init__(self, effort: int = fn.LARGEST) -> None:
        self._left = effort

    def spend(self, effort: int) -> None:
        """Count what a function has done.

        Raises:
            ValueError: nothing is left.
        """
        self._left -= effort
        if self._left < 0:
            raise ValueError("the functions of this template do more than one evaluation may")


@dataclass(frozen=True, slots=True)
class Resolver:
    """Resolves snippets of templates of one version in one scope."""

    version: str
    scope: Scope
    allowance: Allowance = field(default_factory=lambda: Allowance())
    _bound: dict[str, Callable[[Any], Any]] = field(default_factory=dict)

    def resolve(self, snippet: Snippet, path: DocumentPath = ()) -> Any:
        """The value of a snippet.

        Raises:
            InvalidInput: a function cannot work with its arguments, or refers to something that is not there.
        """
        if isinstance(snippet, Mapping):
            if name := function_name(snippet, self.version):
                return self._call(name, snippet[name], (*path, name))
            values = {key: self.resolve(one, (*path, key)) for key, one in snippet.items()}
            return {key: one for key, one in values.items() if one is not fn.OMITTED}
        if isinstance(snippet, list | tuple):
            items = [self.resolve(one, (*path, index)) for index, one in enumerate(snippet)]
            return [one for one in items if one is not fn.OMITTED]
        return snippet

    def truth(self, snippet: Snippet, path: DocumentPath = ()) -> bool:
        """The value of a condition: true or false, the name of a condition, or a function; nothing counts as true.

        Raises:
            InvalidInput: it is none of these.
        """
        if isinstance(snippet, bool | None):
            return snippet is not False
        if isinstance(snippet, str):
            return self.scope.condition(snippet)
        if isinstance(snippet, Mapping) and len(snippet) == 1:
            ((name, argument),) = snippet.items()
            if name in condition_functions(self.version):
                return self._logic(name, argument, (*path, name))
        raise StackValidationFailed(f"Invalid condition: {snippet!r}")

    def chosen(self, snippet: Snippet, path: DocumentPath = ()) -> Snippet:
        """A snippet as it is written, with each `if` replaced by what its condition chooses.

        Raises:
            InvalidInput: an `if` cannot work with its arguments.
        """
        if isinstance(snippet, Mapping):
            if function_name(snippet, self.version) == "if":
                return self._branch(snippet["if"], (*path, "if"), self.chosen)
            values = {key: self.chosen(one, (*path, key)) for key, one in snippet.items()}
            return {key: one for key, one in values.items() if one is not fn.OMITTED}
        if isinstance(snippet, list | tuple):
            items = [self.chosen(one, (*path, index)) for index, one in enumerate(snippet)]
            return [one for one in items if one is not fn.OMITTED]
        return snippet

    def _logic(self, name: str, argument: Any, path: DocumentPath) -> bool:
        if name == "not":
            return not self.truth(argument, path)
        if name in ("and", "or"):
            if not isinstance(argument, list) or len(argument) < 2:
                raise StackValidationFailed(f'Arguments to "{name}" must be a list of at least two conditions')
            return (all if name == "and" else any)([self.truth(one, path) for one in argument])
        found = self._call(name, argument, path)
        if not isinstance(found, bool):
            raise StackValidationFailed(f"The condition `{name}` gives {found!r}, which is neither true nor false")
        return found

    def _call(self, name: str, argument: Any, path: DocumentPath) -> Any:
        try:
            if name == "if":
                return self._branch(argument, path, self.resolve)
            found = self._table()[name](self.resolve(argument, path))
            self.allowance.spend(fn.effort(found))
            return found
        except (ValueError, TypeError, OverflowError, RecursionError) as error:
            raise StackValidationFailed(f"{_dotted(path)}: {error}") from error

    def _table(self) -> dict[str, Callable[[Any], Any]]:
        if not self._bound:
            self._bound.update(_pure(self.version))
            self._bound.update(
                {
                    "get_param": self._get_param,
                    "get_attr": self._get_attr,
                    "get_resource": lambda value: self.scope.reference(_text("get_resource", value)),
                    "get_file": lambda value: self.scope.file(_text("get_file", value)),
                    "resource_facade": lambda value: self.scope.facade(_text("resource_facade", value)),
                    "Ref": lambda value: self._ref(_text("Ref", value)),
                    "yaql": lambda value: self.scope.query(*fn.yaql_arguments(value)),
                    "Fn::ResourceFacade": lambda value: self.scope.facade(_facade_key(value)),
                    "Fn::GetAZs": _no_zones,
                }
            )
        return self._bound

    def _branch(self, argument: Any, path: DocumentPath, take: Callable[[Any, DocumentPath], Any]) -> Any:
        """What `if` chooses, taken; what it does not choose is not looked at."""
        allowed = (2, 3) if self.version >= "2021-04-16" else (3,)
        if not isinstance(argument, list) or len(argument) not in allowed:
            raise StackValidationFailed(
                f'{_dotted(path)}: Arguments to "if" must be of the form: '
                "[condition_name, value_if_true, value_if_false]"
            )
        if self.truth(argument[0], path):
            return take(argument[1], (*path, 1))
        return take(argument[2], (*path, 2)) if len(argument) == 3 else fn.OMITTED

    def _get_param(self, value: Any) -> Any:
        if not value:
            raise ValueError('Function "get_param" must have arguments')
        name, *path = value if isinstance(value, list) else [value]
        return fn.select(self.scope.parameter(_text("get_param", name)), path, "", indexes_as_text=True)

    def _get_attr(self, value: Any) -> Any:
        shortest = 1 if self.version >= "2015-10-15" else 2
        if not isinstance(value, list) or len(value) < shortest:
            raise ValueError('Arguments to "get_attr" must be of the form [resource_name, attribute, (path), ...]')
        resource, attribute, *path = [*value, ""] if len(value) == 1 else value
        return self.scope.attribute(str(resource), str(attribute), tuple(path))

    def _ref(self, name: str) -> Any:
        try:
            return self.scope.reference(name)
        except InvalidTemplateReference:
            return self.scope.parameter(name)


def function_name(snippet: Mapping[str, Any], version: str) -> str:
    """The function that a map of one key calls; empty when it is an ordinary map.

    Raises:
        InvalidInput: the function exists, but not in this version.
    """
    if len(snippet) != 1:
        return ""
    (key,) = snippet
    if key in FUNCTIONS[version]:
        return str(key)
    if key in ALL_FUNCTIONS and (key.startswith("Fn::") or key == "Ref"):
        raise StackValidationFailed(f"The function {key} is not supported in this version of HOT.")
    return ""


def _pure(version: str) -> dict[str, Callable[[Any], Any]]:
    modern = version >= "2015-10-15"
    return {
        "str_replace": lambda value: fn.str_replace(value, plain=not modern),
        "str_replace_strict": lambda value: fn.str_replace(value, name="str_replace_strict", strictness=1),
        "str_replace_vstrict": lambda value: fn.str_replace(value, name="str_replace_vstrict", strictness=2),
        "list_join": lambda value: fn.list_join(value, several=modern),
        "str_split": fn.str_split,
        "map_merge": fn.map_merge,
        "map_replace": fn.map_replace,
        "repeat": lambda value: fn.repeat(value, of_maps=version >= "2016-10-14", choosable=version >= "2017-09-01"),
        "digest": fn.digest,
        "filter": fn.filtered,
        "equals": fn.equals,
        "contains": fn.contains,
        "list_concat": fn.list_concat,
        "list_concat_unique": lambda value: fn.list_concat(value, unique=True),
        "make_url": fn.make_url,
        "Fn::Base64": fn.text_itself,
        "Fn::Join": lambda value: fn.list_join(value, name="Fn::Join", several=False),
        "Fn::Split": fn.cfn_split,
        "Fn::Select": fn.cfn_select,
        "Fn::Replace": fn.cfn_replace,
        "Fn::MemberListToMap": fn.member_list_to_map,
    }


_FACADE_KEYS = {"Metadata": "metadata", "DeletionPolicy": "deletion_policy", "UpdatePolicy": "update_policy"}


def _facade_key(value: Any) -> str:
    if value not in _FACADE_KEYS:
        raise ValueError(f'Incorrect arguments to "Fn::ResourceFacade" should be one of: {", ".join(_FACADE_KEYS)}')
    return _FACADE_KEYS[value]


def _no_zones(_value: Any) -> Any:
    raise ValueError('"Fn::GetAZs" is not offered; name the availability zone, or leave it out')


def _text(name: str, value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f'Argument to "{name}" must be a string')
    return value


def _dotted(path: DocumentPath) -> str:
    return ".".join(map(str, path))
