"""Package files: SONATA's `.son` and 5GTANGO's `.tgo`, read and written; OSM's `.tar.gz` (see `osm_package`).

A `.son` is a zip with its manifest (PD, MD5 digests) in `META-INF/MANIFEST.MF`; a `.tgo` is a zip laid out like a TOSCA
CSAR with `TOSCA-Metadata/TOSCA.meta`, its manifest (NAPD, SHA-256 digests) and an ETSI manifest (ETSI GS NFV-SOL 004).
Either is told by what is inside, not by its name. Every file that the manifest lists is there and has its digest.

Codes: PKG-0001 to -0004 archive (see `archive`), -0010 neither `.son` nor `.tgo`, -0011 listed file is missing,
-0012 digest differs, -0013 unknown digest algorithm, -0014 file listed twice, -0015 stray file in META-INF, -0016 entry
service missing, -0017 file that the manifest does not list (warning); `PD-` and `NAPD-` structure of the manifests.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import Any

import yaml

from sonata._lib.values import dataclass
from sonata.errors import Diagnostic, InvalidInput, NotFound
from sonata.formats.archive import MAX_ARCHIVE_BYTES, read_archive, read_tarball, write_archive
from sonata.formats.descriptor_rules import Level
from sonata.formats.findings import raise_errors
from sonata.formats.osm_package import GZIP, inspect_osm_package
from sonata.formats.package_content import NSD_TYPES, VNFD_TYPES, PackageFile, assemble
from sonata.formats.package_documents import SonataManifest, TangoManifest
from sonata.formats.suggestions import suggestion
from sonata.formats.tolerance import read_model
from sonata.formats.yaml_nodes import MAX_FINDINGS, YamlDocument, parse_yaml
from sonata.model.descriptors import DescriptorId, PackageContent

PD = "META-INF/MANIFEST.MF"
TOSCA_META = "TOSCA-Metadata/TOSCA.meta"
NAPD = "TOSCA-Metadata/NAPD.yaml"
ETSI_MANIFEST = "etsi_manifest.mf"
RESERVED = (PD, TOSCA_META, NAPD, ETSI_MANIFEST)
"""Paths that a project's own files cannot have."""

_NAPD_SCHEMA = "https://raw.githubusercontent.com/sonata-nfv/tng-schema/master/package-specification/napd-schema.yml"
# Of a package nothing but its content may decide its bytes, not even the day on which it is built.
_RELEASE = "1980-01-01T00:00:00Z"
# MD5 and SHA-1 protect against accidents alone; old packages have nothing better.
_ALGORITHMS = {"SHA-256": "sha256", "SHA256": "sha256", "SHA-512": "sha512", "SHA-1": "sha1", "MD5": "md5"}


@dataclass(frozen=True, slots=True)
class PackageInfo:
    """What a manifest says of the whole package."""

    id: DescriptorId
    maintainer: str = ""
    description: str = ""


@dataclass(frozen=True, slots=True)
class _Entry:
    """A file as a manifest lists it; the keys are where its path and digest stand in the manifest."""

    path: str
    media_type: str
    path_key: str
    digest_key: str
    algorithm: str
    digest: str | None
    tags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Opened:
    """A package whose files were compared with its manifest; `info` is None when the manifest could not be read."""

    info: PackageInfo | None
    files: tuple[PackageFile, ...]
    findings: tuple[Diagnostic, ...]


def read_package(source: bytes | Path, *, name: str = "", tolerant: bool = False) -> PackageContent:
    """Read and check a package.

    Args:
        source: the archive, or its path.
        name: name of the archive in diagnostics; by default its path, or `package`.
        tolerant: whether flaws that do not matter for running it are warnings.

    Raises:
        NotFound: there is no such file.
        InvalidInput: with all findings.
    """
    content, findings = inspect_package(source, name=name, tolerant=tolerant)
    raise_errors(f"package `{_name(source, name)}`", findings)
    if content is None:
        raise TypeError("a package without errors has a value")
    return content


