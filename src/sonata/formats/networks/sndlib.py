"""SNDlib networks, in XML and in the library's native format.

Coordinates are longitude and latitude, or pixels of a drawing: XML files say which; of native ones, all that fit on
earth are taken for places there. Capacities are said to be in no unit; the library's networks count Mbit/s.
A link has its pre-installed capacity, or, where there is none, that of its smallest module. Costs are not read.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence

from sonata._lib.values import dataclass
from sonata.formats.networks.network import (
    DRAWING,
    Edge,
    Findings,
    Network,
    Node,
    Place,
    are_on_earth,
    check_references,
    located,
)
from sonata.formats.networks.xml_tree import Element

NATIVE_HEAD = "?SNDlib native format"
_COSTS = "left out: costs of links and modules, which topologies have no place for"
_LINK_NUMBERS = 4
"""Pre-installed capacity and its cost, routing cost, setup cost."""


def read_sndlib_xml(root: Element, findings: Findings, *, unit_bps: float) -> Network:
    """The network of an SNDlib XML document; `unit_bps` is what a capacity of 1 means."""
    structure = root.first("networkStructure")
    if structure is None:
        raise findings.fail("NET-0004", "there is no `networkStructure` in the document", root.place)
    drawn = structure.first("nodes") or Element("nodes", {}, structure.place)
    kind = drawn.attributes.get("coordinatesType", "")
    raw = [_xml_node(each, findings) for each in drawn.all("node")]
    is_drawing = kind == "pixel" or (kind != "geographical" and not are_on_earth(raw))
    nodes = located(raw, findings, is_drawing=is_drawing)
    links = structure.first("links")
    edges = tuple(_xml_link(each, findings, unit_bps) for each in (links.all("link") if links else ()))
    check_references(nodes, edges, findings)
    meta = root.first("meta")
    name = (meta.text_of("name") if meta else None) or ""
    return Network(name, nodes, edges, notes=(_COSTS, *([DRAWING] if is_drawing else [])))


def _xml_node(element: Element, findings: Findings) -> Node:
    """A node whose location is its y and x, whatever they mean."""
    key, place = element.attributes.get("id", ""), element.place
    if not key:
        findings.add("NET-0005", "a node has no id", place)
    x = findings.number(element.text_of("coordinates", "x"), "x", place)
    y = findings.number(element.text_of("coordinates", "y"), "y", place)
    return Node(key, key, place, None if x is None or y is None else (y, x))


def _xml_link(element: Element, findings: Findings, unit_bps: float) -> Edge:
    a, b = element.text_of("source") or "", element.text_of("target") or ""
    if not a or not b:
        findings.add("NET-0006", "a link has not two ends", element.place, "give it `source` and `target`")
    installed = findings.positive(element.text_of("preInstalledModule", "capacity"), "capacity", element.place)
    added = element.first("additionalModules")
    modules = [
        findings.positive(each.text_of("capacity"), "capacity", each.place)
        for each in (added.all("addModule") if added else ())
    ]
    return Edge(a, b, element.place, rate_bps=_rate(installed, modules, unit_bps))


def _rate(installed: float | None, modules: Sequence[float | None], unit_bps: float) -> float | None:
    capacity = installed or min((each for each in modules if each), default=None)
    return capacity * unit_bps if capacity else None


def read_sndlib_native(text: str, findings: Findings, *, unit_bps: float) -> Network:
    """The network of a file in SNDlib's native format; `unit_bps` is what a capacity of 1 means."""
    tokens = _Tokens(text, findings)
    nodes: list[Node] = []
    edges: list[Edge] = []
    while (section := tokens.take()) is not None:
        tokens.expect("(")
        if section.text == "NODES":
            nodes.extend(_native_nodes(tokens, findings))
        elif section.text == "LINKS":
            edges.extend(_native_links(tokens, findings, unit_bps))
        else:
            tokens.skip_block()
    is_drawing = not are_on_earth(nodes)
    kept = located(nodes, findings, is_drawing=is_drawing)
    check_references(kept, tuple(edges), findings)
    return Network("", kept, tuple(edges), notes=(_COSTS, *([DRAWING] if is_drawing else [])))


def _native_nodes(tokens: _Tokens, findings: Findings) -> Iterator[Node]:
    """`ID ( LONGITUDE LATITUDE )`, and possibly words behind it."""
    while not tokens.at_end_of_block():
        name = tokens.word("the id of a node")
        tokens.expect("(")
        x = findings.number(tokens.word("a longitude").text, "longitude", name.place)
        y = findings.number(tokens.word("a latitude").text, "latitude", name.place)
        tokens.expect(")")
        tokens.skip_words_of_line(name.place[0])
        yield Node(name.text, name.text, name.place, None if x is None or y is None else (y, x))


