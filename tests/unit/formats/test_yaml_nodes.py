"""Hostile and broken YAML ends in InvalidInput with a place; sound YAML keeps its places."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.formats.samples import findings_of

from sonata.errors import InvalidInput, NotFound
from sonata.formats.yaml_nodes import MAX_BYTES, MAX_DEPTH, parse_yaml, read_yaml

BOMB = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{chr(98 + i)}: &{chr(98 + i)} [{', '.join(['*' + chr(97 + i)] * 10)}]\n" for i in range(8)
)


@pytest.mark.parametrize(
    ("content", "code", "line"),
    [
        ("a: [1, 2", "YAML-0001", 2),
        ("a: 1\n b: 2", "YAML-0001", 2),
        ("a: 1\n---\nb: 2", "YAML-0001", 2),
        (b"a: \xff\xfe", "YAML-0002", 1),
        (b"ok: 1\nbad: \xc3(", "YAML-0002", 2),
        (b"PK\x03\x04\x00\x00", "YAML-0001", 0),
        ("a: \x00", "YAML-0001", 0),
        (b"x" * (MAX_BYTES + 1), "YAML-0003", 0),
        ("[" * 100_000, "YAML-0003", 1),
        ("- " * 1000 + "x", "YAML-0003", 1),
        ("{a: " * (MAX_DEPTH + 1) + "1" + "}" * (MAX_DEPTH + 1), "YAML-0003", 1),
        (BOMB, "YAML-0003", 6),
        ("a: &a [*a]", "YAML-0005", 1),
        ("a: !!python/object/apply:os.system [ls]", "YAML-0005", 1),
        ("a: !!timestamp nonsense", "YAML-0005", 1),
        ("a: 1\nb: 2\na: 3", "YAML-0004", 3),
        ("? {a: 1}\n: 2", "YAML-0005", 1),
        ("a: *nowhere", "YAML-0001", 1),
        ("", "YAML-0006", 0),
        ("# nothing but words\n", "YAML-0006", 0),
        ("a: " + "9" * 5000, "YAML-0001", 0),
    ],
)
def test_refused_with_code_and_line(content, code, line):
    with pytest.raises(InvalidInput) as caught:
        parse_yaml(content, "x.yaml")
    finding = caught.value.diagnostics[0]
    assert (finding.code, finding.file, finding.line) == (code, "x.yaml", line)


def test_all_duplicates_at_once():
    with pytest.raises(InvalidInput) as caught:
        parse_yaml("a: 1\na: 2\nb: {c: 1, c: 2}\n", "x.yaml")
    assert [(d.line, d.column) for d in caught.value.diagnostics] == [(2, 1), (3, 11)]


def test_places_of_keys_and_values():
    document = parse_yaml("pops:\n  a: {cpus: 3}\nlinks:\n  - {between: [a, b]}\n", "x.yaml")
    assert document.position(("pops", "a", "cpus")) == (2, 13)
    assert document.position(("pops", "a", "cpus"), of_key=True) == (2, 7)
    assert document.position(("links", 0, "between", 1)) == (4, 19)
    assert document.position(("links", 0, "nothing", 7)) == (4, 5), "the nearest ancestor"
    assert document.position(("links", 9)) == (4, 3)


def test_merged_keys_have_the_place_of_their_source_unless_overridden():
    document = parse_yaml("base: &b {x: 1, y: 2}\nuse:\n  <<: *b\n  y: 3\n", "x.yaml")
    assert document.data["use"] == {"x": 1, "y": 3}
    assert document.position(("use", "x"))[0] == 1
    assert document.position(("use", "y"))[0] == 4


def test_versions_and_dates_keep_their_writing():
    document = parse_yaml("version: 0.10\nday: 2024-01-01\n", "x.yaml")
    assert document.source_text(("version",)) == "0.10"
    assert document.data["day"] == "2024-01-01"


def test_byte_order_mark_is_no_content():
    assert parse_yaml(b"\xef\xbb\xbfa: 1", "x.yaml").data == {"a": 1}


def test_missing_file_and_folder(tmp_path):
    with pytest.raises(NotFound):
        read_yaml(tmp_path / "none.yaml")
    with pytest.raises(InvalidInput):
        read_yaml(tmp_path)


@given(
    st.binary(max_size=300)
    | st.text(max_size=300).map(str.encode)
    | st.text("{}[]&*!|>-:?,# \n\t'\"a0.~<", max_size=80)
)
def test_any_content_is_read_or_refused(content):
    assert findings_of(lambda: parse_yaml(content, "x.yaml")) != []
