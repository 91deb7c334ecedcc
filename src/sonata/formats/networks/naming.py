"""Names of ours for what others have called in any alphabet: unique, and the same at each import."""

from __future__ import annotations

import html
import re
import unicodedata
from collections.abc import Collection, Iterable

MAX_LENGTH = 63
_SPELLED = str.maketrans(
    {"ß": "ss", "ø": "o", "Ø": "O", "ł": "l", "Ł": "L", "đ": "d", "Đ": "D", "æ": "ae", "Æ": "Ae"}
    | {"œ": "oe", "Œ": "Oe", "þ": "th", "Þ": "Th", "ð": "d", "Ð": "D"}
)


def slug(text: str) -> str:
    """Letters, digits and inner hyphens that stand for a text, e.g. `Sao-Paulo`; empty where nothing is left of it."""
    plain = unicodedata.normalize("NFKD", html.unescape(text).translate(_SPELLED))
    kept = re.sub(r"[^A-Za-z0-9]+", "-", "".join(char for char in plain if not unicodedata.combining(char)))
    return kept.strip("-")[:MAX_LENGTH].rstrip("-")


def unique_names(wanted: Iterable[str], reserved: Collection[str] = ()) -> list[str]:
    """A name for each: as wanted where it is free, else with the first number from 2 that is."""
    names = list(wanted)
    free, taken = set(names) - set(reserved), set(reserved) | set(names)
    given = []
    for name in names:
        if name in free:
            free.remove(name)
            given.append(name)
        else:
            given.append(_numbered(name, taken))
            taken.add(given[-1])
    return given


def _numbered(name: str, taken: Collection[str]) -> str:
    number = 2
    while (candidate := f"{name[: MAX_LENGTH - len(str(number)) - 1].rstrip('-')}-{number}") in taken:
        number += 1
    return candidate
