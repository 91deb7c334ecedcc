"""What rules find in documents, and how it is told; free of the libraries that read the documents."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Sequence
from itertools import islice
from typing import TypeVar

from sonata._lib.values import dataclass
from sonata.errors import Diagnostic, InvalidInput
from sonata.formats.yaml_nodes import MAX_FINDINGS, DocumentPath, YamlDocument

H = TypeVar("H", bound=Hashable)

_MAX_LISTED = 20


@dataclass(frozen=True, slots=True)
class Finding:
    """What a rule found, before it has a place in a file.

    Args:
        path: where in the document.
        is_warning: whether the operation may go on.
        is_tolerable: whether a tolerant reader may go on.
    """

    code: str
    path: DocumentPath
    summary: str
    hint: str = ""
    is_warning: bool = False
    is_tolerable: bool = False

    def locate(self, document: YamlDocument, *, tolerant: bool = False) -> Diagnostic:
        """The diagnostic for a file."""
        warning = self.is_warning or (tolerant and self.is_tolerable)
        return document.diagnostic(self.code, self.summary, self.path, hint=self.hint, warning=warning)


def one_of(choices: Iterable[str]) -> str:
    """A list of choices for people: `a`, `b`, `c`; the first ones when there are many."""
    known = [f"`{choice}`" for choice in islice(choices, _MAX_LISTED + 1)]
    return ", ".join(known[:_MAX_LISTED]) + (", ..." if len(known) > _MAX_LISTED else "")


def path_text(path: DocumentPath) -> str:
    """A path as people read it, e.g. `links[0].delay`."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else str(part)
    return text


def repeated(values: Iterable[H]) -> Iterator[tuple[int, H]]:
    """Index and value of each value that was there before."""
    seen: set[H] = set()
    for index, value in enumerate(values):
        if value in seen:
            yield index, value
        seen.add(value)


def errors_in(diagnostics: Iterable[Diagnostic]) -> list[Diagnostic]:
    """Those findings that stop the operation."""
    return [finding for finding in diagnostics if finding.severity == "error"]


def raise_errors(what: str, diagnostics: Sequence[Diagnostic]) -> None:
    """Raise InvalidInput with all findings when one is an error; `what` is the object, e.g. "topology `cdn.yaml`"."""
    count = len(errors_in(diagnostics))
    if count:
        number = f"{count} error{'s' * (count > 1)}" + (" or more" if count >= MAX_FINDINGS else "")
        raise InvalidInput(f"{what} is invalid: {number}", diagnostics=diagnostics)
