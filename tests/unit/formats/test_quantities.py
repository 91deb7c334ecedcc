"""Quantities read as people write them, and survive being written and read again."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sonata._lib import quantities as q


@pytest.mark.parametrize(
    ("parse", "text", "value"),
    [
        (q.parse_duration, "20ms", 0.02),
        (q.parse_duration, "1.5 s", 1.5),
        (q.parse_duration, "250us", 250e-6),
        (q.parse_duration, "2min", 120.0),
        (q.parse_duration, 0, 0.0),
        (q.parse_rate, "100Mbit", 100e6),
        (q.parse_rate, "64kbit", 64e3),
        (q.parse_rate, "2.5Gbit", 2.5e9),
        (q.parse_size, "32GiB", 32 * 2**30),
        (q.parse_size, "500MB", 500_000_000),
        (q.parse_size, "0.5KiB", 512),
        (q.parse_share, "0.1%", 0.001),
        (q.parse_share, "100%", 1.0),
        (q.parse_share, "0", 0.0),
    ],
)
def test_reads_what_people_write(parse, text, value):
    assert parse(text) == value


@pytest.mark.parametrize(
    ("parse", "text", "told"),
    [
        (q.parse_duration, "20", "has no unit"),
        (q.parse_duration, 20, "has no unit"),
        (q.parse_duration, "-3ms", "negative"),
        (q.parse_duration, "20 parsecs", "`parsecs`"),
        (q.parse_duration, "fast", "write it as `20ms`"),
        (q.parse_duration, True, "such as `20ms`"),
        (q.parse_duration, None, "such as `20ms`"),
        (q.parse_duration, ["20ms"], "such as `20ms`"),
        (q.parse_duration, "nan", "is not a duration"),
        (q.parse_duration, "1e3s", "is not a duration"),
        (q.parse_duration, "9" * 500 + "s", "is not a duration"),
        (q.parse_duration, "٣ms", "is not a duration"),
        (q.parse_rate, "100mbit", "`Mbit`"),
        (q.parse_size, "0.1B", "whole number of bytes"),
        (q.parse_share, "101%", "more than 100%"),
        (q.parse_share, "0.1", "has no unit"),
    ],
)
def test_tells_what_is_wrong(parse, text, told):
    with pytest.raises(ValueError) as caught:
        parse(text)
    assert told in str(caught.value)


@given(st.floats(min_value=1e-9, max_value=1e6))
def test_durations_survive(seconds):
    assert q.parse_duration(q.format_duration(seconds)) == seconds


@given(st.floats(min_value=1e-3, max_value=1e15))
def test_rates_survive(rate):
    assert q.parse_rate(q.format_rate(rate)) == rate


@given(st.integers(min_value=0, max_value=2**60))
def test_sizes_survive(size):
    assert q.parse_size(q.format_size(size)) == size


@given(st.floats(min_value=1e-9, max_value=1))
def test_shares_survive(share):
    assert q.parse_share(q.format_share(share)) == share


@pytest.mark.parametrize(
    ("text", "written"),
    [
        (q.format_duration(0.02), "20ms"),
        (q.format_rate(1e8), "100Mbit"),
        (q.format_size(32 * 2**30), "32GiB"),
        (q.format_share(0.001), "0.1%"),
        (q.format_size(0), "0B"),
    ],
)
def test_writes_what_people_would(text, written):
    assert text == written


@given(st.text(max_size=20))
def test_any_text_is_read_or_refused(text):
    for parse in (q.parse_duration, q.parse_rate, q.parse_size, q.parse_share):
        with contextlib.suppress(ValueError):
            assert parse(text) >= 0
