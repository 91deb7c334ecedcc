"""A journal in memory; documents pass through JSON, as they do in files."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sonata._lib.plain import decode, encode
from sonata.errors import AdapterError


class FakeJournal:
    """Documents by name. `full` makes writing fail."""

    def __init__(self) -> None:
        self.texts: dict[str, bytes] = {}
        self.aside: list[str] = []
        self.full = False
        self.writes = 0

    def load(self) -> Mapping[str, Any]:
        return {name: decode(text) for name, text in self.texts.items()}

    def save(self, name: str, document: Any) -> None:
        if self.full:
            raise AdapterError("no space left on device")
        self.writes += 1
        self.texts[name] = encode(document)

    def set_aside(self, name: str) -> None:
        del self.texts[name]
        self.aside.append(name)

    def remove(self, name: str) -> None:
        self.texts.pop(name, None)
