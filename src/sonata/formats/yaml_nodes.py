"""Safe YAML with positions: what a file says, and at which line and column it says so.

All readers of this room start here. Only plain YAML is taken: no tags, no duplicate keys, one document, UTF-8; size,
depth and what aliases expand to are bounded, so that hostile input ends in `InvalidInput`, never in a crash or a hang.
Dates stay text. Positions come from the node tree and are looked up only when there is something to report.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sonata._lib.later import later
from sonata._lib.values import dataclass
from sonata.errors import Diagnostic, InvalidInput, NotFound

if TYPE_CHECKING:
    import yaml
    from yaml import events, nodes
else:
    yaml = later("yaml")
    events = later("yaml.events")
    nodes = later("yaml.nodes")

MAX_BYTES = 4 * 1024**2
MAX_DEPTH = 64
MAX_NODES = 500_000
MAX_FINDINGS = 200
"""More findings help nobody, and looking for them would take long in a file made to be wrong."""

DocumentPath = Sequence[str | int]
"""Keys and indexes from the root of a document, e.g. `("links", 0, "delay")`."""


@dataclass(frozen=True, slots=True)
class YamlDocument:
    """A parsed document.

    Args:
        data: what it says: mappings, lists, text, numbers, booleans, None.
        file: its name as the user gave it, for diagnostics.
        root: its node tree, for positions.
    """

    data: Any
    file: str
    root: nodes.Node

    def position(self, path: DocumentPath, *, of_key: bool = False) -> tuple[int, int]:
        """Line and column, 1-based, of a value, or of its key; of the nearest ancestor where the path leads nowhere."""
        node = self.root
        for depth, part in enumerate(path):
            child = _child(node, part)
            if child is None:
                break
            key, value = child
            node = key if of_key and depth == len(path) - 1 else value
        return node.start_mark.line + 1, node.start_mark.column + 1

    def source_text(self, path: DocumentPath) -> str | None:
        """A scalar as it is written, so that a version `0.10` does not become 0.1; None for anything else."""
        node = self.root
        for part in path:
            child = _child(node, part)
            if child is None:
                return None
            node = child[1]
        return node.value if isinstance(node, nodes.ScalarNode) else None

    def diagnostic(
        self,
        code: str,
        summary: str,
        path: DocumentPath = (),
        *,
        hint: str = "",
        warning: bool = False,
        of_key: bool = False,
    ) -> Diagnostic:
        """A finding at a place of this document."""
        line, column = self.position(path, of_key=of_key)
        return Diagnostic("warning" if warning else "error", code, summary, self.file, line, column, hint)


def read_yaml(path: Path) -> YamlDocument:
    """Read a YAML file.

    Raises:
        NotFound: there is no such file.
        InvalidInput: it cannot be read, or is not plain YAML.
    """
    try:
        with path.open("rb") as stream:
            content = stream.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise NotFound(f"there is no file `{path}`") from None
    except OSError as error:
        raise InvalidInput(f"cannot read `{path}`: {error.strerror}") from error
    return parse_yaml(content, str(path))


def parse_yaml(content: str | bytes, file: str) -> YamlDocument:
    """Parse YAML text.

    Raises:
        InvalidInput: with codes YAML-0001 (syntax), -0002 (encoding), -0003 (too big, too deep, too many aliases),
            -0004 (duplicate key), -0005 (a tag or another construct that is not plain YAML), -0006 (empty).
    """
    text = _decode(content, file)
    loader = _loader_class()(text)
    try:
        _check_events(text, file)
        root = loader.get_single_node()
        if root is None:
            raise _invalid("YAML-0006", "the file is empty", file)
        duplicates = list(islice(_duplicate_keys(root, file), MAX_FINDINGS))
        if duplicates:
            raise InvalidInput(f"`{file}` has duplicate keys", diagnostics=duplicates)
        data = loader.construct_document(root)
    except yaml.MarkedYAMLError as error:
        raise _from_marked(error, file) from None
    except (yaml.YAMLError, ValueError) as error:
        # ValueError: scalars that only look like numbers, e.g. integers of thousands of digits.
        raise _invalid("YAML-0001", str(error).splitlines()[0], file) from None
    finally:
        loader.dispose()
    return YamlDocument(data, file, root)


@cache
def _loader_class() -> type[yaml.CSafeLoader]:
    """The C loader without the guess that `2024-01-01` is a date."""
    resolvers = {
        first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
        for first, resolvers in yaml.CSafeLoader.yaml_implicit_resolvers.items()
    }
    return type("_Loader", (yaml.CSafeLoader,), {"yaml_implicit_resolvers": resolvers})


def _decode(content: str | bytes, file: str) -> str:
    if len(content) > MAX_BYTES:
        raise _invalid("YAML-0003", f"the file is bigger than {MAX_BYTES // 1024**2} MiB", file)
    if isinstance(content, str):
        return content
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise _invalid("YAML-0002", f"byte {error.start} is not UTF-8 text", file, line) from None


def _check_events(text: str, file: str) -> None:
    """Refuse what would make construction deep, big or unsafe, looking at the flat stream of events alone."""
    guard = _Guard(file)
    for event in yaml.parse(text, Loader=_loader_class()):
        guard.take(event)


class _Guard:
    """Counts nodes as if every alias were written out, and keeps an eye on depth, tags and recursion."""

    def __init__(self, file: str) -> None:
        self._file = file
        self._open: list[tuple[str | None, int]] = []
        self._sizes: dict[str, int] = {}
        self._count = 0

    def take(self, event: Any) -> None:
        """Look at the next event of the stream."""
        if isinstance(event, events.AliasEvent):
            self._take_alias(event)
        elif isinstance(event, events.ScalarEvent):
            self._take_scalar(event)
        elif isinstance(event, events.CollectionStartEvent):
            self._take_start(event)
        elif isinstance(event, events.CollectionEndEvent):
            self._take_end()
        if self._count > MAX_NODES:
            raise self._refuse(event, "YAML-0003", f"more than {MAX_NODES} values once aliases are expanded")

    def _take_alias(self, event: events.AliasEvent) -> None:
        if any(anchor == event.anchor for anchor, _ in self._open):
            raise self._refuse(event, "YAML-0005", f"alias `{event.anchor}` contains itself")
        self._count += self._sizes.get(event.anchor or "", 1)

    def _take_scalar(self, event: events.ScalarEvent) -> None:
        self._check_tag(event)
        self._count += 1
        if event.anchor:
            self._sizes[event.anchor] = 1

    def _take_start(self, event: events.CollectionStartEvent) -> None:
        self._check_tag(event)
        self._open.append((event.anchor, self._count))
        self._count += 1
        if len(self._open) > MAX_DEPTH:
            raise self._refuse(event, "YAML-0003", f"nested deeper than {MAX_DEPTH} levels")

    def _take_end(self) -> None:
        anchor, before = self._open.pop()
        if anchor:
            self._sizes[anchor] = self._count - before

    def _check_tag(self, event: Any) -> None:
        if event.tag not in (None, "!", "tag:yaml.org,2002:str"):
            raise self._refuse(event, "YAML-0005", f"tag `{event.tag}` is not plain YAML")

    def _refuse(self, event: Any, code: str, summary: str) -> InvalidInput:
        mark = event.start_mark
        return _invalid(code, summary, self._file, mark.line + 1, mark.column + 1)


def _duplicate_keys(root: nodes.Node, file: str) -> Iterator[Diagnostic]:
    pending = [root]
    seen_nodes: set[int] = set()
    while pending:
        node = pending.pop()
        if id(node) in seen_nodes:
            continue
        seen_nodes.add(id(node))
        if isinstance(node, nodes.SequenceNode):
            pending.extend(node.value)
        elif isinstance(node, nodes.MappingNode):
            yield from _duplicates_of(node, file)
            pending.extend(value for _, value in node.value)


def _duplicates_of(node: nodes.MappingNode, file: str) -> Iterator[Diagnostic]:
    lines: dict[str, int] = {}
    for key, _ in node.value:
        if not isinstance(key, nodes.ScalarNode):
            continue
        mark = key.start_mark
        if key.value in lines:
            summary = f"key `{key.value}` is given twice, first in line {lines[key.value]}"
            yield Diagnostic("error", "YAML-0004", summary, file, mark.line + 1, mark.column + 1, "remove one of them")
        lines.setdefault(key.value, mark.line + 1)


def _child(node: nodes.Node, part: str | int) -> tuple[nodes.Node, nodes.Node] | None:
    if isinstance(node, nodes.SequenceNode):
        if isinstance(part, int) and 0 <= part < len(node.value):
            return node.value[part], node.value[part]
        return None
    if isinstance(node, nodes.MappingNode):
        # Merged keys come first and are overridden by later ones, so the last match is the one that counts.
        return next((pair for pair in reversed(node.value) if pair[0].value == str(part)), None)
    return None


def _from_marked(error: yaml.MarkedYAMLError, file: str) -> InvalidInput:
    code = "YAML-0005" if isinstance(error, yaml.constructor.ConstructorError) else "YAML-0001"
    mark = error.problem_mark or error.context_mark
    line, column = (mark.line + 1, mark.column + 1) if mark else (0, 0)
    told = ": ".join(str(part) for part in (error.context, error.problem) if part)
    return _invalid(code, told, file, line, column)


def _invalid(code: str, summary: str, file: str, line: int = 0, column: int = 0) -> InvalidInput:
    finding = Diagnostic("error", code, summary, file, line, column)
    return InvalidInput(f"`{file}` cannot be read as YAML", diagnostics=[finding])
