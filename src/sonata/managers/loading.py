"""Finds the manager classes in an author's file."""

from __future__ import annotations

import importlib.util
import inspect
import sys
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType

from sonata.errors import ManagerError
from sonata.managers.author import ServiceSpecificManager, check_answers_something, roles_of


def load_manager_classes(path: Path) -> tuple[type[ServiceSpecificManager], ...]:
    """Import an author's file and return the manager classes that it defines, in the order of their names.

    The file's folder is put on the import path, so that it may import its neighbours.

    Raises:
        ManagerError: there is no such file or no manager class in it. What the file itself raises goes through.
    """
    module = _import_file(path)
    found = tuple(
        value
        for _, value in inspect.getmembers(module, inspect.isclass)
        if issubclass(value, ServiceSpecificManager) and value.__module__ == module.__name__
    )
    if not found:
        raise ManagerError(
            f"`{path.name}` defines no manager", hint="derive a class from sonata.managers.ServiceSpecificManager"
        )
    for manager in found:
        check_answers_something(manager)
    return found


def managers_by_role(path: Path) -> Mapping[str, ServiceSpecificManager]:
    """One manager object per class of a file, by each role it answers.

    Raises:
        ManagerError: two classes answer the same role, or what `load_manager_classes` raises.
    """
    managers: dict[str, ServiceSpecificManager] = {}
    for manager_class in load_manager_classes(path):
        manager = manager_class()
        for role in roles_of(manager_class):
            if role in managers:
                other = type(managers[role]).__name__
                raise ManagerError(f"`{other}` and `{manager_class.__name__}` both answer `{role}`")
            managers[role] = manager
    return managers


def _import_file(path: Path) -> ModuleType:
    if not path.is_file():
        raise ManagerError(f"manager file `{path}` does not exist")
    sys.path.insert(0, str(path.parent))
    spec = importlib.util.spec_from_file_location(f"_manager_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise ManagerError(f"`{path.name}` is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module
