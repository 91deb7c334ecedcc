"""What somebody may have meant."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from itertools import islice

_MAX_CHOICES = 2000


def suggestion(word: str, choices: Iterable[str]) -> str:
    """A hint such as "did you mean `delay`?", or empty when nothing is close."""
    known = list(islice(choices, _MAX_CHOICES))
    close = [choice for choice in known if choice.casefold() == word.casefold()]
    close = close or difflib.get_close_matches(word, known, n=1, cutoff=0.6)
    return f"did you mean `{close[0]}`?" if close else ""
