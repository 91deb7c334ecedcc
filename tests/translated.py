"""Tests on a processor that is emulated: `make test-vm` where there is no KVM."""

from __future__ import annotations

import os

import pytest

TRANSLATED = bool(os.environ.get("SONATA_TEST_TRANSLATED"))
"""Whether programs take ten to twenty times as long here as on a processor."""

PACE = 0.1 if TRANSLATED else 1.0
"""How fast links are in tests of rates, compared with a real processor: who sends must keep up with them."""

needs_processor = pytest.mark.skipif(
    TRANSLATED,
    reason="its bounds are shorter than an emulated processor takes for the work itself, or holds programs up for",
)
