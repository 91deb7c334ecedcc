"""OSM packages: a gzipped tar of one folder with a SOL006 descriptor, `cloud_init/`, and `checksums.txt`.

Codes: PKG-0001 to -0004 archive (see `archive`), -0011 listed file is missing, -0012 digest differs, -0040 not one
folder at the top, -0041 not exactly one descriptor in it.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from sonata._lib.values import dataclass
from sonata.errors import Diagnostic, InvalidInput, NotFound
from sonata.formats.archive import read_tarball, write_tarball
from sonata.formats.findings import errors_in
from sonata.formats.sol006 import is_nsd, is_vnfd, nsd_of, vnfd_of
from sonata.formats.yaml_nodes import YamlDocument, parse_yaml
from sonata.model.descriptors import PackageContent

GZIP = b"\x1f\x8b"
CHECKSUMS = "checksums.txt"
_LINE = re.compile(r"(?P<digest>[0-9a-fA-F]{32}|[0-9a-fA-F]{64})\s+\*?(?P<path>\S.*)")
_LEFT_OUT = {"__pycache__"}


@dataclass(frozen=True, slots=True)
class _Folder:
    """The one folder of a package: its name, and its files by their path in it."""

    name: str
    files: Mapping[str, bytes]


def inspect_osm_package(
    data: bytes, file: str, *, tolerant: bool = False
) -> tuple[PackageContent | None, list[Diagnostic]]:
    """The content of a package, None when there are errors, and all findings.

    Args:
        data: the archive.
        file: its name in diagnostics.
        tolerant: whether flaws that do not matter for running it are warnings.

    Raises:
        InvalidInput: the archive is refused or cannot be read.
    """
    folder = _only_folder(read_tarball(data, file), file)
    content, findings = _content(folder, file, hashlib.sha256(data).hexdigest(), tolerant)
    findings = [*_check_digests(folder, file), *findings]
    return (None if errors_in(findings) else content), findings


def is_osm_folder(folder: Path) -> bool:
    """Whether a folder holds a descriptor of this form."""
    return any(_descriptor_files({path.name: b"" for path in folder.glob("*") if path.is_file()}))


def write_osm_package(folder: Path) -> bytes:
    """The package of a folder, checksums included; the same folder gives the same bytes.

    Raises:
        NotFound: there is no descriptor in the folder.
        InvalidInput: it is faulty, with all findings.
    """
    if not is_osm_folder(folder):
        raise NotFound(f"`{folder}` has no `*_vnfd.yaml` and no `*_nsd.yaml`")
    files = {str(path.relative_to(folder)): path.read_bytes() for path in sorted(_files_below(folder))}
    digests = "".join(
        f"{hashlib.md5(content, usedforsecurity=False).hexdigest()}  {path}\n" for path, content in files.items()
    )
    name = folder.resolve().name
    return write_tarball(
        {f"{name}/{path}": content for path, content in {**files, CHECKSUMS: digests.encode()}.items()}
    )


def _files_below(folder: Path) -> Iterator[Path]:
    for path in folder.rglob("*"):
        parts = set(path.relative_to(folder).parts)
        hidden = any(part.startswith(".") for part in parts) or parts & _LEFT_OUT
        if path.is_file() and not path.is_symlink() and not hidden and path.name != CHECKSUMS:
            yield path


def _only_folder(files: Mapping[str, bytes], file: str) -> _Folder:
    tops = {path.partition("/")[0] for path in files}
    if len(tops) != 1 or any("/" not in path for path in files):
        summary = "an OSM package holds exactly one folder"
        raise InvalidInput(f"package `{file}` is refused", diagnostics=[Diagnostic("error", "PKG-0040", summary, file)])
    name = tops.pop()
    return _Folder(name, {path.partition("/")[2]: content for path, content in files.items()})


def _content(folder: _Folder, file: str, sha256: str, tolerant: bool) -> tuple[PackageContent | None, list[Diagnostic]]:
    names = list(_descriptor_files(folder.files))
    if len(names) != 1:
        summary = (
            f"folder `{folder.name}` holds {len(names)} descriptors, one is needed: NAME_vnfd.yaml or NAME_nsd.yaml"
        )
        return None, [Diagnostic("error", "PKG-0041", summary, file)]
    others = {path: content for path, content in folder.files.items() if path not in (*names, CHECKSUMS)}
    try:
        source = parse_yaml(folder.files[names[0]], f"{file}/{folder.name}/{names[0]}")
    except InvalidInput as error:
        return None, list(error.diagnostics)
    return _described(source, others, sha256, tolerant)


def _described(
    source: YamlDocument, files: Mapping[str, bytes], sha256: str, tolerant: bool
) -> tuple[PackageContent | None, list[Diagnostic]]:
    if is_nsd(source.data):
        nsd, findings = nsd_of(source, tolerant=tolerant)
        content = PackageContent(nsd.id, nsd, (), files, sha256, nsd.description) if nsd else None
        return content, findings
    if is_vnfd(source.data):
        vnfd, findings = vnfd_of(source, files, tolerant=tolerant)
        content = PackageContent(vnfd.id, None, (vnfd,), files, sha256, vnfd.description) if vnfd else None
        return content, findings
    summary = "it is neither a VNFD (`vnfd:`) nor an NSD (`nsd: {nsd: [...]}`) of ETSI SOL006"
    return None, [source.diagnostic("PKG-0041", summary)]


def _descriptor_files(files: Mapping[str, bytes]) -> Iterator[str]:
    return (path for path in files if re.fullmatch(r"[^/]*(vnfd|nsd)\.ya?ml", path))


def _check_digests(folder: _Folder, file: str) -> Iterator[Diagnostic]:
    text = folder.files.get(CHECKSUMS, b"").decode("utf-8", "replace")
    for line in text.splitlines():
        match = _LINE.fullmatch(line.strip())
        if match is None:
            continue
        path = match["path"].removeprefix("./").removeprefix(f"{folder.name}/")
        algorithm = "md5" if len(match["digest"]) == 32 else "sha256"
        if path not in folder.files:
            yield Diagnostic("error", "PKG-0011", f"`{CHECKSUMS}` lists `{path}`, which is not in the package", file)
        elif hashlib.new(algorithm, folder.files[path], usedforsecurity=False).hexdigest() != match["digest"].lower():
            summary = f"checksum mismatch: `{path}` is not as `{CHECKSUMS}` says"
            hint = "the file was changed after packaging: build it anew"
            yield Diagnostic("error", "PKG-0012", summary, file, hint=hint)
