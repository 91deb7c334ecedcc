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
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import msgspec

import sonata.adapters.images_local.archives as archives
import sonata.adapters.images_local.namespaces as namespaces
from sonata._lib.paths import write_private
from sonata.adapters.images_local.builder import Builder
from sonata.errors import AdapterError, Conflict, InvalidInput, NotFound
from sonata.formats.recipe import Recipe, read_recipe
from sonata.ports.images import Image, Progress

logger = logging.getLogger(__name__)

_FAMILY = uuid.UUID("6f0f5a0e-6a35-5e2b-9c3c-7a0d8d1f6b11")
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

    def list(self) -> Sequence[Image]:
        """All images, sorted by name."""
        stored = [self._load(path) for path in (self._folder / "images").glob("*.json")]
        return sorted([HOST, *stored], key=lambda image: image.name)

    def get(self, name_or_id: str) -> Image:
        """One image by name or id; see the port."""
        images = self.list()
        for image in images:
            if name_or_id in (image.name, image.id):
                return image
        known = ", ".join(f"`{image.name}`" for image in images)
        raise NotFound(f"there is no image `{name_or_id}`; there are {known}", hint="see `sonata image build --help`")

    def build(self, recipe: Path, progress: Progress) -> Image:
        """Build from a recipe; returns at once when the same content was built before.

        Raises:
            NotFound: there is no such recipe.
            InvalidInput: the recipe is wrong; with all findings.
            Unsupported: this user or host cannot build; says why.
            PermanentError: a package does not exist, or cannot be had.
        """
        wanted = read_recipe(recipe)
        _check_name(wanted.name)
        digest = self._builder.digest(wanted)
        with self._lock(wanted.name, progress):
            if (known := self._find(wanted.name)) and known.digest == digest and _is_whole(known):
                progress(f"image {wanted.name} is up to date")
                return known
            layers = self._builder.layers(wanted, progress)
            return self._register(_image_of(wanted, digest, layers))

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

    def remove(self, name_or_id: str) -> None:
        """Remove an image, its data and the layers that no other image has; bare systems are kept for later builds."""
        data = self._folder / "data" / Path(name_or_id).name
        if had_data := data.is_file():
            data.unlink()
        if had_data and not self._find(name_or_id):
            return
        image = self.get(name_or_id)
        if image.name == HOST.name:
            raise Conflict("image `host` is the host itself and cannot be removed")
        with self._lock(image.name, logger.info):
            (self._folder / "images" / f"{image.name}.json").unlink(missing_ok=True)
            used = {layer for other in self.list() for layer in other.layers}
            for layer in image.layers:
                if layer not in used and not layer.name.startswith("base-"):
                    namespaces.remove_tree(layer)

    def _find(self, name: str) -> Image | None:
        path = self._folder / "images" / f"{name}.json"
        return self._load(path) if path.exists() else None

    def _load(self, path: Path) -> Image:
        image = msgspec.json.decode(path.read_bytes(), type=Image, dec_hook=_decode_path)
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
        text = msgspec.json.encode(stored, enc_hook=str).decode()
        write_private(self._folder / "images" / f"{image.name}.json", text)
        return whole

    @contextlib.contextmanager
    def _lock(self, name: str, progress: Progress) -> Iterator[None]:
        """Keep others, also in other processes, from making the same thing; the kernel drops it when we die."""
        with open(self._folder / "locks" / name, "w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                progress(f"waiting for another build of {name}")
                fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def _image_of(recipe: Recipe, digest: str, layers: tuple[Path, ...]) -> Image:
    return Image("", recipe.name, digest, layers, recipe.command, recipe.env, recipe.ready_tcp_port)


def _check_name(name: str) -> None:
    if not _NAME.fullmatch(name):
        raise InvalidInput(f"image name `{name}` must be at most 63 letters, digits, `.`, `_` and `-`")
    if name == HOST.name:
        raise Conflict("image `host` is the host itself and cannot be replaced")


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
