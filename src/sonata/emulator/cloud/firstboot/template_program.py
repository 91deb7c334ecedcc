"""Renders one jinja template: reads `template`, `data` and `missing` as one JSON document, and prints the text.

Runs as a program of its own, started by `templates`, within bounds of time and memory.
"""

from __future__ import annotations

import json
import resource
import sys

from jinja2 import TemplateError, Undefined
from jinja2.sandbox import ImmutableSandboxedEnvironment

CPU_S = 2
MEMORY_BYTES = 512 * 1024**2
LONGEST_TEXT = 1024**2


def main() -> int:
    """Render one template from stdin."""
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_S, CPU_S))
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    request = json.load(sys.stdin)
    try:
        shown = _shown_as(request["missing"])
        environment = ImmutableSandboxedEnvironment(keep_trailing_newline=True, undefined=shown)
        text = environment.from_string(request["template"]).render(request["data"])
    except (TemplateError, ArithmeticError, LookupError, TypeError, ValueError, MemoryError, RecursionError) as error:
        sys.stderr.write(f"{type(error).__name__}: {error}\n")
        return 1
    if len(text) > LONGEST_TEXT:
        sys.stderr.write(f"its text is longer than {LONGEST_TEXT} characters\n")
        return 1
    sys.stdout.write(text)
    return 0


def _shown_as(prefix: str) -> type[Undefined]:
    """Names that are not known, shown as such instead of as nothing."""

    class Missing(Undefined):
        def __str__(self) -> str:
            return f"{prefix}{self._undefined_name}"

    return Missing


if __name__ == "__main__":
    sys.exit(main())
