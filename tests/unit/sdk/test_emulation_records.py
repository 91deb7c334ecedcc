"""What is recorded of emulations, on the disk of whoever runs them."""

from __future__ import annotations

from pathlib import Path

import pytest

from sonata._lib.processes import ProcessId
from sonata.errors import AdapterError
from sonata.model.topology import Pop, Topology
from sonata.sdk import emulation_records
from sonata.sdk.emulation_records import EmulationRecord, folder_of, load, remove_files, save

NAME = "ending"


@pytest.fixture
def recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> EmulationRecord:
    """A record of an emulation that has ended, with something that it has left."""
    monkeypatch.setenv("SONATA_HOME", str(tmp_path))
    record = EmulationRecord(
        name=NAME,
        process=ProcessId(1, 0),
        url="http://127.0.0.1:1",
        token="t",
        wan_token="w",
        admin_password="p",
        proxy="",
        proxy_token="",
        cgroups="",
        created_at=0.0,
        topology=Topology(NAME, {"a": Pop("a")}),
    )
    (folder_of(NAME) / "run" / "machines").mkdir(parents=True)
    (folder_of(NAME) / "keeper.log").touch()
    save(record)
    return record


def test_an_emulation_is_known_until_all_else_of_it_is_gone(
    recorded: EmulationRecord, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stuck(folder: Path) -> None:
        for path in folder.rglob("*"):
            if path.is_file():
                path.unlink()
        raise OSError(f"{folder} is in use")

    with monkeypatch.context() as patched:
        patched.setattr(emulation_records, "remove_tree", stuck)
        with pytest.raises(AdapterError, match="is in use"):
            remove_files(NAME)
    assert load(NAME) == recorded
    remove_files(NAME)
    assert not folder_of(NAME).exists()
    remove_files(NAME)  # once more does no harm
