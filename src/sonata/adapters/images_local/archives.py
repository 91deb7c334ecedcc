"""Images from elsewhere: OCI layouts (folder or tar) and `docker save` archives, flattened into one directory.

Sources: OCI image specification 1.1 (image-layout.md, manifest.md, config.md, layer.md); the `manifest.json` of
`docker save`. Every blob that has a digest is checked against it.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import tarfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any, Protocol

import sonata.adapters.images_local.layers as layers
from sonata._lib.values import dataclass
from sonata.errors import InvalidInput, NotFound
from sonata.ports.images import NotAnArchive, Progress

_DIGEST = re.compile(r"sha256:([0-9a-f]{64})")
_DOCUMENT_LIMIT = 8 * 1024**2
_CHUNK = 1024**2
_VARIABLE = re.compile(r"[^=\0]+=[^\0]*")


class _Source(Protocol):
    """The files of an archive."""

    def open(self, name: str) -> IO[bytes]:
        """A file by its path in the archive."""

    def has(self, name: str) -> bool:
        """Whether there is such a file."""


@dataclass(frozen=True, slots=True)
class Archive:
    """An image in an archive.

    Args:
        digest: of its configuration, which names all its layers.
        argv: Entrypoint followed by Cmd.
        env: its environment.
    """

    digest: str
    argv: tuple[str, ...]
    env: Mapping[str, str]
    _source: _Source
    _layers: tuple[tuple[str, str], ...]

    def unpack(self, root: Path, progress: Progress) -> None:
        """Apply all layers, lowest first, to a new folder.

        Raises:
            InvalidInput: a layer is damaged or has a dangerous member; names it.
        """
        root.mkdir(mode=0o755)
        for number, (name, diff_id) in enumerate(self._layers, 1):
            progress(f"unpacking layer {number} of {len(self._layers)}")
            with self._source.open(name) as stream:
                found = layers.apply(stream, root, name)
            if diff_id and found != diff_id:
                raise InvalidInput(f"layer `{name}` is damaged: its content is {found}, the image says {diff_id}")


_ROOT_FOLDERS = frozenset(("bin", "etc", "lib", "sbin", "usr"))
"""What a tar file has at its top when it is a root file system, as `docker export` and debootstrap make them."""
_HOW = "make one with `skopeo copy docker://NAME oci:FOLDER` or `docker save -o FILE NAME`"


@contextlib.contextmanager
def opened(path: Path) -> Iterator[Archive]:
    """Open an archive and read what it contains.

    Raises:
        NotFound: there is no such file.
        InvalidInput: it is no image archive, is damaged, or has several images.
    """
    if not path.exists():
        raise NotFound(f"there is no archive `{path}`")
    try:
        with _source_of(path) as source:
            yield _read(source, path)
    except (tarfile.TarError, EOFError) as error:
        # tarfile tells one line per compression that it tried; the first says it all.
        raise NotAnArchive(f"`{path}` is no image archive: {str(error).partition(':')[0]}", hint=_HOW) from error


@contextlib.contextmanager
def _source_of(path: Path) -> Iterator[_Source]:
    if path.is_dir():
        yield _Folder(path)
    else:
        with tarfile.open(path) as tar:
            yield _Tar(tar)


class _Folder:
    """An archive that is a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder.resolve()

    def has(self, name: str) -> bool:
        return self._path(name).is_file()

    def open(self, name: str) -> IO[bytes]:
        try:
            return self._path(name).open("rb")
        except OSError as error:
            raise InvalidInput(f"the archive has no `{name}`: {error.strerror}") from error

    def _path(self, name: str) -> Path:
        path = (self._folder / name).resolve()
        if not path.is_relative_to(self._folder):
            raise InvalidInput(f"`{name}` leads out of the archive")
        return path


class _Tar:
    """An archive that is a tar file; its members are read in place, never unpacked."""

    def __init__(self, tar: tarfile.TarFile) -> None:
        self._tar = tar
        self._members = {member.name.removeprefix("./"): member for member in tar.getmembers()}

    def has(self, name: str) -> bool:
        return name in self._members

    def tops(self) -> set[str]:
        """What is at the top of the tree."""
        return {name.partition("/")[0] for name in self._members}

    def open(self, name: str) -> IO[bytes]:
        member = self._members.get(name)
        if member and member.issym():  # `docker save` of old links equal layers to one another
            name = str(Path(name).parent / member.linkname)
            member = self._members.get(_normal(name))
        stream = self._tar.extractfile(member) if member and member.isfile() else None
        if stream is None:
            raise InvalidInput(f"the archive has no file `{name}`")
        return stream


def _normal(name: str) -> str:
    parts: list[str] = []
    for part in name.split("/"):
        if part == ".." and parts:
            parts.pop()
        elif part not in ("", "."):
            parts.append(part)
    return "/".join(parts)


