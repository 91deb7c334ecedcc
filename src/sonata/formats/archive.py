"""Zip and tar archives from strangers, read into memory without trusting a byte; and written so that bytes repeat.

Reading refuses what could hurt when unpacked: names that lead elsewhere, links, duplicates, encryption, unknown
compression, members that grow beyond all measure, wrong checksums. Nothing is ever extracted by zipfile itself.
"""

from __future__ import annotations

import gzip
import io
import re
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import PurePosixPath

from sonata.errors import Diagnostic, InvalidInput

MAX_ARCHIVE_BYTES = 64 * 1024**2
MAX_MEMBER_BYTES = 64 * 1024**2
MAX_TOTAL_BYTES = 256 * 1024**2
MAX_MEMBERS = 10_000
MAX_RATIO = 200
_SMALL = 1024**2
_ENCRYPTED = 0x1
_DRIVE = re.compile(r"[A-Za-z]:")
_EPOCH = (1980, 1, 1, 0, 0, 0)
_FAULTS = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, OSError, ValueError, KeyError)


def read_archive(data: bytes, file: str) -> dict[str, bytes]:
    """Files of a zip archive by their path, sorted; folders are left out.

    Args:
        data: the archive.
        file: name of the archive for diagnostics.

    Raises:
        InvalidInput: with code PKG-0001 (not a zip), -0002 (member refused), -0003 (too big), -0004 (damaged); the
            diagnostic names the member.
    """
    if len(data) > MAX_ARCHIVE_BYTES:
        raise _refused("PKG-0003", f"the archive is bigger than {MAX_ARCHIVE_BYTES // 1024**2} MiB", file)
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = archive.infolist()
            problems = [Diagnostic("error", *problem, file) for problem in _problems(members)]
            if problems:
                raise InvalidInput(f"package `{file}` is refused", diagnostics=problems)
            return _read_members(archive, members, file)
    except _FAULTS as error:
        raise _refused("PKG-0001", f"it is not a readable zip archive: {error}", file) from None


def write_archive(files: Mapping[str, bytes], first: Iterable[str] = ()) -> bytes:
    """A zip archive with the same bytes for the same files, whenever and wherever it is written.

    Members have one fixed time and are stored uncompressed: compressors of different zlib versions differ.

    Args:
        files: content by path.
        first: paths that come first, in this order; the others follow sorted.
    """
    order = [*first, *sorted(files.keys() - set(first))]
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_STORED) as archive:
        for name in order:
            member = zipfile.ZipInfo(name, _EPOCH)
            member.create_system = 3  # Unix, on every system
            member.external_attr = (stat.S_IFREG | 0o644) << 16
            archive.writestr(member, files[name])
    return stream.getvalue()


def path_problem(name: str) -> str:
    """Why a path inside of an archive is refused; empty when it is harmless."""
    if not name or len(name) > 1024:
        return "its name is empty or longer than 1024 characters"
    if any(ord(character) < 32 or ord(character) == 127 for character in name):
        return "its name has control characters"
    if "\\" in name or _DRIVE.match(name):
        return "its name is not a path with `/`"
    if name.startswith("/"):
        return "its path is absolute"
    parts = name.rstrip("/").split("/")
    if ".." in parts:
        return "its path leads out of the package"
    if "." in parts or "" in parts:
        return "its path is not in its simplest form"
    return ""


def _problems(members: list[zipfile.ZipInfo]) -> Iterator[tuple[str, str]]:
    if len(members) > MAX_MEMBERS:
        yield "PKG-0003", f"the archive has more than {MAX_MEMBERS} members"
        return
    seen: set[str] = set()
    for member in members:
        # `filename` ends at a NUL and may differ from what the archive really says.
        reason = path_problem(member.orig_filename) or _kind_problem(member)
        if reason:
            yield "PKG-0002", f"member `{_printable(member.orig_filename)}` is refused: {reason}"
        if member.file_size > MAX_MEMBER_BYTES:
            yield "PKG-0003", f"member `{_printable(member.filename)}` is bigger than {MAX_MEMBER_BYTES // 1024**2} MiB"
        name = member.filename.rstrip("/")
        if name in seen:
            yield "PKG-0002", f"member `{_printable(name)}` is there twice"
        seen.add(name)
    if sum(member.file_size for member in members) > MAX_TOTAL_BYTES:
        yield "PKG-0003", f"the content is bigger than {MAX_TOTAL_BYTES // 1024**2} MiB"
    yield from _files_used_as_folders(members)


