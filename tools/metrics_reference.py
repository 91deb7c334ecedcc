#!/usr/bin/env python3
"""Writes `docs/reference/metrics.md` from the declared metrics; with --check only tells whether it is up to date."""

from __future__ import annotations

import sys
from itertools import groupby
from pathlib import Path

from sonata.emulator.observing.families import FAMILIES

PAGE = Path(__file__).parent.parent / "docs" / "reference" / "metrics.md"
HEAD = """# Metrics

<!-- Written by tools/metrics_reference.py; change sonata.emulator.observing.families, not this page. -->

`GET /metrics` on the emulator's address, with `Authorization: Bearer TOKEN`, in Prometheus' text format 0.0.4, in
OpenMetrics 1.0 (`Accept: application/openmetrics-text`) or as JSON (`Accept: application/json`).
How to use them: [observe](../howto/observe.md).

Counters begin at 0 when a machine or interface is made anew. Directions of a link go from `source` to `target`.
What security groups refuse is in no counter: it has been sent, and was not received.
"""
TAIL = """
## Queries

`sonata emu metrics QUERY` and `GET /emulator/v1/query?query=` look at the last 15 minutes, read every 5 s (every 15 s
at the slowest, where reading takes long). At most 4,000,000 values are kept; with more series the time is shorter.

The language is a part of PromQL with Prometheus' meaning (2.x). There are:

- instant vectors, with the matchers `=`, `!=`, `=~`, `!~`; the last reading counts for 5 minutes
- `rate`, `increase`, `avg_over_time`, `min_over_time`, `max_over_time`, `sum_over_time`, `count_over_time`
- `sum`, `avg`, `min`, `max`, `count`, each with `by` or `without`
- `+ - * / % ^` and `== != > < >= <=`, also with `bool`, between scalars and vectors whose labels are equal

Anything else (`offset`, `@`, subqueries, `on`, `ignoring`, `and`, `or`, other functions) is refused, with its place.

## Rules

`PUT /emulator/v1/rules` and `sonata emu rules FILE` take recording rules in the text that Prometheus loads. They are
evaluated at each reading, in their order, kept with everything else, and shown in `/metrics`. Names that begin with
`sonata_` are refused, and so are alerts. Rules live as long as the emulation.
"""


def page() -> str:
    parts = [HEAD]
    for group, families in groupby(FAMILIES, key=lambda family: family.group):
        parts.append(f"\n## {group}\n\n| metric | kind | labels | meaning |\n|---|---|---|---|")
        for family in families:
            labels = ", ".join(f"`{label}`" for label in family.labels) or "-"
            parts.append(f"| `{family.name}` | {family.kind} | {labels} | {family.help} |")
    return "\n".join([*parts, TAIL])


def main() -> int:
    if "--check" in sys.argv[1:]:
        if not PAGE.exists() or PAGE.read_text() != page():
            print(f"{PAGE} is out of date: run tools/metrics_reference.py")
            return 1
        return 0
    PAGE.write_text(page())
    print(f"written: {PAGE}")
    return 0


sys.exit(main())
