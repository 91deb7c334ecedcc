"""Running this very Python, with Sonata and what it needs, in a machine of the `host` root.

Whatever the interpreter is (the system's, a venv, pyenv, uv, conda), its own folders and Sonata's package are bound
read-only at the paths they have here; never a home folder, never a repository.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

import sonata
from sonata.errors import Unsupported
from sonata.ports.runtime import Bind

_HOST_ROOT = Path("/usr")  # what the `host` root has anyway
_PACKAGE = Path(sonata.__file__).parent


def python_binds() -> tuple[Bind, ...]:
    """The binds without which `python_argv` would not run.

    Raises:
        Unsupported: the interpreter's prefix is a folder that must not be shown, such as a home.
    """
    wanted = [Path(sys.base_prefix), Path(sys.prefix), *_package_folders(), _PACKAGE]
    binds: dict[str, Bind] = {}
    for folder in wanted:
        if folder.is_relative_to(_HOST_ROOT) or any(folder.is_relative_to(shown) for shown in binds):
            continue
        _refuse_private(folder)
        binds[str(folder)] = Bind(folder.resolve(), str(folder))
        # Links in a venv may lead to the real path of the installation.
        binds.setdefault(str(folder.resolve()), Bind(folder.resolve(), str(folder.resolve())))
    return tuple(binds.values())


def python_argv(module: str, *arguments: str) -> tuple[str, ...]:
    """The command line that runs a module with this interpreter."""
    return (sys.executable, "-m", module, *arguments)


def python_env() -> Mapping[str, str]:
    """What the interpreter needs to find Sonata, and not to write beside its files."""
    folders = dict.fromkeys([str(_PACKAGE.parent), *map(str, _package_folders())])
    return {"PYTHONPATH": os.pathsep.join(folders), "PYTHONDONTWRITEBYTECODE": "1", "PYTHONUNBUFFERED": "1"}


def _package_folders() -> list[Path]:
    """Folders of installed packages outside of the prefixes, e.g. those of `pip install --user`."""
    prefixes = (Path(sys.prefix), Path(sys.base_prefix), _HOST_ROOT)
    folders = [Path(entry) for entry in sys.path if Path(entry).name in {"site-packages", "dist-packages"}]
    return [folder for folder in folders if not any(folder.is_relative_to(prefix) for prefix in prefixes)]


def _refuse_private(folder: Path) -> None:
    home = Path.home()
    if folder == Path("/") or home.is_relative_to(folder) or (folder / ".git").exists():
        raise Unsupported(
            f"Python lives in `{folder}`, which machines must not see",
            hint="install Sonata into a virtual environment of its own, e.g. `python3 -m venv .venv`",
        )
