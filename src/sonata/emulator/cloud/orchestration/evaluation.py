"""Resolving snippets of a living stack: attributes are asked of the site when a function wants them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from sonata.emulator.cloud.orchestration.blueprint import Blueprint
from sonata.emulator.cloud.orchestration.queries import Queries, QueryWanted
from sonata.formats.hot.errors import InvalidTemplateReference, StackValidationFailed, UserParameterMissing
from sonata.formats.hot.resolver import Resolver

Path = tuple[Any, ...]
Attribute = Callable[[str, str, Path], Awaitable[Any]]
"""Finds an attribute of a resource by the resource's name; None when the resource is not there."""
Reference = Callable[[str], Any]


class _Wanted(Exception):
    """An attribute that is not known yet."""

    def __init__(self, resource: str, name: str, path: Path) -> None:
        self.asked = (resource, name, path)


class Evaluation:
    """Resolves snippets of one stack at one time; attributes are asked once.

    Args:
        reference: what `get_resource` of a resource is.
        attribute: finds an attribute.
    """

    def __init__(self, blueprint: Blueprint, reference: Reference, attribute: Attribute) -> None:
        self._blueprint = blueprint
        self._reference = reference
        self._attribute = attribute
        self._known: dict[str, Any] = {}
        self._queries = Queries(blueprint.judge)
        self._resolver = Resolver(blueprint.template.version, self)

    async def resolve(self, snippet: Any, *path: str) -> Any:
        """The value of a snippet.

        Raises:
            InvalidInput: a function cannot work with its arguments.
        """
        return await self._until_known(lambda: self._resolver.resolve(snippet, path))

    async def is_true(self, condition: Any) -> bool:
        """The value of a condition."""
        return bool(await self._until_known(lambda: self._resolver.truth(condition)))

    async def _until_known(self, evaluate: Callable[[], Any]) -> Any:
        while True:
            try:
                return evaluate()
            except _Wanted as wanted:
                self._known[repr(wanted.asked)] = await self._attribute(*wanted.asked)
            except QueryWanted as wanted:
                await self._queries.find(wanted)

    def query(self, expression: str, data: Any) -> Any:
        """What a YAQL expression finds."""
        return self._queries.answer(expression, data)

    def parameter(self, name: str) -> Any:
        """The value of a parameter."""
        if name not in self._blueprint.parameters:
            raise UserParameterMissing(f"The Parameter ({name}) was not provided.")
        return self._blueprint.parameters[name]

    def reference(self, resource: str) -> Any:
        """What `get_resource` of a resource is."""
        self._require(resource)
        if resource not in self._blueprint.resources:
            raise InvalidTemplateReference(f'The specified reference "{resource}" is incorrect.')
        return self._reference(resource)

    def attribute(self, resource: str, name: str, path: Path) -> Any:
        """An attribute of a resource, and what a path leads to in it."""
        self._require(resource)
        # What stands in a path need not be hashable.
        key = repr((resource, name, path))
        if key not in self._known:
            raise _Wanted(resource, name, path)
        return self._known[key]

    def file(self, name: str) -> str:
        """The content of a file."""
        if name not in self._blueprint.files:
            raise StackValidationFailed(f'No content found in the "files" section for get_file path: {name}')
        return self._blueprint.files[name]

    def condition(self, name: str) -> bool:
        """The value of a named condition."""
        if name not in self._blueprint.conditions:
            raise StackValidationFailed(f'Invalid condition "{name}"')
        return self._blueprint.conditions[name]

    def facade(self, what: str) -> Any:
        """What the resource that stands for this stack in its parent says."""
        if what not in ("metadata", "deletion_policy", "update_policy"):
            raise StackValidationFailed(f'Incorrect arguments to "resource_facade": "{what}" is not known')
        return self._blueprint.facade.get(what)

    def _require(self, resource: str) -> None:
        if resource not in self._blueprint.template.resources:
            raise InvalidTemplateReference(f'The specified reference "{resource}" is incorrect.')
