"""Routes of one service: paths with placeholders, found by walking their segments."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import field
from typing import Any

from sonata._lib.values import dataclass
from sonata.api.openstack.call import Call
from sonata.api.openstack.faults import MethodNotAllowed
from sonata.api.openstack.reply import Reply
from sonata.api.openstack.topic import GENERAL, Topic
from sonata.emulator.cloud.identity.roles import Needed
from sonata.errors import NotFound

Handler = Callable[[Call], Awaitable[Reply]]
Schema = Mapping[str, Any]
Decorator = Callable[[Handler], Handler]


@dataclass(frozen=True, slots=True)
class Target:
    """A handler and who may call it.

    Args:
        names: of the path's placeholders.
        public: whether it answers without a token.
        needs: the role that a caller needs.
        topic: the part of the API that it belongs to.
        body: JSON Schema of the request body, None where there is none or nothing is told of it.
    """

    handler: Handler
    names: tuple[str, ...]
    public: bool
    needs: Needed
    topic: Topic
    body: Schema | None


@dataclass(slots=True)
class _Node:
    children: dict[str, _Node] = field(default_factory=dict)
    any_child: _Node | None = None
    targets: dict[str, Target] = field(default_factory=dict)

    def child(self, segment: str) -> _Node:
        """The node below for a segment of a pattern, made if need be."""
        if not segment.startswith("{"):
            return self.children.setdefault(segment, _Node())
        if self.any_child is None:
            self.any_child = _Node()
        return self.any_child


class Routes:
    """Routes by path and method."""

    def __init__(self) -> None:
        self._root = _Node()
        self._all: list[tuple[str, str, Target]] = []
        self._topic = GENERAL

    def __iter__(self) -> Iterator[tuple[str, str, Target]]:
        """Method, path and target of each route in the order in which they were added."""
        return iter(self._all)

    def about(self, topic: Topic) -> None:
        """The routes added from here on belong to this part of the API."""
        self._topic = topic

    def add(
        self,
        method: str,
        path: str,
        handler: Handler,
        *,
        public: bool = False,
        needs: Needed | None = None,
        body: Schema | None = None,
    ) -> None:
        """Add a route; `{name}` in the path stands for any one segment.

        Who only reads needs the role `reader`, who changes something `member`, unless `needs` says otherwise.
        """
        segments = _split(path)
        node = self._root
        for segment in segments:
            node = node.child(segment)
        names = tuple(segment[1:-1] for segment in segments if segment.startswith("{"))
        needed = needs or ("reader" if method == "GET" else "member")
        node.targets[method] = target = Target(handler, names, public, needed, self._topic, body)
        self._all.append((method, path, target))

    def on(self, method: str, path: str, *, public: bool = False, needs: Needed | None = None) -> Decorator:
        """Decorator form of `add`."""

        def register(handler: Handler) -> Handler:
            self.add(method, path, handler, public=public, needs=needs)
            return handler

        return register

    def find(self, method: str, path: str) -> tuple[Target, dict[str, str]]:
        """The target of a request and its parameters.

        Raises:
            NotFound: no route has this path.
            MethodNotAllowed: the path is there, the method is not.
        """
        found = _walk(self._root, _split(path), 0, ())
        if found is None:
            raise NotFound("The resource could not be found.")
        node, values = found
        target = node.targets.get(method) or (node.targets.get("GET") if method == "HEAD" else None)
        if target is None:
            raise MethodNotAllowed(method, _allowed(node))
        return target, dict(zip(target.names, values, strict=True))


def _walk(node: _Node, segments: list[str], at: int, values: tuple[str, ...]) -> tuple[_Node, tuple[str, ...]] | None:
    """Follow segments; literal ones win over placeholders."""
    if at == len(segments):
        return (node, values) if node.targets else None
    literal = node.children.get(segments[at])
    found = _walk(literal, segments, at + 1, values) if literal else None
    if found is None and node.any_child:
        return _walk(node.any_child, segments, at + 1, (*values, segments[at]))
    return found


def _allowed(node: _Node) -> list[str]:
    return sorted({*node.targets, *(("HEAD",) if "GET" in node.targets else ())})


def _split(path: str) -> list[str]:
    return [segment for segment in path.split("/") if segment]
