"""Author files are found, or refused with a reason."""

from __future__ import annotations

from pathlib import Path

import pytest

from sonata.errors import ManagerError
from sonata.managers.loading import load_manager_classes, managers_by_role

HEAD = "from sonata.managers import ServiceSpecificManager, Placement\n"
PLACER = "class {name}(ServiceSpecificManager):\n    def place(self, state):\n        return Placement({{}})\n"


def write(folder: Path, text: str) -> Path:
    path = folder / "author.py"
    path.write_text(text)
    return path


def test_classes_of_the_file_are_found_and_imported_ones_are_not(tmp_path: Path) -> None:
    (tmp_path / "neighbour_of_author.py").write_text(HEAD + PLACER.format(name="Base"))
    text = HEAD + "from neighbour_of_author import Base\n" + PLACER.format(name="Mine").replace("Service", "Service")
    found = load_manager_classes(write(tmp_path, text))
    assert [manager.__name__ for manager in found] == ["Mine"]


def test_a_file_without_manager_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ManagerError, match=r"`author.py` defines no manager.*ServiceSpecificManager"):
        load_manager_classes(write(tmp_path, "x = 1\n"))


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(ManagerError, match="does not exist"):
        load_manager_classes(tmp_path / "none.py")


def test_two_classes_for_one_role_are_refused(tmp_path: Path) -> None:
    text = HEAD + PLACER.format(name="One") + PLACER.format(name="Two")
    with pytest.raises(ManagerError, match="`One` and `Two` both answer `placement`"):
        managers_by_role(write(tmp_path, text))


def test_errors_of_the_author_come_through(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError):
        load_manager_classes(write(tmp_path, "1 / 0\n"))
