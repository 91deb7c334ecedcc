"""Topics and patterns as AMQP has them (0-9-1, section 3.1.3.3): words joined by dots, `*` one word, `#` any number."""

from __future__ import annotations

import re
from functools import lru_cache

from sonata.errors import InvalidInput

MAX_TOPIC = 255
_WORD = re.compile(r"[A-Za-z0-9_~:@-]+")


def check_topic(topic: str) -> None:
    """Refuse what is no topic; raises InvalidInput."""
    if len(topic) > MAX_TOPIC or not all(_WORD.fullmatch(word) for word in topic.split(".")):
        raise InvalidInput(f"`{topic[:80]}` is no topic", hint="words of letters, digits and `-_~:@` joined by dots")


def check_pattern(pattern: str) -> None:
    """Refuse what is no pattern; raises InvalidInput."""
    check_topic(".".join("x" if word in ("*", "#") else word for word in pattern.split(".")))


@lru_cache(maxsize=4096)
def _compile(pattern: str) -> re.Pattern[str]:
    """A pattern as a regular expression over the topic with a dot after each word."""
    word, any_words = r"[^.]+\.", r"(?:[^.]+\.)*"
    parts = {"*": word, "#": any_words}
    return re.compile("".join(parts.get(part) or re.escape(part) + r"\." for part in pattern.split(".")))


def matches(pattern: str, topic: str) -> bool:
    """Whether a topic matches a pattern."""
    return bool(_compile(pattern).fullmatch(topic + "."))


def covers(allowed: str, pattern: str) -> bool:
    """Whether every topic that matches `pattern` is permitted by `allowed`, a topic or `some.words.#`.

    Patterns that only might stay within are not covered: a wildcard among the fixed words is refused.
    """
    if not allowed.endswith(".#"):
        return pattern == allowed
    fixed = allowed.removesuffix(".#").split(".")
    return pattern.split(".")[: len(fixed)] == fixed
