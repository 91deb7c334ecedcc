"""Volumes on this host's disk: real file systems where loop devices work, folders elsewhere."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import sonata.adapters.volumes_local.programs as programs
from sonata.adapters.volumes_local import LocalVolumes
from sonata.errors import AdapterError, Conflict, NotFound

MIB = 1024**2


@pytest.fixture
def store(tmp_path: Path) -> Iterator[LocalVolumes]:
    """A store whose volumes are gone afterwards."""
    found = LocalVolumes(tmp_path / "volumes")
    yield found
    for path in (tmp_path / "volumes").glob("*"):
        found.remove(path.stem)
    assert not list((tmp_path / "volumes").glob("*"))


def new() -> str:
    return str(uuid.uuid4())


def test_content_follows_clones_and_growth(store: LocalVolumes, tmp_path: Path) -> None:
    volume, copy = new(), new()
    store.create(volume, 1)
    (store.open(volume) / "file").write_text("one")
    store.clone(volume, copy, 2)
    (store.open(volume) / "file").write_text("two")
    assert (store.open(copy) / "file").read_text() == "one"
    store.shut(copy)
    store.extend(copy, 3)
    assert (store.open(copy) / "file").read_text() == "one"
    store.pack(copy, tmp_path / "packed.tar")
    assert (tmp_path / "packed.tar").stat().st_size > 0
    store.create(back := new(), 1)
    store.unpack(back, tmp_path / "packed.tar")
    assert (store.open(back) / "file").read_text() == "one"
    with pytest.raises(Conflict, match="exists"):
        store.create(volume, 1)


def test_a_root_file_system_is_copied_in_with_its_upper_layers_on_top(store: LocalVolumes, tmp_path: Path) -> None:
    (tmp_path / "layer" / "etc").mkdir(parents=True)
    (tmp_path / "layer" / "etc" / "name").write_text("root")
    volume = new()
    store.create(volume, 1)
    store.fill(volume, [tmp_path / "layer"])
    assert (store.open(volume) / "etc" / "name").read_text() == "root"


def test_what_is_not_there_is_told(store: LocalVolumes) -> None:
    with pytest.raises(NotFound):
        store.open(new())
    with pytest.raises(ValueError, match="badly formed"):
        store.remove("../elsewhere")
    store.remove(new())


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root: mounts file systems")
def test_a_volume_holds_no_more_than_its_size_and_is_held_by_its_users(store: LocalVolumes) -> None:
    if store.unenforced:
        pytest.skip(store.unenforced)
    volume = new()
    store.create(volume, 1)
    folder = store.open(volume)
    filesystem = os.statvfs(folder)
    assert 900 * MIB < filesystem.f_blocks * filesystem.f_frsize <= 1024 * MIB
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with pytest.raises(Conflict, match="in use"):
            store.shut(volume)
    finally:
        os.close(descriptor)


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root: mounts file systems")
def test_many_who_open_a_volume_at_once_get_the_same_folder(store: LocalVolumes) -> None:
    volume = new()
    store.create(volume, 1)
    with ThreadPoolExecutor(8) as pool:
        folders = set(pool.map(lambda _number: store.open(volume), range(8)))
    (folder,) = folders
    mounts = [line for line in Path("/proc/self/mounts").read_text().splitlines() if str(folder) in line]
    assert len(mounts) == (0 if store.unenforced else 1)


def test_a_failed_mount_is_told_in_its_own_words(tmp_path: Path) -> None:
    with pytest.raises(AdapterError, match="no file") as failed:
        programs.run("sh", "-c", "echo banner >&2; echo no file >&2; echo ' dmesg(1) may have more' >&2; exit 32")
    assert "dmesg" not in failed.value.message
