"""Disks of hosts whose loop devices do not work: the first one tells, and is a folder as all others."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

import sonata.adapters.runtime_oci.disks as disks
import sonata.adapters.runtime_oci.ext4 as ext4

SIZE = 16 * 1024**2

needs_programs = pytest.mark.skipif(bool(ext4.missing_program()), reason="needs e2fsprogs")


class Loops:
    """The host's loop devices, which refuse with an error."""

    def __init__(self, error: int) -> None:
        self.error = error
        self.asked = 0

    def attach(self, _descriptor: int) -> None:
        """Refuse."""
        self.asked += 1
        raise OSError(self.error, os.strerror(self.error))


def refusing(monkeypatch: pytest.MonkeyPatch, error: int) -> Loops:
    loops = Loops(error)
    monkeypatch.setattr(disks, "loop_devices", loops)
    monkeypatch.setattr(disks, "in_user_namespace", lambda: False)
    return loops


@needs_programs
def test_where_no_disk_can_be_mounted_all_are_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loops, kept = refusing(monkeypatch, errno.ENXIO), tmp_path / "kept"
    host = disks.Disks(tmp_path / "run", tmp_path / "spare")
    assert host.open(kept / "one", SIZE, "one") == kept / "one"
    assert list((kept / "one").iterdir()) == []
    assert "loop devices" in host.unenforced
    asked = loops.asked
    assert host.open(kept / "two", SIZE, "two") == kept / "two"
    assert loops.asked == asked
    host.end()


@needs_programs
def test_a_host_that_is_full_is_no_host_without_sizes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    refusing(monkeypatch, errno.ENOSPC)
    host = disks.Disks(tmp_path / "run", tmp_path / "spare")
    for _ in range(2):
        with pytest.raises(OSError, match=os.strerror(errno.ENOSPC)):
            host.open(tmp_path / "one", SIZE, "one")
    host.end()


def test_what_cannot_be_is_not_tried(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loops = refusing(monkeypatch, errno.EPERM)
    monkeypatch.setattr(disks, "in_user_namespace", lambda: True)
    host = disks.Disks(tmp_path / "run", tmp_path / "spare")
    assert host.open(tmp_path / "one", SIZE, "one") == tmp_path / "one"
    assert host.unenforced
    assert loops.asked == 0
    host.end()