def inspect_package(
    source: bytes | Path, *, name: str = "", tolerant: bool = False, level: Level = "topology"
) -> tuple[PackageContent | None, list[Diagnostic]]:
    """The content of a package, None when there are errors, and all findings, warnings too.

    Raises:
        NotFound: there is no such file.
        InvalidInput: the file cannot be opened.
    """
    data, file = _load(source), _name(source, name)
    try:
        if data.startswith(GZIP):
            return inspect_osm_package(data, file, tolerant=tolerant)
        opened = _open(read_archive(data, file), file, tolerant)
    except InvalidInput as error:
        return None, list(error.diagnostics)
    if opened.info is None:
        return None, list(opened.findings)
    content, findings = assemble(
        opened.info.id,
        opened.files,
        description=opened.info.description,
        sha256=hashlib.sha256(data).hexdigest(),
        tolerant=tolerant,
        level=level,
    )
    findings = [*opened.findings, *findings]
    return (None if any(finding.severity == "error" for finding in findings) else content), findings


def read_files(source: bytes | Path, *, name: str = "") -> dict[str, bytes]:
    """All files of a package archive, its manifests included; raises as `read_package`."""
    data, file = _load(source), _name(source, name)
    return read_tarball(data, file) if data.startswith(GZIP) else read_archive(data, file)


def write_tgo(info: PackageInfo, files: Sequence[PackageFile]) -> bytes:
    """A `.tgo` archive; the same input gives the same bytes."""
    listed = sorted(files, key=lambda file: file.path)
    digests = {file.path: hashlib.sha256(file.content).hexdigest() for file in listed}
    content = {file.path: file.content for file in listed}
    content[TOSCA_META] = _tosca_meta(info, listed).encode()
    content[NAPD] = _dump(_napd(info, listed, digests)).encode()
    content[ETSI_MANIFEST] = _etsi_manifest(info, digests).encode()
    return write_archive(content, first=(TOSCA_META, NAPD, ETSI_MANIFEST))


def write_son(info: PackageInfo, files: Sequence[PackageFile]) -> bytes:
    """A `.son` archive; the same input gives the same bytes."""
    listed = sorted(files, key=lambda file: file.path)
    content = {file.path: file.content for file in listed}
    content[PD] = _dump(_pd(info, listed)).encode()
    return write_archive(content, first=(PD,))


def _load(source: bytes | Path) -> bytes:
    if isinstance(source, bytes):
        return source
    try:
        with source.open("rb") as stream:
            return stream.read(MAX_ARCHIVE_BYTES + 1)
    except FileNotFoundError:
        raise NotFound(f"there is no package `{source}`") from None
    except OSError as error:
        raise InvalidInput(f"cannot read package `{source}`: {error.strerror}") from error


def _name(source: bytes | Path, name: str) -> str:
    return name or (str(source) if isinstance(source, Path) else "package")


def _open(files: Mapping[str, bytes], file: str, tolerant: bool) -> _Opened:
    if PD in files:
        return _open_son(files, file, tolerant)
    if TOSCA_META in files or NAPD in files:
        return _open_tgo(files, file, tolerant)
    summary = f"it has neither `{PD}` (a .son package) nor `{TOSCA_META}` (a .tgo package)"
    return _Opened(None, (), (Diagnostic("error", "PKG-0010", summary, file),))


def _open_son(files: Mapping[str, bytes], file: str, tolerant: bool) -> _Opened:
    source = parse_yaml(files[PD], f"{file}/{PD}")
    manifest, findings = read_model(source, SonataManifest, "PD", tolerant=tolerant)
    if manifest is None:
        return _Opened(None, (), tuple(findings))
    entries = [
        _Entry(each.name.strip("/"), each.content_type, "name", "md5", "MD5", each.md5)
        for each in manifest.package_content
    ]
    own = chain(_check_meta_inf(files, file), _check_entry_service(source, manifest, files))
    return _opened(_info(manifest), source, entries, files, file, [*findings, *islice(own, MAX_FINDINGS)])


