"""Package files: SONATA's `.son` and 5GTANGO's `.tgo`, read and written.

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
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from sonata.errors import Diagnostic, InvalidInput, NotFound
from sonata.formats.archive import MAX_ARCHIVE_BYTES, read_archive, write_archive
from sonata.formats.descriptor_rules import Level
from sonata.formats.diagnostics import raise_errors, suggestion
from sonata.formats.package_content import NSD_TYPES, VNFD_TYPES, PackageFile, assemble
from sonata.formats.package_documents import SonataManifest, TangoManifest
from sonata.formats.tolerance import read_model
from sonata.formats.yaml_nodes import YamlDocument, parse_yaml
from sonata.model.descriptors import DescriptorId, PackageContent

PD = "META-INF/MANIFEST.MF"
TOSCA_META = "TOSCA-Metadata/TOSCA.meta"
NAPD = "TOSCA-Metadata/NAPD.yaml"
ETSI_MANIFEST = "etsi_manifest.mf"

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
    return read_archive(_load(source), _name(source, name))


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
    for stray in (name for name in files if name.startswith("META-INF/") and name != PD):
        findings.append(Diagnostic("error", "PKG-0015", f"META-INF holds `{stray}` beside the manifest", file))
    listed = []
    for index, entry in enumerate(manifest.package_content):
        path = entry.name.strip("/")
        findings += _check_entry(source, index, "name", path, files)
        if path in files and entry.md5:
            findings += _check_digest(source, index, "md5", path, files[path], "MD5", entry.md5)
        if path in files:
            listed.append(_package_file(path, entry.content_type, files[path], file))
    findings += _check_listing(source, [entry.name.strip("/") for entry in manifest.package_content], files)
    findings += _check_entry_service(source, manifest, files)
    return _Opened(_info(manifest), tuple(listed), tuple(findings))


def _open_tgo(files: Mapping[str, bytes], file: str, tolerant: bool) -> _Opened:
    napd = _napd_path(files)
    if napd not in files:
        finding = Diagnostic("error", "PKG-0011", f"`{TOSCA_META}` names `{napd}`, which is not in the package", file)
        return _Opened(None, (), (finding,))
    source = parse_yaml(files[napd], f"{file}/{napd}")
    manifest, findings = read_model(source, TangoManifest, "NAPD", tolerant=tolerant)
    if manifest is None:
        return _Opened(None, (), tuple(findings))
    listed = []
    for index, entry in enumerate(manifest.package_content):
        path = entry.source.strip("/")
        findings += _check_entry(source, index, "source", path, files)
        if path in files:
            findings += _check_digest(source, index, "hash", path, files[path], entry.algorithm, entry.hash)
            listed.append(_package_file(path, entry.content_type, files[path], file, entry.tags or ()))
    paths = [entry.source.strip("/") for entry in manifest.package_content]
    findings += _check_listing(source, paths, files)
    return _Opened(_info(manifest), tuple(listed), tuple(findings))


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


def _package_file(path: str, media_type: str, content: bytes, file: str, tags: Iterable[str] = ()) -> PackageFile:
    return PackageFile(path, media_type, content, f"{file}/{path}", tuple(tags))


def _check_entry(
    source: YamlDocument, index: int, key: str, path: str, files: Mapping[str, bytes]
) -> Iterator[Diagnostic]:
    if path not in files:
        summary = f"the manifest lists `{path}`, which is not in the package"
        yield source.diagnostic("PKG-0011", summary, ("package_content", index, key), hint=suggestion(path, files))


def _check_digest(
    source: YamlDocument, index: int, key: str, path: str, content: bytes, algorithm: str, expected: str
) -> Iterator[Diagnostic]:
    where = ("package_content", index, key)
    known = _ALGORITHMS.get(algorithm.upper())
    if known is None:
        summary = f"digest algorithm `{algorithm}` is unknown"
        yield source.diagnostic("PKG-0013", summary, where, hint="use `SHA-256`")
        return
    actual = hashlib.new(known, content, usedforsecurity=False).hexdigest()
    if actual != expected.lower():
        summary = f"checksum mismatch: `{path}` has {algorithm} {actual}, the manifest says {expected.lower()}"
        yield source.diagnostic("PKG-0012", summary, where, hint="the file was changed after packaging: build it anew")


def _check_listing(source: YamlDocument, listed: Sequence[str], files: Mapping[str, bytes]) -> Iterator[Diagnostic]:
    for index, path in enumerate(listed):
        if path in listed[:index]:
            yield source.diagnostic("PKG-0014", f"`{path}` is listed twice", ("package_content", index))
    for path in files.keys() - set(listed):
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
