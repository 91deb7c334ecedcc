"""The folder of images.

`images/<name>.json` says what an image is, `layers/<kind>-<key>` are its directories, shared between images;
`data/<name>` is what was uploaded for an image, byte for byte; `packages`
keeps package lists and Debian packages; `scratch` holds what is being made, and `locks` one lock per name. An image or
a layer appears by one rename, or not at all.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import logging
import os
import re
import subprocess
import time
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import msgspec

import sonata.adapters.images_local.archives as archives
from sonata._lib.paths import write_private
from sonata._lib.trees import remove_tree
from sonata.adapters.images_local.builder import Builder
from sonata.errors import AdapterError, Conflict, InvalidInput, NotFound
from sonata.model.recipe import Recipe
from sonata.ports.images import Image, Progress
from sonata.ports.runtime import DiskImage

logger = logging.getLogger(__name__)

_FAMILY = uuid.UUID("6f0f5a0e-6a35-5e2b-9c3c-7a0d8d1f6b11")
_SETTLED_NS = 50_000_000
"""A folder that has changed only just now may change again without a new time of its own."""
_HOST_DIGEST = "sha256:" + "0" * 64
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")

HOST = Image(str(uuid.uuid5(_FAMILY, _HOST_DIGEST)), "host", _HOST_DIGEST)
"""The image that is always there: the host's own programs."""