def _files_used_as_folders(members: list[zipfile.ZipInfo]) -> Iterator[tuple[str, str]]:
    files = {member.filename for member in members if not member.is_dir()}
    for name in sorted(files):
        above = next((str(parent) for parent in PurePosixPath(name).parents if str(parent) in files), None)
        if above:
            yield "PKG-0002", f"member `{_printable(name)}` is refused: `{_printable(above)}` is a file, not a folder"


def _kind_problem(member: zipfile.ZipInfo) -> str:
    mode = member.external_attr >> 16
    if member.flag_bits & _ENCRYPTED:
        return "it is encrypted"
    if stat.S_IFMT(mode) not in (0, stat.S_IFREG, stat.S_IFDIR):
        return "it is a link or another special file"
    if member.file_size > _SMALL and member.file_size > MAX_RATIO * max(1, member.compress_size):
        return f"it grows more than {MAX_RATIO} times when unpacked"
    return ""


def _read_members(archive: zipfile.ZipFile, members: list[zipfile.ZipInfo], file: str) -> dict[str, bytes]:
    content = {}
    for member in sorted(members, key=lambda member: member.filename):
        if member.is_dir():
            continue
        try:
            # zipfile never returns more than the declared size, which was bounded above, and checks the CRC.
            content[member.filename] = archive.read(member)
        except _FAULTS as error:
            raise _refused("PKG-0004", f"member `{_printable(member.filename)}` is damaged: {error}", file) from None
    return content


def _printable(name: str) -> str:
    return name[:120].encode("unicode_escape", "backslashreplace").decode("ascii")


def _refused(code: str, summary: str, file: str) -> InvalidInput:
    return InvalidInput(f"package `{file}` is refused", diagnostics=[Diagnostic("error", code, summary, file)])


def read_tarball(data: bytes, file: str) -> dict[str, bytes]:
    """Files of a gzipped tar archive by their path, sorted; raises as `read_archive`."""
    if len(data) > MAX_ARCHIVE_BYTES:
        raise _refused("PKG-0003", f"the archive is bigger than {MAX_ARCHIVE_BYTES // 1024**2} MiB", file)
    content = _gunzip(data, file)
    try:
        with tarfile.open(fileobj=io.BytesIO(content), mode="r:") as archive:
            return _read_tar(archive, file)
    except (tarfile.TarError, *_FAULTS) as error:
        raise _refused("PKG-0001", f"it is not a readable tar archive: {error}", file) from None


def write_tarball(files: Mapping[str, bytes]) -> bytes:
    """A gzipped tar archive with the same bytes for the same files; stored, not compressed."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for name in sorted(files):
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(files[name]), 0o644
            archive.addfile(member, io.BytesIO(files[name]))
    return gzip.compress(stream.getvalue(), compresslevel=0, mtime=0)


def _gunzip(data: bytes, file: str) -> bytes:
    """Unpack at most what a package may hold, however much the archive would grow to."""
    unpacker = zlib.decompressobj(wbits=31)
    try:
        content = unpacker.decompress(data, MAX_TOTAL_BYTES + 1)
    except zlib.error as error:
        raise _refused("PKG-0001", f"it is not a readable gzip archive: {error}", file) from None
    if len(content) > MAX_TOTAL_BYTES:
        raise _refused("PKG-0003", f"the content is bigger than {MAX_TOTAL_BYTES // 1024**2} MiB", file)
    if not unpacker.eof:
        raise _refused("PKG-0004", "the archive ends too early", file)
    return content


def _read_tar(archive: tarfile.TarFile, file: str) -> dict[str, bytes]:
    files: dict[str, bytes] = {}
    for number, member in enumerate(archive):
        if number >= MAX_MEMBERS:
            raise _refused("PKG-0003", f"the archive has more than {MAX_MEMBERS} members", file)
        name = member.name.removeprefix("./")
        if member.isdir() and name in ("", "."):
            continue
        if reason := _tar_problem(member, name, files):
            raise _refused("PKG-0002", f"member `{_printable(name)}` is refused: {reason}", file)
        if stream := archive.extractfile(member) if member.isfile() else None:
            files[name] = stream.read()
    return dict(sorted(files.items()))


def _tar_problem(member: tarfile.TarInfo, name: str, seen: Mapping[str, bytes]) -> str:
    if not member.isfile() and not member.isdir():
        return "it is a link or another special file"
    if name in seen:
        return "it is there twice"
    if any(str(parent) in seen for parent in PurePosixPath(name).parents):
        return "a file stands where its folder should be"
    return path_problem(name)
