"""Tables on their way to a file or another program are whole."""

from __future__ import annotations

import json

import pytest

from sonata.cli import output

LONG = "x" * 3000


def test_no_cell_is_cut_or_wrapped(capsys: pytest.CaptureFixture[str]) -> None:
    output.rows(("name", "created_at"), [{"name": LONG, "created_at": "now"}, {"name": "b", "created_at": None}])
    head, first, second = capsys.readouterr().out.splitlines()
    assert head == f"{'NAME':3000}  CREATED AT"
    assert first == f"{LONG}  now"
    assert second.split() == ["b", "-"]


def test_square_brackets_are_text(capsys: pytest.CaptureFixture[str]) -> None:
    output.rows(("what",), [{"what": "[red]links[0]"}])
    assert capsys.readouterr().out.splitlines()[1] == "[red]links[0]"


def test_details_are_whole_and_wide_characters_stay_aligned(capsys: pytest.CaptureFixture[str]) -> None:
    output.details({"name": "日本", "labels": {"a": LONG}, "a b": [1, 2]})
    lines = capsys.readouterr().out.splitlines()
    assert lines == ["name    日本", f"labels  {json.dumps({'a': LONG})}", "a b     1, 2"]


def test_lines_within_a_cell_are_joined(capsys: pytest.CaptureFixture[str]) -> None:
    output.rows(("error",), [{"error": "one\ntwo"}])
    assert capsys.readouterr().out == "ERROR\none two\n"


def test_no_rows_leave_the_head(capsys: pytest.CaptureFixture[str]) -> None:
    output.rows(("name", "state"), [])
    assert capsys.readouterr().out == "NAME  STATE\n"
