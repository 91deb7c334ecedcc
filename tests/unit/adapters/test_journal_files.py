"""A journal in files: private, atomic, and never stopped by damage."""

from __future__ import annotations

from pathlib import Path

import pytest

from sonata.adapters.journal_files import FileJournal
from sonata.errors import AdapterError


def test_documents_come_back_and_are_private(tmp_path: Path) -> None:
    journal = FileJournal(tmp_path / "clouds")
    assert journal.load() == {}
    journal.save("pop-a", {"one": 1})
    journal.save("pop-a", {"one": 2})
    journal.save("wan", [None])
    assert FileJournal(tmp_path / "clouds").load() == {"pop-a": {"one": 2}, "wan": [None]}
    assert {path.stat().st_mode & 0o777 for path in (tmp_path / "clouds").iterdir()} == {0o600}
    assert (tmp_path / "clouds").stat().st_mode & 0o777 == 0o700
    journal.remove("wan")
    journal.remove("wan")
    assert set(journal.load()) == {"pop-a"}


@pytest.mark.parametrize("text", [b"", b"{", b"\xff\xfe", b"{} trailing"])
def test_a_damaged_file_is_moved_aside_and_the_others_are_read(tmp_path: Path, text: bytes) -> None:
    journal = FileJournal(tmp_path)
    journal.save("pop-b", {})
    (tmp_path / "pop-a.json").write_bytes(text)
    for _ in range(2):
        assert journal.load() == {"pop-b": {}}
    assert (tmp_path / "pop-a.json.damaged").read_bytes() == text
    journal.set_aside("never-was")


def test_a_document_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(AdapterError, match="pop-a"):
        FileJournal(tmp_path / "file").save("pop-a", {})
