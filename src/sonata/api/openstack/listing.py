"""Filtering, sorting and paging of lists, as all OpenStack services do it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sonata.errors import InvalidInput

Document = dict[str, Any]
Query = Sequence[tuple[str, str]]

PAGING = frozenset({"fields", "limit", "marker", "sort_key", "sort_dir", "page_reverse", "sort"})
TAG_FILTERS = frozenset({"tags", "tags-any", "not-tags", "not-tags-any"})


def filtered(documents: Iterable[Document], query: Query) -> list[Document]:
    """The documents that fulfil a query: any value of a repeated key, all keys; keys that are no field are ignored."""
    wanted: dict[str, list[str]] = {}
    for key, value in query:
        if key not in PAGING:
            wanted.setdefault(key, []).append(value)
    return [document for document in documents if _fulfils(document, wanted)]


def _fulfils(document: Document, wanted: Mapping[str, list[str]]) -> bool:
    return all(_holds(document, key, values) for key, values in wanted.items())


def _holds(document: Document, key: str, values: list[str]) -> bool:
    if key in TAG_FILTERS:
        return all(tags_match(document.get("tags", ()), key, value) for value in values)
    if key == "fixed_ips":
        return all(_has_address(document.get(key, ()), value) for value in values)
    return key not in document or any(_equals(document[key], value) for value in values)


def tags_match(tags: Iterable[str], key: str, value: str) -> bool:
    """Whether tags fulfil one of the four tag filters (API-SIG guideline on tags)."""
    have, asked = set(tags), set(value.split(","))
    return {
        "tags": asked <= have,
        "tags-any": bool(asked & have),
        "not-tags": not asked <= have,
        "not-tags-any": not asked & have,
    }[key]


def _has_address(fixed_ips: Iterable[Mapping[str, Any]], asked: str) -> bool:
    """Neutron's `fixed_ips=ip_address=10.0.0.3`."""
    key, _, value = asked.partition("=")
    return any(fixed.get(key) == value for fixed in fixed_ips)


def _equals(have: Any, asked: str) -> bool:
    if isinstance(have, bool):
        return have is (asked.lower() in ("true", "1"))
    if have is None:
        return asked in ("", "None", "null")
    if isinstance(have, list):
        return asked in have
    return str(have) == asked


def ordered(documents: list[Document], query: Query) -> list[Document]:
    """Sort by `sort_key` and `sort_dir` pairs, the first one weighs most; without them the order stays.

    Raises:
        InvalidInput: a key is no field.
    """
    keys = [value for key, value in query if key == "sort_key"]
    directions = [value for key, value in query if key == "sort_dir"]
    pairs = [*zip(keys, [*directions, *["asc"] * len(keys)], strict=False)]
    pairs += [_colon_pair(part) for key, value in query if key == "sort" for part in value.split(",")]
    for key, direction in reversed(pairs):
        if documents and key not in documents[0]:
            raise InvalidInput(f"{key} is invalid attribute for sort_key")
        documents = sorted(documents, key=lambda document: _weight(document[key]), reverse=direction == "desc")
    return documents


def _colon_pair(part: str) -> tuple[str, str]:
    key, _, direction = part.partition(":")
    return key, direction or "asc"


def _weight(value: Any) -> tuple[bool, Any]:
    comparable = value if isinstance(value, str | int | float) else str(value)
    return value is not None, comparable


def page(documents: list[Document], query: Query, *, unlimited: int = 0) -> tuple[list[Document], bool]:
    """One page of a list and whether more follows.

    A page has `unlimited` documents when no limit is asked for; 0 means all.

    Raises:
        InvalidInput: limit is no number, or there is no such marker.
    """
    options = dict(query)
    if options.get("page_reverse", "").lower() == "true":
        documents = documents[::-1]
    start = _after(documents, options.get("marker", ""))
    limit = _limit(options.get("limit", "")) or unlimited or len(documents)
    return documents[start : start + limit], start + limit < len(documents)


def _after(documents: list[Document], marker: str) -> int:
    if not marker:
        return 0
    for index, document in enumerate(documents):
        if document.get("id") == marker:
            return index + 1
    raise InvalidInput(f"marker [{marker}] not found")


def _limit(asked: str) -> int:
    if not asked:
        return 0
    if not asked.isdigit():
        raise InvalidInput(f"Invalid input for limit. Reason: '{asked}' is not an integer of at least 0.")
    return int(asked)


def narrowed(document: Document, query: Query) -> Document:
    """A document with the asked fields only; all when none is asked for."""
    names = {value for key, value in query if key == "fields"}
    return {name: value for name, value in document.items() if name in names} if names else document
