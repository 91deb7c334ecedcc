"""From files to the content of a package: finds the descriptors, reads them, and checks them against one another.

Package files and project folders both end up here, so that a project is judged exactly as the package built from it.

Codes: PKG-0020 several network services, -0021 two descriptors with the same identity
(warning when they are equal), -0022 no descriptor (warning).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import field
from typing import TypeVar

from sonata._lib.values import dataclass
from sonata.errors import Diagnostic, InvalidInput
from sonata.formats.descriptor_documents import NsdDocument, VnfdDocument
from sonata.formats.descriptor_rules import Level
from sonata.formats.findings import errors_in
from sonata.formats.sonata_descriptors import (
    ReadDescriptor,
    check_nsd,
    check_vnfd,
    nsd_value,
    read_nsd_document,
    read_vnfd_document,
    resolve_functions,
    vnfd_value,
)
from sonata.formats.yaml_nodes import YamlDocument, parse_yaml
from sonata.model.descriptors import DescriptorId, PackageContent

NSD_TYPES = frozenset({"application/vnd.5gtango.nsd", "application/sonata.service_descriptor"})
VNFD_TYPES = frozenset({"application/vnd.5gtango.vnfd", "application/sonata.function_descriptor"})

R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class PackageFile:
    """A file of a package.

    Args:
        path: inside of the package, with `/` and without one at its start.
        media_type: what it is, as the manifest or project says.
        name: its name in diagnostics, e.g. `cdn.tgo/Definitions/nsd.yml`.
    """

    path: str
    media_type: str
    content: bytes
    name: str
    tags: tuple[str, ...] = field(default=())


@dataclass(frozen=True, slots=True)
class _Descriptors:
    nsds: list[ReadDescriptor[NsdDocument]]
    vnfds: list[ReadDescriptor[VnfdDocument]]


def assemble(
    identity: DescriptorId,
    files: Sequence[PackageFile],
    *,
    description: str = "",
    sha256: str = "",
    tolerant: bool = False,
    level: Level = "topology",
) -> tuple[PackageContent | None, list[Diagnostic]]:
    """The content of a package, None when there are errors, and all findings.

    Args:
        identity: vendor, name and version of the package.
        files: all its files, descriptors and others, without the manifest.
        description: of the package.
        sha256: hex digest of the archive, empty for a project.
        tolerant: whether flaws that do not matter for running it are warnings.
        level: how far the rules go.
    """
    findings: list[Diagnostic] = []
    found = _Descriptors(
        _read_all(files, NSD_TYPES, lambda source: read_nsd_document(source, tolerant=tolerant), findings),
        _read_all(files, VNFD_TYPES, lambda source: read_vnfd_document(source, tolerant=tolerant), findings),
    )
    others = {file.path: file.content for file in files if file.media_type not in NSD_TYPES | VNFD_TYPES}
    findings += _merge_copies(found.vnfds)
    findings += _check_descriptors(found, others, level)
    findings += _check_set(found, identity)
    if errors_in(findings):
        return None, findings
    functions = [read.document for read in found.vnfds]
    nsd = found.nsds[0] if found.nsds else None
    content = PackageContent(
        id=identity,
        nsd=nsd_value(nsd, resolve_functions(nsd.document, functions)) if nsd else None,
        vnfds=tuple(vnfd_value(read) for read in found.vnfds),
        files=others,
        sha256=sha256,
        description=description.strip(),
    )
    return content, findings


def _read_all(
    files: Iterable[PackageFile],
    media_types: frozenset[str],
    read: Callable[[YamlDocument], R],
    findings: list[Diagnostic],
) -> list[R]:
    documents = []
    for file in files:
        if file.media_type not in media_types:
            continue
        try:
            documents.append(read(parse_yaml(file.content, file.name)))
        except InvalidInput as error:
            findings += error.diagnostics
    return documents


def _check_descriptors(found: _Descriptors, others: dict[str, bytes], level: Level) -> list[Diagnostic]:
    findings = []
    for vnfd in found.vnfds:
        findings += check_vnfd(vnfd, others, level)
    functions = [read.document for read in found.vnfds]
    for nsd in found.nsds:
        findings += check_nsd(nsd, resolve_functions(nsd.document, functions), others, level)
    return findings


def _merge_copies(vnfds: list[ReadDescriptor[VnfdDocument]]) -> list[Diagnostic]:
    """Leave one of several VNF descriptors that say the same; those that share an identity alone are errors."""
    findings = []
    first: dict[DescriptorId, ReadDescriptor[VnfdDocument]] = {}
    for read in vnfds:
        original = first.setdefault(read.id, read)
        if original is read:
            continue
        is_copy = original.document == read.document
        summary = f"`{read.id}` is also described by `{original.source.file}`" + (
            ", in the same way" if is_copy else ""
        )
        findings.append(read.source.diagnostic("PKG-0021", summary, warning=is_copy))
    vnfds[:] = first.values()
    return findings


def _check_set(found: _Descriptors, identity: DescriptorId) -> list[Diagnostic]:
    findings = []
    for nsd in found.nsds[1:]:
        summary = f"package `{identity}` has another network service, `{found.nsds[0].id}`"
        findings.append(nsd.source.diagnostic("PKG-0020", summary, hint="make a package of each"))
    if not found.nsds and not found.vnfds:
        summary = f"package `{identity}` has neither a network service nor a VNF that could be read"
        findings.append(Diagnostic("warning", "PKG-0022", summary))
    return findings
