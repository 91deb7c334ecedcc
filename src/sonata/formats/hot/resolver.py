"""Resolving what is written in a template: functions become their values, everything else stays as it is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from sonata.formats.hot import functions as fn
from sonata.formats.hot.errors import StackValidationFailed
from sonata.formats.hot.versions import ALL_FUNCTIONS, FUNCTIONS, condition_functions
from sonata.formats.yaml_nodes import DocumentPath

Snippet = Any


class Scope(Protocol):
    """Where functions find what is not among their arguments."""

    def parameter(self, name: str) -> Any:
        """The value of a parameter or pseudo parameter; raises InvalidInput when there is none."""

    def reference(self, resource: str) -> Any:
        """What `get_resource` of a resource is."""

    def attribute(self, resource: str, name: str, path: tuple[str, ...]) -> Any:
        """An attribute of a resource and what a path leads to in it; all attributes in a map when the name is empty."""

    def file(self, name: str) -> str:
        """The content of a file given with the template."""

    def condition(self, name: str) -> bool:
        """The value of a named condition."""

    def facade(self, what: str) -> Any:
        """`metadata`, `deletion_policy` or `update_policy` of the resource that stands for this stack in its parent."""


@dataclass(frozen=True, slots=True)
class Resolver:
    """Resolves snippets of templates of one version in one scope."""

    version: str
    scope: Scope
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
        """The value of a condition: true or false, the name of a condition, or a function.

        Raises:
            InvalidInput: it is none of these.
        """
        if isinstance(snippet, bool):
            return snippet
        if isinstance(snippet, str):
            return self.scope.condition(snippet)
        if isinstance(snippet, Mapping) and len(snippet) == 1:
            ((name, argument),) = snippet.items()
            if name in condition_functions(self.version):
                return self._logic(name, argument, (*path, name))
        raise StackValidationFailed(f"Invalid condition: {snippet!r}")

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
                return self._if(argument, path)
            value = self.resolve(argument, path)
            return self._table()[name](value)
        except (ValueError, TypeError, OverflowError) as error:
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
                }
            )
        return self._bound

    def _if(self, argument: Any, path: DocumentPath) -> Any:
        allowed = (2, 3) if self.version >= "2021-04-16" else (3,)
        if not isinstance(argument, list) or len(argument) not in allowed:
            raise ValueError('Arguments to "if" must be of the form: [condition_name, value_if_true, value_if_false]')
        if self.truth(argument[0], path):
            return self.resolve(argument[1], (*path, 1))
        return self.resolve(argument[2], (*path, 2)) if len(argument) == 3 else fn.OMITTED

    def _get_param(self, value: Any) -> Any:
        name, *path = value if isinstance(value, list) and value else [value]
        return fn.select(self.scope.parameter(_text("get_param", name)), path, "")

    def _get_attr(self, value: Any) -> Any:
        shortest = 1 if self.version >= "2015-10-15" else 2
        if not isinstance(value, list) or len(value) < shortest:
            raise ValueError('Arguments to "get_attr" must be of the form [resource_name, attribute, (path), ...]')
        resource, attribute, *path = [*value, ""] if len(value) == 1 else value
        return self.scope.attribute(str(resource), str(attribute), tuple(map(str, path)))

    def _ref(self, name: str) -> Any:
        try:
            return self.scope.parameter(name)
        except StackValidationFailed:
            return self.scope.reference(name)


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
        "repeat": lambda value: fn.repeat(value, in_keys=version >= "2016-10-14", nested=version >= "2017-09-01"),
        "digest": fn.digest,
        "filter": fn.filtered,
        "yaql": fn.yaql_query,
        "equals": fn.equals,
        "contains": fn.contains,
        "list_concat": fn.list_concat,
        "list_concat_unique": lambda value: fn.list_concat(value, unique=True),
        "make_url": fn.make_url,
        "Fn::Base64": fn.base64_text,
        "Fn::Join": lambda value: fn.list_join(value, several=False),
        "Fn::Split": fn.str_split,
        "Fn::Select": _cfn_select,
        "Fn::Replace": _cfn_replace,
    }


def _cfn_select(value: Any) -> Any:
    if not isinstance(value, list) or len(value) != 2:
        raise ValueError('Arguments to "Fn::Select" must be of the form [index, collection]')
    return fn.select(value[1], [value[0]], "")


def _cfn_replace(value: Any) -> str:
    if not isinstance(value, list) or len(value) != 2:
        raise ValueError('Arguments to "Fn::Replace" must be of the form [mappings, string]')
    return fn.str_replace({"template": value[1], "params": value[0]}, name="Fn::Replace", plain=True)


def _text(name: str, value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f'Argument to "{name}" must be a string')
    return value


def _dotted(path: DocumentPath) -> str:
    return ".".join(map(str, path))