def _open_tgo(files: Mapping[str, bytes], file: str, tolerant: bool) -> _Opened:
    napd = _napd_path(files)
    if napd not in files:
        finding = Diagnostic("error", "PKG-0011", f"`{TOSCA_META}` names `{napd}`, which is not in the package", file)
        return _Opened(None, (), (finding,))
    source = parse_yaml(files[napd], f"{file}/{napd}")
    manifest, findings = read_model(source, TangoManifest, "NAPD", tolerant=tolerant)
    if manifest is None:
        return _Opened(None, (), tuple(findings))
    entries = [
        _Entry(
            each.source.strip("/"),
            each.content_type,
            "source",
            "hash",
            each.algorithm,
            each.hash,
            tuple(each.tags or ()),
        )
        for each in manifest.package_content
    ]
    return _opened(_info(manifest), source, entries, files, file, findings)


def _opened(
    info: PackageInfo,
    source: YamlDocument,
    entries: Sequence[_Entry],
    files: Mapping[str, bytes],
    file: str,
    findings: Iterable[Diagnostic],
) -> _Opened:
    """Compare the files of package `file` with its manifest, `source`."""
    checks = chain(_check_entries(source, entries, files), _check_listing(source, entries, files))
    listed = {
        entry.path: PackageFile(entry.path, entry.media_type, files[entry.path], f"{file}/{entry.path}", entry.tags)
        for entry in entries
        if entry.path in files
    }
    return _Opened(info, tuple(listed.values()), (*findings, *islice(checks, MAX_FINDINGS)))


def _napd_path(files: Mapping[str, bytes]) -> str:
    """Path of the NAPD: the `Name` of the block in TOSCA.meta that has its media type."""
    text = files.get(TOSCA_META, b"").decode("utf-8", "replace")
    for block in text.replace("\r\n", "\n").split("\n\n"):
        pairs = (line.partition(":") for line in block.splitlines())
        values = {key.strip(): value.strip() for key, _, value in pairs}
        if values.get("Content-Type") == "application/vnd.5gtango.napd" and values.get("Name"):
            return values["Name"]
    return NAPD


def _info(manifest: SonataManifest | TangoManifest) -> PackageInfo:
    identity = DescriptorId(manifest.vendor, manifest.name, manifest.version)
    return PackageInfo(identity, manifest.maintainer or "", manifest.description.strip())


def _check_meta_inf(files: Mapping[str, bytes], file: str) -> Iterator[Diagnostic]:
    for stray in (name for name in files if name.startswith("META-INF/") and name != PD):
        yield Diagnostic("error", "PKG-0015", f"META-INF holds `{stray}` beside the manifest", file)


def _check_entries(source: YamlDocument, entries: Sequence[_Entry], files: Mapping[str, bytes]) -> Iterator[Diagnostic]:
    seen: set[str] = set()
    for index, entry in enumerate(entries):
        if entry.path in seen:
            yield source.diagnostic("PKG-0014", f"`{entry.path}` is listed twice", ("package_content", index))
        elif entry.path not in files:
            summary = f"the manifest lists `{entry.path}`, which is not in the package"
            where = ("package_content", index, entry.path_key)
            yield source.diagnostic("PKG-0011", summary, where, hint=suggestion(entry.path, files))
        elif entry.digest:
            yield from _check_digest(source, index, entry, files[entry.path])
        seen.add(entry.path)


def _check_digest(source: YamlDocument, index: int, entry: _Entry, content: bytes) -> Iterator[Diagnostic]:
    where = ("package_content", index, entry.digest_key)
    algorithm, expected = entry.algorithm, (entry.digest or "").lower()
    known = _ALGORITHMS.get(algorithm.upper())
    if known is None:
        summary = f"digest algorithm `{algorithm}` is unknown"
        yield source.diagnostic("PKG-0013", summary, where, hint="use `SHA-256`")
        return
    actual = hashlib.new(known, content, usedforsecurity=False).hexdigest()
    if actual != expected:
        summary = f"checksum mismatch: `{entry.path}` has {algorithm} {actual}, the manifest says {expected}"
        yield source.diagnostic("PKG-0012", summary, where, hint="the file was changed after packaging: build it anew")


