"""The envelope between platform and managers."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sonata.errors import InvalidInput
from sonata.managers.messages import (
    MAX_BYTES,
    MAX_FRAME_BYTES,
    Frame,
    manager_topic,
    manager_word,
    read_frame,
    write_frame,
)

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text(), json_values, max_size=4), st.text(), st.text(), st.text())
def test_frames_survive(body: dict[str, Any], id_: str, topic: str, error: str) -> None:
    frame = Frame("reply", id_, topic, body, error)
    assert read_frame(write_frame(frame)) == frame


@pytest.mark.parametrize(
    "text",
    [
        "",
        "nonsense",
        "[]",
        "{}",
        '{"v": 2, "kind": "reply"}',
        '{"v": 1, "kind": "dance"}',
        '{"v": 1, "kind": ["reply"]}',
        '{"v": 1, "kind": "reply", "body": []}',
        '{"v": 1, "kind": "reply", "id": 7}',
        "[" * 100_000,
        b"\xff\xfe",
    ],
)
def test_nonsense_is_refused(text: str | bytes) -> None:
    with pytest.raises(InvalidInput):
        read_frame(text)


def test_a_body_is_bounded_and_the_largest_still_fits_a_frame() -> None:
    largest = {"x": "ä" * ((MAX_BYTES - 8) // 2)}
    assert len(write_frame(Frame("reply", body=largest)).encode()) <= MAX_FRAME_BYTES
    with pytest.raises(InvalidInput, match=r"1048577|104857[0-9]"):
        write_frame(Frame("reply", body={"x": "y" * (MAX_BYTES - 7)}))


@pytest.mark.parametrize("body", [{"x": float("nan")}, {"x": object()}, {"x": b"bytes"}])
def test_what_is_no_json_is_refused(body: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput):
        write_frame(Frame("reply", body=body))


@given(st.text("ab.~-", min_size=1), st.text("ab.~-", min_size=1))
def test_each_instance_has_a_word_of_its_own(one: str, other: str) -> None:
    assert "." not in manager_word(one)
    assert (manager_word(one) == manager_word(other)) == (one == other)


def test_a_topic_has_three_words() -> None:
    assert manager_topic("ns-1.cdn", "placement").split(".") == ["manager", "ns-1~-cdn", "placement"]
    assert json.loads(write_frame(Frame("request", topic="manager.x.y")))["v"] == 1
