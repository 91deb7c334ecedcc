"""Applying one layer of a container image to a folder: OCI image specification 1.1, layer.md.

A layer is a tar archive, plain or compressed with gzip or zstd. `.wh.NAME` removes NAME of the layers below, and
`.wh..wh..opq` all of a folder. Members come from strangers: their names stay below the root, links are followed inside
of the root alone, and never links that the layer itself made.
"""

from __future__ import annotations

import gzip
import hashlib
import os
import platform
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, cast

from sonata.errors import InvalidInput, Unsupported

ARCHITECTURE = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
"""This processor in the words of the image specification."""

_WHITEOUT = ".wh."
_OPAQUE = ".wh..wh..opq"
_GZIP = b"\x1f\x8b"
_ZSTD = b"\x28\xb5\x2f\xfd"
_LINKS_LIMIT = 40


class _Hashed:
    """A stream that knows the digest of what was read from it."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self._found = hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        chunk = self._stream.read(size)
        self._found.update(chunk)
        return chunk

    def digest(self) -> str:
        """Digest of the whole stream; reads what is left."""
        while self.read(1024**2):
            pass
        return f"sha256:{self._found.hexdigest()}"


def apply(stream: IO[bytes], root: Path, name: str) -> str:
    """Apply a layer to a root and return the digest of its uncompressed tar (the `diff_id`).

    Raises:
        InvalidInput: the layer is damaged or has a dangerous member.
        Unsupported: it is compressed with zstd and no `zstd` is installed.
    """
    try:
        with _uncompressed(stream) as plain:
            hashed = _Hashed(plain)
            with tarfile.open(fileobj=hashed, mode="r|") as tar:  # type: ignore[call-overload]
                _Layer(root, name).apply(tar)
            return hashed.digest()
    except (tarfile.TarError, EOFError, OSError) as error:
        raise InvalidInput(f"layer `{name}` cannot be unpacked: {error}") from error


class _Layer:
    """One layer on its way into the root."""

    def __init__(self, root: Path, name: str) -> None:
        self._root = root
        self._name = name
        self._links: set[Path] = set()
        self._made: set[Path] = set()
        self._folders: list[tuple[Path, tarfile.TarInfo]] = []

    def apply(self, tar: tarfile.TarFile) -> None:
        """Put all members into place."""
        for member in tar:
            parts = self._parts(member.name, member)
            if not parts:
                continue
            parent = self._folder(parts[:-1], member)
            if parts[-1] == _OPAQUE:
                self._clear(parent)
            elif parts[-1].startswith(_WHITEOUT):
                self._whiteout(parent, parts[-1].removeprefix(_WHITEOUT), member)
            else:
                self._put(tar, member, parent / parts[-1])
        for path, member in reversed(self._folders):
            _set_owner_and_mode(path, member)

    def _put(self, tar: tarfile.TarFile, member: tarfile.TarInfo, target: Path) -> None:
        if not (member.isdir() and target.is_dir() and not target.is_symlink()):
            _remove(target)
        if member.isdir():
            target.mkdir(exist_ok=True)
            self._folders.append((target, member))
        elif member.issym():
            target.symlink_to(member.linkname)
            self._links.add(target)
            _set_owner(target, member)
        elif member.islnk():
            self._link(member, target)
        elif member.isfile():
            self._write(tar, member, target)
        else:
            self._make_node(member, target)
        self._made.add(target)

    def _write(self, tar: tarfile.TarFile, member: tarfile.TarInfo, target: Path) -> None:
        source = tar.extractfile(member)
        if source is None:
            raise self._refused(member, "it has no content")
        descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        with os.fdopen(descriptor, "wb") as stream:
            shutil.copyfileobj(source, stream, 1024**2)
        _set_owner_and_mode(target, member)

    def _link(self, member: tarfile.TarInfo, target: Path) -> None:
        parts = self._parts(member.linkname, member)
        if not parts:
            raise self._refused(member, "it links to the root")
        source = self._folder(parts[:-1], member, create=False) / parts[-1]
        if source.is_symlink() or not source.is_file():
            raise self._refused(member, f"it links to `{member.linkname}`, which is no file of the image")
        os.link(source, target, follow_symlinks=False)

    def _make_node(self, member: tarfile.TarInfo, target: Path) -> None:
        """Make a pipe; device nodes are left out, since machines get the devices they may use, never an image's own."""
        if member.isfifo():
            os.mkfifo(target, member.mode & 0o777)

    def _whiteout(self, parent: Path, name: str, member: tarfile.TarInfo) -> None:
        if name in ("", ".", ".."):
            raise self._refused(member, "it removes a folder from within")
        if parent / name not in self._made:
            _remove(parent / name)

    def _clear(self, folder: Path) -> None:
        for path in folder.iterdir():
            if path not in self._made and not any(path in made.parents for made in self._made):
                _remove(path)

    def _parts(self, name: str, member: tarfile.TarInfo) -> list[str]:
        if name.startswith("/") or "\0" in name:
            raise self._refused(member, "its path is absolute")
        parts = [part for part in name.split("/") if part not in ("", ".")]
        if ".." in parts:
            raise self._refused(member, "its path has `..`")
        return parts

    def _folder(self, parts: list[str], member: tarfile.TarInfo, *, create: bool = True) -> Path:
        """The real folder inside of the root that a path leads to; missing ones are made."""
        here, todo, followed = self._root, list(parts), 0
        while todo:
            part = todo.pop(0)
            if part == "..":
                if here == self._root:
                    raise self._refused(member, "a link on its path leads out of the image")
                here = here.parent
                continue
            step = here / part
            if step.is_symlink():
                followed += 1
                if step in self._links or followed > _LINKS_LIMIT:
                    raise self._refused(member, f"its path goes through the link `{step.relative_to(self._root)}`")
                leads_to = os.readlink(step)
                here = self._root if leads_to.startswith("/") else here
                todo = [each for each in leads_to.split("/") if each not in ("", ".")] + todo
                continue
            if create and not step.is_dir():
                step.mkdir(mode=0o755)
            here = step
        return here

    def _refused(self, member: tarfile.TarInfo, why: str) -> InvalidInput:
        return InvalidInput(f"layer `{self._name}`: member `{member.name}` is refused: {why}")


