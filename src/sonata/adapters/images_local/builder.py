"""Layers from recipes: a bare system per release, packages above it, files above them; each kept by its content."""

from __future__ import annotations

import contextlib
import hashlib
import json
import platform
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import field
from pathlib import Path

import sonata.adapters.images_local.namespaces as namespaces
from sonata._lib.trees import remove_tree
from sonata._lib.values import dataclass
from sonata.model.recipe import Recipe, RecipeFile
from sonata.ports.images import Progress

_FORMAT = 1
"""Part of every key; to be raised when the scripts make other layers from the same recipe."""

_SCRIPTS = Path(__file__).parent

Lock = Callable[[str, Progress], AbstractContextManager[None]]


@dataclass(frozen=True, slots=True)
class _Layer:
    """A layer to be: a bare system when it has neither packages nor files."""

    name: str
    suite: str
    packages: tuple[str, ...] = ()
    files: Mapping[str, RecipeFile] = field(default_factory=dict)

    @property
    def summary(self) -> str:
        if self.packages:
            return f"installing {', '.join(self.packages)}"
        if self.files:
            return f"adding {', '.join(self.files)}"
        return f"making the bare system of Debian {self.suite}"


class Builder:
    """Makes the layers of recipes.

    Args:
        folder: of the store.
        lock: of the store, by name.
    """

    def __init__(self, folder: Path, lock: Lock) -> None:
        self._folder = folder
        self._lock = lock

    def digest(self, recipe: Recipe) -> str:
        """What the image is made from, as `sha256:...`; says nothing about the day on which it was made."""
        names = [layer.name for layer in _plan(recipe)]
        return f"sha256:{_hash([names, recipe.command, recipe.env, recipe.ready_tcp_port])}"

    def layers(self, recipe: Recipe, progress: Progress) -> tuple[Path, ...]:
        """Make the layers that are missing and return all, topmost first."""
        made: tuple[Path, ...] = ()
        for layer in _plan(recipe):
            made = (self._made(layer, made, progress), *made)
        return made

    @contextlib.contextmanager
    def scratch(self, name: str) -> Iterator[Path]:
        """A fresh folder for making something under the lock of its name; removed at the end."""
        folder = self._folder / "scratch" / name
        remove_tree(folder)
        folder.mkdir(parents=True)
        try:
            yield folder
        finally:
            remove_tree(folder)

    def _made(self, layer: _Layer, below: tuple[Path, ...], progress: Progress) -> Path:
        target = self._folder / "layers" / layer.name
        with self._lock(layer.name, progress):
            if target.is_dir():
                return target
            _require_tools(bare=not below)
            progress(layer.summary)
            with self.scratch(layer.name) as scratch:
                tree = scratch / "tree"
                tree.mkdir(mode=0o755)
                script = self._on_top(layer, below, scratch) if below else self._bare(layer, tree)
                with self._packages_of(layer, progress):
                    namespaces.run(layer.summary, script)
                tree.rename(target)
        return target

    def _packages_of(self, layer: _Layer, progress: Progress) -> AbstractContextManager[None]:
        """Alone with the kept packages of the release: apt refuses to share them."""
        if layer.files and not layer.packages:
            return contextlib.nullcontext()
        return self._lock(f"apt-{layer.suite}", progress)

    def _bare(self, layer: _Layer, tree: Path) -> list[str]:
        return ["sh", str(_SCRIPTS / "base.sh"), layer.suite, str(tree), *self._kept(layer.suite)]

    def _on_top(self, layer: _Layer, below: tuple[Path, ...], scratch: Path) -> list[str]:
        for name in ("work", "root", "files"):
            (scratch / name).mkdir()
        _write_files(layer.files, scratch / "files")
        options = f"lowerdir={':'.join(map(str, below))},upperdir={scratch / 'tree'},workdir={scratch / 'work'}"
        if namespaces.in_user_namespace():
            options += ",userxattr"
        script = ["sh", str(_SCRIPTS / "layer.sh"), options, str(scratch / "root"), *self._kept(layer.suite)]
        return [*script, str(scratch / "files"), *layer.packages]

    def _kept(self, suite: str) -> tuple[str, str]:
        """Folders of package lists and of packages, outside of all layers."""
        lists, packages = (self._folder / "packages" / suite / name for name in ("lists", "archives"))
        for folder in (lists, packages):
            (folder / "partial").mkdir(parents=True, exist_ok=True)
        return str(lists), str(packages)


def _plan(recipe: Recipe) -> list[_Layer]:
    """The layers of a recipe, lowest first; the name of each depends on all below it."""
    suite = recipe.suite
    plan = _plan(recipe.base) if recipe.base else [_Layer(f"base-{suite}-{platform.machine()}-{_FORMAT}", suite)]
    if recipe.packages:
        key = _hash([plan[-1].name, recipe.packages])[:24]
        plan.append(_Layer(f"packages-{key}", suite, packages=recipe.packages))
    if recipe.files:
        content = {path: [file.mode, _digest(file.content)] for path, file in recipe.files.items()}
        key = _hash([plan[-1].name, content])[:24]
        plan.append(_Layer(f"files-{key}", suite, files=recipe.files))
    return plan


def _require_tools(*, bare: bool) -> None:
    namespaces.require_programs("unshare", "setpriv", *(["mmdebstrap"] if bare else []))
    namespaces.require_users()


def _write_files(files: Mapping[str, RecipeFile], folder: Path) -> None:
    """Write the files and their index as `layer.sh` wants them."""
    index = []
    for number, (path, file) in enumerate(files.items()):
        (folder / str(number)).write_bytes(file.content)
        index.append(f"{number} {file.mode:04o} {path}\n")
    (folder / "index").write_text("".join(index))


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _hash(content: object) -> str:
    return _digest(json.dumps(content, sort_keys=True).encode())