def _read(source: _Source, path: Path) -> Archive:
    if source.has("index.json") and source.has("oci-layout"):
        return _read_layout(source, path)
    if source.has("manifest.json"):
        return _read_docker(source, path)
    if isinstance(source, _Tar) and _ROOT_FOLDERS & source.tops():
        return _read_root(path)
    raise NotAnArchive(
        f"`{path}` is no image archive: it has neither `index.json` and `oci-layout` nor `manifest.json`, and is no "
        "root file system",
        hint=_HOW,
    )


class _Itself:
    """A tar file of a root file system: an image of one layer, which is the file itself."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def has(self, name: str) -> bool:
        return name == self._path.name

    def open(self, name: str) -> IO[bytes]:
        return self._path.open("rb")


def _read_root(path: Path) -> Archive:
    with path.open("rb") as stream:
        digest = f"sha256:{hashlib.file_digest(stream, 'sha256').hexdigest()}"
    return Archive(digest, (), {}, _Itself(path), ((path.name, ""),))


def _read_layout(source: _Source, path: Path) -> Archive:
    document = _document(source, "index.json")
    for _ in range(4):  # an index may point to another index, e.g. one per processor
        if "manifests" not in document:
            break
        document = json.loads(_blob(source, _only(document["manifests"], path)))
    config_digest = _digest_of(document.get("config"))
    names = tuple(_blob_name(_digest_of(layer)) for layer in _list(document.get("layers")))
    for layer in _list(document.get("layers")):
        _verify(source, _digest_of(layer))
    return _archive(source, config_digest, json.loads(_blob(source, config_digest)), names)


def _read_docker(source: _Source, path: Path) -> Archive:
    entries = _list(_document(source, "manifest.json"))
    if len(entries) != 1:
        raise InvalidInput(f"`{path}` has {len(entries)} images, exactly one can be imported")
    entry = entries[0]
    content = _limited(source, str(entry.get("Config")))
    digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
    return _archive(source, digest, json.loads(content), tuple(map(str, _list(entry.get("Layers")))))


def _archive(source: _Source, digest: str, config: Any, names: tuple[str, ...]) -> Archive:
    diff_ids = _list((config.get("rootfs") or {}).get("diff_ids"))
    if diff_ids and len(diff_ids) != len(names):
        raise InvalidInput(f"the image has {len(names)} layers, its configuration says {len(diff_ids)}")
    program = config.get("config") or {}
    argv = (*_list(program.get("Entrypoint")), *_list(program.get("Cmd")))
    pairs = [str(pair) for pair in _list(program.get("Env")) if _VARIABLE.fullmatch(str(pair))]
    env = dict(pair.split("=", 1) for pair in pairs)
    whole = tuple(zip(names, diff_ids or [""] * len(names), strict=True))
    return Archive(digest, tuple(map(str, argv)), env, source, whole)


def _only(manifests: Any, path: Path) -> str:
    """The digest of the one image that fits: for Linux on this processor where platforms are given."""
    fitting = [each for each in _list(manifests) if _fits(each.get("platform"))]
    if len(fitting) != 1:
        raise InvalidInput(f"`{path}` has {len(fitting)} images for this processor, exactly one can be imported")
    return _digest_of(fitting[0])


def _fits(platform: Any) -> bool:
    return not platform or (platform.get("os") == "linux" and platform.get("architecture") == layers.ARCHITECTURE)


def _digest_of(descriptor: Any) -> str:
    digest = descriptor.get("digest") if isinstance(descriptor, dict) else None
    if not isinstance(digest, str) or not _DIGEST.fullmatch(digest):
        raise InvalidInput(f"the archive has a descriptor without a sha256 digest: {str(descriptor)[:120]}")
    return digest


def _blob_name(digest: str) -> str:
    return f"blobs/sha256/{digest.partition(':')[2]}"


def _blob(source: _Source, digest: str) -> bytes:
    content = _limited(source, _blob_name(digest))
    if f"sha256:{hashlib.sha256(content).hexdigest()}" != digest:
        raise InvalidInput(f"blob `{_blob_name(digest)}` is damaged: it does not have its digest")
    return content


def _verify(source: _Source, digest: str) -> None:
    found = hashlib.sha256()
    with source.open(_blob_name(digest)) as stream:
        while chunk := stream.read(_CHUNK):
            found.update(chunk)
    if f"sha256:{found.hexdigest()}" != digest:
        raise InvalidInput(f"blob `{_blob_name(digest)}` is damaged: it does not have its digest")


def _document(source: _Source, name: str) -> Any:
    try:
        return json.loads(_limited(source, name))
    except ValueError as error:
        raise InvalidInput(f"`{name}` of the archive is no JSON: {error}") from error


def _limited(source: _Source, name: str) -> bytes:
    with source.open(name) as stream:
        content = stream.read(_DOCUMENT_LIMIT + 1)
    if len(content) > _DOCUMENT_LIMIT:
        raise InvalidInput(f"`{name}` of the archive is bigger than {_DOCUMENT_LIMIT // 1024**2} MiB")
    return content


def _list(value: Any) -> list[Any]:
    if value is None:
        return []
    if not isinstance(value, list):
        raise InvalidInput(f"the archive has {str(value)[:80]!r} where a list belongs")
    return value