@contextmanager
def _uncompressed(stream: IO[bytes]) -> Iterator[IO[bytes]]:
    magic = stream.read(4)
    stream.seek(0)
    if magic.startswith(_GZIP):
        with gzip.GzipFile(fileobj=stream) as plain:
            yield cast(IO[bytes], plain)
    elif magic == _ZSTD:
        with _zstd(stream) as plain:
            yield plain
    else:
        yield stream


@contextmanager
def _zstd(stream: IO[bytes]) -> Iterator[IO[bytes]]:
    """The plain content of a zstd stream, for which Python 3.11 has no library."""
    if shutil.which("zstd") is None:
        raise Unsupported("the image is compressed with zstd", hint="as root: apt-get install zstd")
    with tempfile.TemporaryFile() as copy:
        shutil.copyfileobj(stream, copy, 1024**2)
        copy.seek(0)
        with subprocess.Popen(["zstd", "-dcq"], stdin=copy, stdout=subprocess.PIPE) as process:
            try:
                yield cast(IO[bytes], process.stdout)
            finally:
                process.kill()


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _set_owner_and_mode(path: Path, member: tarfile.TarInfo) -> None:
    _set_owner(path, member)
    path.chmod(member.mode & 0o7777)


def _set_owner(path: Path, member: tarfile.TarInfo) -> None:
    """Give a file to its owner; an ordinary user keeps everything, and so does root of one mapped user."""
    if os.geteuid() == 0:
        with suppress(OSError):
            os.chown(path, member.uid, member.gid, follow_symlinks=False)
