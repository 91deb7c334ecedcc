"""Which resource needs which: found in functions and `depends_on`, ordered, with circles reported."""

from __future__ import annotations

import graphlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from sonata.formats.hot.errors import CircularDependency

Graph = Mapping[str, frozenset[str]]
"""Names of resources and what each of them needs."""


def references(snippet: Any) -> Iterator[str]:
    """Names of resources that a snippet refers to where the name is written out."""
    if isinstance(snippet, Mapping):
        if len(snippet) == 1:
            ((key, argument),) = snippet.items()
            if key in ("get_resource", "Ref") and isinstance(argument, str):
                yield argument
            if key == "get_attr" and isinstance(argument, list) and argument and isinstance(argument[0], str):
                yield argument[0]
        for value in snippet.values():
            yield from references(value)
    elif isinstance(snippet, list | tuple):
        for value in snippet:
            yield from references(value)


def dependencies(snippets: Mapping[str, Any], explicit: Mapping[str, Iterable[str]]) -> Graph:
    """The graph of resources; references to what is not there (a condition is false) do not count.

    Args:
        snippets: of each resource what may hold references.
        explicit: its `depends_on`.

    Raises:
        CircularDependency: resources need one another in a circle; the message names it.
    """
    graph = {
        name: frozenset((*references(snippet), *explicit.get(name, ()))) & snippets.keys()
        for name, snippet in snippets.items()
    }
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        raise CircularDependency(f"Circular Dependency Found: {' -> '.join(reversed(error.args[1]))}") from None
    return graph


def dependants(graph: Graph) -> Graph:
    """The same edges the other way: who needs a resource."""
    found: dict[str, set[str]] = {name: set() for name in graph}
    for name, needs in graph.items():
        for one in needs:
            found[one].add(name)
    return {name: frozenset(users) for name, users in found.items()}
