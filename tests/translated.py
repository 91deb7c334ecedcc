"""Tests on a processor that is emulated: `make test-vm` where there is no KVM."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

TRANSLATED = bool(os.environ.get("SONATA_TEST_TRANSLATED"))
"""Whether programs take ten to twenty times as long here as on a processor."""

PACE = 0.1 if TRANSLATED else 1.0
"""How fast links are in tests of rates, compared with a real processor: who sends must keep up with them."""

TRIES = 12 if TRANSLATED else 4
"""How often a rate is measured until all of it has passed at least once: a core that stands still lets it pass by."""

MEASURED_S = 3.0 if TRANSLATED else 1.0
"""How long each measurement of a rate takes: what a standing core has kept back may pass at once when it goes on."""

needs_processor = pytest.mark.skipif(
    TRANSLATED,
    reason="its bounds are shorter than an emulated processor takes for the work itself, or holds programs up for",
)


@contextmanager
def on_one_core() -> Iterator[None]:
    """Where the cores are emulated, stay on one of them: what the kernel hands on waits at the core that did so.

    Emulated cores stand still in turn for as long as their host has other work, and packets at others go ahead.
    """
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(cores)} if TRANSLATED else cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, cores)
