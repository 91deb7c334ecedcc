"""XML files of strangers as a tree whose elements know their line and column.

Parsed by defusedxml: entities are refused before they are expanded, and nothing outside of the file is opened.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import field
from typing import Any
from xml.sax import SAXParseException  # nosec B406  # what the parser raises; it is defusedxml that parses
from xml.sax.handler import ContentHandler, ErrorHandler  # nosec B406

import defusedxml.sax
from defusedxml.common import DefusedXmlException

from sonata._lib.values import dataclass
from sonata.formats.networks.network import Findings, Place

MAX_DEPTH = 64
MAX_ELEMENTS = 500_000


@dataclass(slots=True)
class Element:
    """An element without its namespace prefix; `text` is its own text, stripped."""

    name: str
    attributes: Mapping[str, str]
    place: Place
    text: str = ""
    children: list[Element] = field(default_factory=list)

    def all(self, name: str) -> Iterator[Element]:
        """Its children of this name."""
        return (child for child in self.children if child.name == name)

    def first(self, *path: str) -> Element | None:
        """The first element that this path of names leads to."""
        found: Element | None = self
        for name in path:
            found = next(found.all(name), None) if found else None
        return found

    def text_of(self, *path: str) -> str | None:
        """Text of the first element that this path leads to; None where there is none."""
        found = self.first(*path)
        return found.text if found else None


def parse_xml(content: bytes, findings: Findings) -> Element:
    """The root element.

    Raises:
        InvalidInput: it is no XML (NET-0001), has entities or refers to other files (NET-0002), is too big (NET-0008).
    """
    builder = _Builder(findings)
    try:
        defusedxml.sax.parseString(content, builder, ErrorHandler())
    except DefusedXmlException as error:
        what = "it declares entities or refers to other files"
        raise findings.fail(
            "NET-0002", what, builder.here, f"write them out; refused: {type(error).__name__}"
        ) from None
    except SAXParseException as error:
        place = (error.getLineNumber() or 0, (error.getColumnNumber() or 0) + 1)
        raise findings.fail("NET-0001", f"no XML: {error.getMessage()}", place) from None
    except (LookupError, ValueError) as error:  # encodings that expat has never heard of, or cannot decode
        raise findings.fail("NET-0001", f"no XML: {error}", builder.here) from None
    return builder.root


class _Builder(ContentHandler):
    """Builds the tree as the parser goes."""

    def __init__(self, findings: Findings) -> None:
        super().__init__()
        self.root = Element("", {}, (0, 0))
        self._findings = findings
        self._open: list[Element] = []
        self._texts: list[list[str]] = []
        self._count = 0
        self._locator: Any = None

    @property
    def here(self) -> Place:
        """Where the parser is."""
        if self._locator is None:
            return (0, 0)
        return self._locator.getLineNumber() or 0, (self._locator.getColumnNumber() or 0) + 1

    def setDocumentLocator(self, locator: Any) -> None:
        """Take the parser's own position."""
        self._locator = locator

    def startElement(self, name: str, attrs: Any) -> None:
        """Open an element."""
        self._count += 1
        if len(self._open) >= MAX_DEPTH or self._count > MAX_ELEMENTS:
            what = f"more than {MAX_DEPTH} levels or {MAX_ELEMENTS} elements"
            raise self._findings.fail("NET-0008", what, self.here)
        element = Element(name.rpartition(":")[2], dict(attrs.items()), self.here)
        if self._open:
            self._open[-1].children.append(element)
        else:
            self.root = element
        self._open.append(element)
        self._texts.append([])

    def characters(self, content: str) -> None:
        """Take text."""
        self._texts[-1].append(content)

    def endElement(self, name: str) -> None:
        """Close an element."""
        self._open.pop().text = "".join(self._texts.pop()).strip()