class LocalImages:
    """`sonata.ports.images.ImageStore` in a folder, which is made if missing."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder.absolute()
        for name in ("data", "images", "layers", "locks", "scratch"):
            (self._folder / name).mkdir(parents=True, exist_ok=True)
        self._builder = Builder(self._folder, self._lock)
        self._listed: tuple[int, Sequence[Image]] = (0, ())

    def list(self) -> Sequence[Image]:
        """All images, sorted by name; read again where the folder has changed, by whomever."""
        folder = self._folder / "images"
        changed_ns, known = folder.stat().st_mtime_ns, self._listed
        if changed_ns == known[0]:
            return known[1]
        stored = (self._find(path.stem) for path in folder.glob("*.json"))
        images = sorted([HOST, *filter(None, stored)], key=lambda image: image.name)
        if time.time_ns() - changed_ns > _SETTLED_NS:
            self._listed = (changed_ns, images)
        return images

    def get(self, name_or_id: str) -> Image:
        """One image by name or id; see the port."""
        if image := HOST if name_or_id == HOST.name else _NAME.fullmatch(name_or_id) and self._find(name_or_id):
            return image
        images = self.list()
        for image in images:
            if name_or_id in (image.name, image.id):
                return image
        known = ", ".join(f"`{image.name}`" for image in images)
        raise NotFound(f"there is no image `{name_or_id}`; there are {known}", hint="see `sonata image build --help`")

    def build(self, recipe: Recipe, progress: Progress) -> Image:
        """Build from a recipe; returns at once when the same content was built before.

        Raises:
            InvalidInput, Conflict: the image cannot have this name.
            Unsupported: this user or host cannot build; says why.
            PermanentError: a package does not exist, or cannot be had.
        """
        _check_name(recipe.name)
        digest = self._builder.digest(recipe)
        with self._lock(recipe.name, progress):
            if (known := self._find(recipe.name)) and known.digest == digest and _is_whole(known):
                progress(f"image {recipe.name} is up to date")
                return known
            layers = self._builder.layers(recipe, progress)
            return self._register(_image_of(recipe, digest, layers))

    def import_archive(self, archive: Path, name: str, progress: Progress) -> Image:
        """Import an OCI layout (folder or tar), a `docker save` archive, or a tar file of a root file system.

        Raises:
            NotFound: there is no such archive.
            NotAnArchive: it is none of them.
            InvalidInput: it is damaged, or a member is dangerous; names the member.
        """
        _check_name(name)
        with self._lock(name, progress), archives.opened(archive) as opened:
            digest, layer = opened.digest, self._folder / "layers" / f"import-{opened.digest.partition(':')[2]}"
            if not layer.is_dir():
                with self._builder.scratch(name) as scratch:
                    opened.unpack(scratch / "tree", progress)
                    (scratch / "tree").rename(layer)
            image = Image("", name, digest, (layer,), opened.argv, opened.env)
            return self._register(image)

    def data_path(self, name: str) -> Path:
        """Where the original data of an uploaded image are kept; see the port."""
        _check_name(name)
        return self._folder / "data" / name

    def snapshot(self, base: str, disk: Path, name: str) -> Image:
        """Make an image of a machine's disk: its writable layer becomes the topmost one; see the port."""
        _check_name(name)
        below = self.get(base)
        digest = f"sha256:{hashlib.sha256(f'{below.digest} {name}'.encode()).hexdigest()}"
        layer = self._folder / "layers" / f"snapshot-{digest.partition(':')[2]}"
        with self._lock(name, logger.info), self._builder.scratch(name) as scratch:
            tree = scratch / "tree"
            if (disk / "upper").is_dir():
                # Removed files are device nodes in it and removed folders attributes: cp keeps both.
                copied = subprocess.run(
                    ["cp", "-a", str(disk / "upper"), str(tree)], capture_output=True, text=True, check=False
                )
                if copied.returncode:
                    raise AdapterError(f"disk `{disk}` cannot be copied: {copied.stderr.strip()}", call="cp")
            else:
                tree.mkdir()
            tree.rename(layer)
            on_host = below.on_host or not below.layers
            return self._register(
                replace(below, name=name, digest=digest, layers=(layer, *below.layers), on_host=on_host)
            )

    def flatten(self, image: DiskImage, layer: Path, target: Path) -> None:
        """Write a disk as a qcow2 file of its own; see the port."""
        os.close(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        below = {"driver": image.format, "file": {"driver": "file", "filename": str(image.file)}}
        whole = {"driver": "qcow2", "file": {"driver": "file", "filename": str(layer)}, "backing": below}
        source = f"json:{msgspec.json.encode(whole).decode()}"
        # Shared (-U), since the server may only be standing still.
        command = ["qemu-img", "convert", "-U", "-O", "qcow2", source, str(target)]
        copied = subprocess.run(command, capture_output=True, text=True, check=False)
        if copied.returncode:
            target.unlink()
            raise AdapterError(f"disk `{layer}` cannot be copied: {copied.stderr.strip()}", call="qemu-img convert")

    def remove(self, name_or_id: str) -> None:
        """Remove an image, its data and the layers that no other image has; bare systems are kept for later builds.

        What an import of that name is making goes, too: a running one is waited for, a killed one has left its scratch.
        """
        name = self._name_of(name_or_id)
        with self._lock(name, logger.info):
            had_remains = self._remove_remains(name)
            if image := self._find(name):
                self._remove_image(image)
            (self._folder / "locks" / name).unlink(missing_ok=True)
        if image is None and not had_remains:
            self.get(name)  # tells what there is

    def _name_of(self, name_or_id: str) -> str:
        """The name of an image, also of one that is only being made.

        Raises:
            NotFound: it is no name, and nobody's id.
            Conflict: it is the host's.
        """
        known = next((image for image in self.list() if name_or_id in (image.name, image.id)), None)
        name = known.name if known else name_or_id
        if name == HOST.name:
            raise Conflict("image `host` is the host itself and cannot be removed")
        return name if _NAME.fullmatch(name) else self.get(name).name

    def _remove_remains(self, name: str) -> bool:
        """Remove what was uploaded or is half made under a name; whether there was anything."""
        data, scratch = self._folder / "data" / name, self._folder / "scratch" / name
        found = data.exists() or scratch.exists()
        data.unlink(missing_ok=True)
        remove_tree(scratch)
        return found

    def _remove_image(self, image: Image) -> None:
        (self._folder / "images" / f"{image.name}.json").unlink(missing_ok=True)
        used = {layer for other in self.list() for layer in other.layers}
        for layer in image.layers:
            if layer not in used and not layer.name.startswith("base-"):
                remove_tree(layer)

    def _find(self, name: str) -> Image | None:
        """The image of a name; None also when somebody removes it just now."""
        try:
            text = (self._folder / "images" / f"{name}.json").read_bytes()
        except FileNotFoundError:
            return None
        image = msgspec.json.decode(text, type=Image, dec_hook=_decode_path)
        return replace(image, layers=tuple(self._folder / "layers" / layer for layer in image.layers))

    def _register(self, image: Image) -> Image:
        whole = replace(
            image,
            id=str(uuid.uuid5(_FAMILY, image.digest)),
            size_bytes=sum(_size_of(layer) for layer in image.layers),
            created_at=max(layer.stat().st_mtime for layer in image.layers),
        )
        # Layers are stored by name alone, so that the folder may be moved.
        stored = replace(whole, layers=tuple(Path(layer.name) for layer in image.layers))
        write_private(self._folder / "images" / f"{image.name}.json", msgspec.json.encode(stored, enc_hook=str))
        return whole

    @contextlib.contextmanager
    def _lock(self, name: str, progress: Progress) -> Iterator[None]:
        """Keep others, also in other processes, from making the same thing; the kernel drops it when we die."""
        path = self._folder / "locks" / name
        while True:
            with open(path, "w") as lock:
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    progress(f"waiting for another build of {name}")
                    fcntl.flock(lock, fcntl.LOCK_EX)
                if _is_at(path, lock.fileno()):
                    yield
                    return


def _image_of(recipe: Recipe, digest: str, layers: tuple[Path, ...]) -> Image:
    return Image("", recipe.name, digest, layers, recipe.command, recipe.env, recipe.ready_tcp_port)


def _check_name(name: str) -> None:
    if not _NAME.fullmatch(name):
        raise InvalidInput(f"image name `{name}` must be at most 63 letters, digits, `.`, `_` and `-`")
    if name == HOST.name:
        raise Conflict("image `host` is the host itself and cannot be replaced")


def _is_at(path: Path, descriptor: int) -> bool:
    """Whether an open file is still the one at a path; whoever held its lock before may have removed it."""
    opened = os.fstat(descriptor)
    try:
        found = path.stat()
    except FileNotFoundError:
        return False
    return (opened.st_dev, opened.st_ino) == (found.st_dev, found.st_ino)


def _is_whole(image: Image) -> bool:
    return all(layer.is_dir() for layer in image.layers)


def _size_of(layer: Path) -> int:
    total = 0
    for folder, _, files in os.walk(layer):
        for name in files:
            with contextlib.suppress(OSError):
                total += os.lstat(os.path.join(folder, name)).st_blocks * 512
    return total


def _decode_path(kind: type, value: object) -> object:
    return Path(str(value)) if kind is Path else value