def _native_links(tokens: _Tokens, findings: Findings, unit_bps: float) -> Iterator[Edge]:
    """`ID ( A B )`, and possibly four numbers and modules `( CAPACITY COST ... )`."""
    while not tokens.at_end_of_block():
        name = tokens.word("the id of a link")
        tokens.expect("(")
        a, b = tokens.word("a node"), tokens.word("another node")
        tokens.expect(")")
        numbers = tokens.numbers(_LINK_NUMBERS, findings)
        modules = _native_modules(tokens, findings) if len(numbers) == _LINK_NUMBERS else []
        rate = _rate(numbers[0] if numbers else None, modules, unit_bps)
        yield Edge(a.text, b.text, name.place, rate_bps=rate)


def _native_modules(tokens: _Tokens, findings: Findings) -> list[float | None]:
    """Capacities of modules; their costs are passed over."""
    if not tokens.next_is("("):
        return []
    tokens.expect("(")
    capacities = []
    while not tokens.at_end_of_block():
        capacity = tokens.word("a capacity")
        tokens.word("a cost")
        capacities.append(findings.positive(capacity.text, "capacity", capacity.place))
    return capacities


@dataclass(frozen=True, slots=True)
class _Token:
    text: str
    place: Place


class _Tokens:
    """Words and parentheses of a file, without comments and without its first line."""

    _TOKEN = re.compile(r"#[^\n]*|[()]|[^\s()#]+")

    def __init__(self, text: str, findings: Findings) -> None:
        self._findings = findings
        self._all = list(self._split(text))
        self._next = 0

    def _split(self, text: str) -> Iterator[_Token]:
        for number, line in enumerate(text.splitlines(), 1):
            if line.lstrip("\ufeff").startswith("?"):
                continue
            for match in self._TOKEN.finditer(line):
                if not match[0].startswith("#"):
                    yield _Token(match[0], (number, match.start() + 1))

    def take(self) -> _Token | None:
        """The next token; None at the end of the file."""
        if self._next == len(self._all):
            return None
        self._next += 1
        return self._all[self._next - 1]

    def next_is(self, text: str) -> bool:
        """Whether the next token is this one."""
        return self._next < len(self._all) and self._all[self._next].text == text

    def expect(self, text: str) -> None:
        """Take a parenthesis, or end with an error."""
        self._taken(f"`{text}`", lambda token: token.text == text)

    def word(self, what: str) -> _Token:
        """Take a word, or end with an error that says what was expected."""
        return self._taken(what, lambda token: token.text not in "()")

    def numbers(self, most: int, findings: Findings) -> list[float]:
        """Take numbers, as long as they come."""
        found: list[float] = []
        while len(found) < most and self._next < len(self._all) and _is_number(self._all[self._next].text):
            token = self._all[self._next]
            self._next += 1
            found.append(findings.number(token.text, "value", token.place) or 0.0)
        return found

    def at_end_of_block(self) -> bool:
        """Whether the parenthesis that closes a block comes next; it is taken."""
        if self._next == len(self._all):
            raise self._findings.fail("NET-0001", "the file ends within a block: `)` is missing", self._last())
        if self.next_is(")"):
            self._next += 1
            return True
        return False

    def skip_block(self) -> None:
        """Pass over everything up to the end of a block whose beginning was taken."""
        depth = 1
        while depth:
            token = self.take()
            if token is None:
                raise self._findings.fail("NET-0001", "the file ends within a block: `)` is missing", self._last())
            depth += {"(": 1, ")": -1}.get(token.text, 0)

    def skip_words_of_line(self, line: int) -> None:
        """Pass over further words in this line, up to one that begins the next entry."""
        while (ahead := self._all[self._next : self._next + 2]) and ahead[0].place[0] == line:
            if ahead[0].text == ")" or ahead[-1].text == "(":
                return
            self._next += 1

    def _taken(self, what: str, fits: Callable[[_Token], bool]) -> _Token:
        token = self.take()
        if token is None:
            raise self._findings.fail("NET-0001", f"the file ends where {what} should be", self._last())
        if not fits(token):
            raise self._findings.fail("NET-0001", f"`{token.text}` is where {what} should be", token.place)
        return token

    def _last(self) -> Place:
        return self._all[-1].place if self._all else (0, 0)


def _is_number(text: str) -> bool:
    return re.fullmatch(r"[+-]?\d+(\.\d*)?([eE][+-]?\d+)?", text) is not None