def _check_listing(source: YamlDocument, entries: Sequence[_Entry], files: Mapping[str, bytes]) -> Iterator[Diagnostic]:
    for path in sorted(files.keys() - {entry.path for entry in entries}):
        if path.startswith(("Definitions/", "service_descriptors/", "function_descriptors/")):
            summary = f"`{path}` is in the package but not in its manifest, and is ignored"
            yield source.diagnostic("PKG-0017", summary, ("package_content",), warning=True)


def _check_entry_service(
    source: YamlDocument, manifest: SonataManifest, files: Mapping[str, bytes]
) -> Iterator[Diagnostic]:
    entry = manifest.entry_service_template
    if entry is not None and entry.strip("/") not in files:
        summary = f"the entry service `{entry}` is not in the package"
        hint = suggestion(entry.strip("/"), files)
        yield source.diagnostic("PKG-0016", summary, ("entry_service_template",), hint=hint)


def _package_type(files: Iterable[PackageFile]) -> str:
    kinds = {file.media_type for file in files}
    kind = "nsp" if kinds & NSD_TYPES else "vnfp" if kinds & VNFD_TYPES else "tdp"
    return f"application/vnd.5gtango.package.{kind}"


def _napd(info: PackageInfo, files: Sequence[PackageFile], digests: Mapping[str, str]) -> dict[str, Any]:
    entries = [
        {
            "source": file.path,
            "algorithm": "SHA-256",
            "hash": digests[file.path],
            "content-type": file.media_type,
            "tags": list(file.tags),
        }
        for file in files
    ]
    head = {"descriptor_schema": _NAPD_SCHEMA, **_identity(info), "package_type": _package_type(files)}
    return {**head, "release_date_time": _RELEASE, **_people(info), "package_content": entries}


def _pd(info: PackageInfo, files: Sequence[PackageFile]) -> dict[str, Any]:
    entries = [
        {
            "name": f"/{file.path}",
            "content-type": file.media_type,
            "md5": hashlib.md5(file.content, usedforsecurity=False).hexdigest(),
        }
        for file in files
    ]
    services = [f"/{file.path}" for file in files if file.media_type in NSD_TYPES]
    entry = {"entry_service_template": services[0]} if services else {}
    head = {"descriptor_version": "1.0", **_identity(info), **_people(info)}
    return {**head, **entry, "sealed": True, "package_content": entries}


def _identity(info: PackageInfo) -> dict[str, str]:
    return {"vendor": info.id.vendor, "name": info.id.name, "version": info.id.version}


def _people(info: PackageInfo) -> dict[str, str]:
    values = {"maintainer": info.maintainer, "description": info.description}
    return {key: value for key, value in values.items() if value}


def _tosca_meta(info: PackageInfo, files: Iterable[PackageFile]) -> str:
    services = [file.path for file in files if file.media_type in NSD_TYPES]
    author = " ".join(info.maintainer.split()) or info.id.vendor
    lines = ["TOSCA-Meta-Version: 1.0", "CSAR-Version: 1.0", f"Created-By: {author}"]
    lines += [f"Entry-Manifest: {ETSI_MANIFEST}", f"Entry-Definitions: {services[0] if services else NAPD}"]
    return "\n".join([*lines, "", f"Name: {NAPD}", "Content-Type: application/vnd.5gtango.napd", ""])


def _etsi_manifest(info: PackageInfo, digests: Mapping[str, str]) -> str:
    lines = [f"ns_product_name: {info.id.name}", f"ns_provider_id: {info.id.vendor}"]
    lines += [f"ns_package_version: {info.id.version}", f"ns_release_date_time: {_RELEASE}", ""]
    for path, digest in digests.items():
        lines += [f"Source: {path}", "Algorithm: SHA-256", f"Hash: {digest}", ""]
    return "\n".join(lines)


def _dump(document: Mapping[str, Any]) -> str:
    return yaml.safe_dump(dict(document), sort_keys=False, allow_unicode=True, width=120)
