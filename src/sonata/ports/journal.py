"""What is written down of a running emulation, so that it comes back after its death.

A journal holds a few documents by name, written as JSON: frozen values, mappings, sequences and addresses go in
(`sonata._lib.plain.encode`), plain JSON values come out.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol


class Journal(Protocol):
    """Documents that outlive the process which writes them; calls may block and come from one thread at a time."""

    def load(self) -> Mapping[str, Any]:
        """All documents that can be read; a damaged one is set aside and logged."""

    def save(self, name: str, document: Any) -> None:
        """Replace a document: a reader sees the old one or the new one, also after a kill.

        Raises:
            AdapterError: it cannot be written, and the old one stands.
        """

    def set_aside(self, name: str) -> None:
        """Keep a document for people to look at, and never load it again."""

    def remove(self, name: str) -> None:
        """Forget a document; idempotent."""
