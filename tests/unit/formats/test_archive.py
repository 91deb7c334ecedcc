"""Archives from strangers: nothing escapes, grows, hides or lies without being told."""

from __future__ import annotations

import io
import stat
import struct
import zipfile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.formats.samples import findings_of

from sonata.errors import InvalidInput
from sonata.formats import archive
from sonata.formats.archive import read_archive, write_archive


def make(*members, **options):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", options.get("compression", zipfile.ZIP_DEFLATED)) as target:
        for name, content in members:
            target.writestr(name, content)
    return stream.getvalue()


def refused(data):
    with pytest.raises(InvalidInput) as caught:
        read_archive(data, "x.tgo")
    return [(d.code, d.summary) for d in caught.value.diagnostics]


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("../../etc/passwd", "leads out"),
        ("a/../../b", "leads out"),
        ("/etc/passwd", "absolute"),
        ("C:/windows", "not a path"),
        ("..\\b", "not a path"),
        ("a//b", "simplest form"),
        ("./a", "simplest form"),
        ("a\nb", "control characters"),
        ("x" * 2000, "longer"),
    ],
)
def test_names_that_lead_elsewhere(name, told):
    findings = refused(make(("good.txt", b"1"), (name, b"2")))
    assert [code for code, _ in findings] == ["PKG-0002"]
    assert told in findings[0][1]


def test_name_with_a_hidden_end():
    # The archive says `aXb`; as `a\0b` zipfile would show `a` alone.
    assert "control characters" in refused(make(("aXb", b"1")).replace(b"aXb", b"a\0b"))[0][1]


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR])
def test_links_and_special_files(kind):
    member = zipfile.ZipInfo("link")
    member.external_attr = (kind | 0o777) << 16
    assert "`link` is refused: it is a link" in refused(make((member, b"/etc/passwd")))[0][1]


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_duplicates():
    assert refused(make(("a", b"1"), ("a", b"2"))) == [("PKG-0002", "member `a` is there twice")]
    assert refused(make(("a", b"1"), ("a/", b"")))[0][1] == "member `a` is there twice"


def test_file_that_is_also_a_folder():
    assert "is a file, not a folder" in refused(make(("a", b"1"), ("a/b", b"2")))[0][1]


def test_bombs(monkeypatch):
    code, summary = refused(make(("bomb", b"\0" * 20 * 1024**2)))[0]
    assert (code, "grows more than" in summary) == ("PKG-0002", True)
    monkeypatch.setattr(archive, "MAX_TOTAL_BYTES", 100)
    assert refused(make(("a", b"x" * 60), ("b", b"y" * 60)))[0][0] == "PKG-0003"
    monkeypatch.setattr(archive, "MAX_MEMBERS", 1)
    assert "more than 1 members" in refused(make(("a", b""), ("b", b"")))[0][1]
    monkeypatch.setattr(archive, "MAX_ARCHIVE_BYTES", 10)
    assert refused(make(("a", b"")))[0][0] == "PKG-0003"


def test_size_that_lies():
    data = make(("a", b"x" * 1000))
    lying = data.replace(struct.pack("<I", 1000), struct.pack("<I", 10))
    assert lying != data
    assert refused(lying)[0][0] == "PKG-0004"


def test_damage_and_encryption():
    data = make(("file.txt", b"content"), compression=zipfile.ZIP_STORED)
    assert refused(data.replace(b"content", b"cOntent")) == [
        ("PKG-0004", "member `file.txt` is damaged: Bad CRC-32 for file 'file.txt'")
    ]
    central = data.index(b"PK\x01\x02")
    encrypted = data[: central + 8] + b"\x01\x00" + data[central + 10 :]
    assert "encrypted" in refused(encrypted)[0][1]
    unknown = data[: central + 10] + b"\x63\x00" + data[central + 12 :]
    assert refused(unknown)[0][0] == "PKG-0004"


@pytest.mark.parametrize(
    "data",
    [b"", b"PK", b"\x1f\x8b\x08tar", b"not a zip" * 100, make(("a", b"b"))[:-5]],
    ids=["empty", "short", "gzip", "text", "cut off"],  # archives carry today's date, and so would their ids
)
def test_no_zip_at_all(data):
    assert refused(data)[0][0] == "PKG-0001"


def test_all_refusals_at_once():
    assert len(refused(make(("../a", b""), ("/b", b""), ("c", b"")))) == 2


def test_written_archives_repeat_and_read_back():
    files = {"b/x": b"1", "a": b"2", "meta": b"3"}
    data = write_archive(files, first=("meta",))
    assert data == write_archive(dict(reversed(files.items())), first=("meta",))
    assert read_archive(data, "x") == files
    with zipfile.ZipFile(io.BytesIO(data)) as target:
        assert target.namelist() == ["meta", "a", "b/x"]


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 400), st.binary(max_size=8))
def test_any_damage_is_read_or_refused(place, junk):
    data = make(("META-INF/MANIFEST.MF", b"name: x\n" * 20), ("a/b.yml", b"hello: world"))
    assert findings_of(lambda: read_archive(data[:place] + junk + data[place + len(junk) :], "x")) != []
