"""Reader of SONATA and 5GTANGO network service and VNF descriptors.

*Strict* (the default) reports everything that the published schemas and the rules forbid. *Tolerant* is for documents
found in the wild: what does not reach `sonata.model.descriptors` is left out when it is wrong, unquoted versions are
read as written, and each such repair is a warning. In tolerant mode an image given as URL or path becomes the last
part of it without the extension of a disk image (`http://host/x/vnf.qcow2` is image `vnf`), since VIMs know images by
name.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, Generic, TypeVar

from sonata._lib.values import dataclass
from sonata.errors import Diagnostic
from sonata.formats.descriptor_documents import (
    ConnectionPointDocument,
    DescriptorDocument,
    ForwardingGraphDocument,
    ManagerDocument,
    MemoryDocument,
    NetworkFunctionDocument,
    NsdDocument,
    StorageDocument,
    VduDocument,
    VirtualLinkDocument,
    VnfdDocument,
)
from sonata.formats.descriptor_policy import Policy, parse_policy
from sonata.formats.descriptor_rules import (
    Level,
    NsdSubject,
    VnfdSubject,
    nsd_findings,
    split_reference,
    vnfd_findings,
)
from sonata.formats.descriptor_upgrade import upgrade_point_names
from sonata.formats.findings import raise_errors
from sonata.formats.tolerance import read_model
from sonata.formats.yaml_nodes import YamlDocument, parse_yaml, read_yaml
from sonata.model.descriptors import (
    ConnectionPoint,
    ConstituentVnf,
    CpRef,
    CpType,
    DescriptorId,
    ForwardingGraph,
    ForwardingPath,
    ManagerDeclaration,
    NetworkServiceDescriptor,
    Vdu,
    VirtualLink,
    VnfDescriptor,
)

D = TypeVar("D", bound=DescriptorDocument)

_BYTES = {"B": 1, "kB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12, "PT": 10**15}
_BYTES |= {"KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40, "PiT": 2**50}
_BITS = {"bps": 1, "kbps": 10**3, "Mbps": 10**6, "Gbps": 10**9, "Tbps": 10**12}
_DISK_IMAGE = re.compile(r"\.(qcow2?|img|raw|vmdk|vdi|vhdx?|iso|ova|ovf|tar(\.[gx]z)?|tgz)$", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class ReadDescriptor(Generic[D]):
    """A descriptor whose syntax is sound; `repairs` are the warnings of a tolerant reader."""

    document: D
    source: YamlDocument
    repairs: tuple[Diagnostic, ...] = ()
    tolerant: bool = False

    @property
    def id(self) -> DescriptorId:
        """Its identity."""
        return DescriptorId(self.document.vendor, self.document.name, self.document.version)


def read_nsd(path: Path, *, tolerant: bool = False) -> NetworkServiceDescriptor:
    """Read a network service descriptor alone, without its VNFDs.

    Raises:
        NotFound: there is no such file.
        InvalidInput: with all findings.
    """
    return _nsd_of(read_yaml(path), tolerant)


def parse_nsd(text: str | bytes, file: str = "nsd.yml", *, tolerant: bool = False) -> NetworkServiceDescriptor:
    """Read a network service descriptor from text; raises InvalidInput with all findings."""
    return _nsd_of(parse_yaml(text, file), tolerant)


def read_vnfd(path: Path, *, tolerant: bool = False) -> VnfDescriptor:
    """Read a VNF descriptor.

    Raises:
        NotFound: there is no such file.
        InvalidInput: with all findings.
    """
    return _vnfd_of(read_yaml(path), tolerant)


def parse_vnfd(text: str | bytes, file: str = "vnfd.yml", *, tolerant: bool = False) -> VnfDescriptor:
    """Read a VNF descriptor from text; raises InvalidInput with all findings."""
    return _vnfd_of(parse_yaml(text, file), tolerant)


def is_nsd(data: Any) -> bool:
    """Whether a document looks like a network service descriptor."""
    return isinstance(data, Mapping) and bool(data.keys() & {"network_functions", "network_services"})


def is_vnfd(data: Any) -> bool:
    """Whether a document looks like a VNF descriptor."""
    units = {"virtual_deployment_units", "cloudnative_deployment_units", "physical_deployment_units"}
    return isinstance(data, Mapping) and bool(data.keys() & units)


def read_nsd_document(source: YamlDocument, *, tolerant: bool) -> ReadDescriptor[NsdDocument]:
    """Check the syntax of a network service descriptor; raises InvalidInput with all findings."""
    return _read(source, NsdDocument, "NSD", tolerant)


def read_vnfd_document(source: YamlDocument, *, tolerant: bool) -> ReadDescriptor[VnfdDocument]:
    """Check the syntax of a VNF descriptor; raises InvalidInput with all findings."""
    return _read(source, VnfdDocument, "VNFD", tolerant)


def check_nsd(
    read: ReadDescriptor[NsdDocument],
    functions: Mapping[str, VnfdDocument] | None = None,
    files: Collection[str] | None = None,
    level: Level = "topology",
) -> list[Diagnostic]:
    """All findings of the rules, and the repairs."""
    findings = nsd_findings(NsdSubject(read.document, functions, files), level)
    return [*read.repairs, *(finding.locate(read.source, tolerant=read.tolerant) for finding in findings)]


def check_vnfd(
    read: ReadDescriptor[VnfdDocument], files: Collection[str] | None = None, level: Level = "topology"
) -> list[Diagnostic]:
    """All findings of the rules, and the repairs."""
    findings = vnfd_findings(VnfdSubject(read.document, files), level)
    return [*read.repairs, *(finding.locate(read.source, tolerant=read.tolerant) for finding in findings)]


def resolve_functions(nsd: NsdDocument, vnfds: Sequence[VnfdDocument]) -> dict[str, VnfdDocument]:
    """The VNFD of each `vnf_id` for which there is one; of several versions that fit, the highest."""
    by_name: dict[tuple[str, str], list[VnfdDocument]] = {}
    for vnfd in vnfds:
        by_name.setdefault((vnfd.vendor, vnfd.name), []).append(vnfd)
    found = {}
    for function in nsd.network_functions:
        versions = by_name.get((function.vnf_vendor, function.vnf_name), [])
        fitting = [vnfd for vnfd in versions if _fits(function, vnfd)]
        if fitting:
            found[function.vnf_id] = max(fitting, key=lambda vnfd: _version_key(vnfd.version))
    return found


def nsd_value(
    read: ReadDescriptor[NsdDocument], functions: Mapping[str, VnfdDocument] | None = None
) -> NetworkServiceDescriptor:
    """The value of a network service descriptor in which the rules found no error."""
    document = read.document
    return NetworkServiceDescriptor(
        id=read.id,
        vnfs=tuple(_constituent(function, functions or {}) for function in document.network_functions),
        connection_points=_points(document.connection_points, "external"),
        virtual_links=tuple(_link(link) for link in document.virtual_links),
        forwarding_graphs=tuple(_graph(graph, read.tolerant) for graph in document.forwarding_graphs),
        managers=tuple(_manager(manager) for manager in document.service_specific_managers),
        description=document.description.strip(),
    )


def vnfd_value(read: ReadDescriptor[VnfdDocument]) -> VnfDescriptor:
    """The value of a VNF descriptor in which the rules found no error."""
    document = read.document
    return VnfDescriptor(
        id=read.id,
        vdus=tuple(_vdu(unit, read.tolerant) for unit in document.virtual_deployment_units),
        connection_points=_points(document.connection_points, "external"),
        virtual_links=tuple(_link(link) for link in document.virtual_links),
        managers=tuple(_manager(manager) for manager in document.function_specific_managers),
        description=document.description.strip(),
    )


def _nsd_of(source: YamlDocument, tolerant: bool) -> NetworkServiceDescriptor:
    read = read_nsd_document(source, tolerant=tolerant)
    raise_errors(f"network service descriptor `{source.file}`", check_nsd(read))
    return nsd_value(read)


def _vnfd_of(source: YamlDocument, tolerant: bool) -> VnfDescriptor:
    read = read_vnfd_document(source, tolerant=tolerant)
    raise_errors(f"VNF descriptor `{source.file}`", check_vnfd(read))
    return vnfd_value(read)


def _read(source: YamlDocument, model: type[D], prefix: str, tolerant: bool) -> ReadDescriptor[D]:
    document, findings = read_model(source, model, prefix, tolerant=tolerant, upgrade=upgrade_point_names)
    if document is None:
        raise_errors(f"descriptor `{source.file}`", findings)
        raise TypeError("a descriptor without errors has a value")
    return ReadDescriptor(document, source, tuple(findings), tolerant)


def _fits(function: NetworkFunctionDocument, vnfd: VnfdDocument) -> bool:
    operator, wanted = _split_range(function.vnf_version)
    if operator in {"", "=="}:
        return vnfd.version == wanted
    have, want = _version_key(vnfd.version), _version_key(wanted)
    return {"!=": have != want, ">=": have >= want, "<=": have <= want}[operator]


def _split_range(text: str) -> tuple[str, str]:
    operator = text[:2] if text[:2] in {"==", ">=", "<=", "!="} else ""
    return operator, text.removeprefix(operator).strip()


def _version_key(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"[0-9]+", version))


def _constituent(function: NetworkFunctionDocument, found: Mapping[str, VnfdDocument]) -> ConstituentVnf:
    vnfd = found.get(function.vnf_id)
    version = vnfd.version if vnfd else _split_range(function.vnf_version)[1]
    return ConstituentVnf(function.vnf_id, DescriptorId(function.vnf_vendor, function.vnf_name, version))


def _points(points: Sequence[ConnectionPointDocument], default: CpType) -> tuple[ConnectionPoint, ...]:
    return tuple(ConnectionPoint(point.id, _point_type(point, default), point.ip or "") for point in points)


def _point_type(point: ConnectionPointDocument, default: CpType) -> CpType:
    # 5GTANGO's `serviceendpoint` is a connection point that users of the service reach: external.
    kinds: dict[str | None, CpType] = {
        "internal": "internal",
        "external": "external",
        "management": "management",
        "serviceendpoint": "external",
    }
    return kinds.get(point.type, default)


def _reference(text: str) -> CpRef:
    return CpRef(*split_reference(text))


def _link(link: VirtualLinkDocument) -> VirtualLink:
    minimum = link.qos_requirements.minimum_bandwidth if link.qos_requirements else None
    return VirtualLink(
        id=link.id,
        connectivity=link.connectivity_type,
        members=tuple(_reference(end) for end in dict.fromkeys(link.connection_points_reference)),
        cidr=link.cidr,
        min_rate_bps=minimum.bandwidth * _BITS[minimum.bandwidth_unit] if minimum and minimum.bandwidth else None,
    )


def _graph(graph: ForwardingGraphDocument, tolerant: bool) -> ForwardingGraph:
    policies = [_policy(route.policy, tolerant) for route in graph.network_forwarding_paths]
    policy = policies[0] if policies else Policy()
    paths = []
    for index, route in enumerate(graph.network_forwarding_paths):
        ordered = sorted(route.connection_points, key=lambda point: point.position)
        points = tuple(_reference(point.connection_point_ref) for point in ordered)
        paths.append(ForwardingPath(route.fp_id or f"{graph.fg_id}/{index}", points))
    return ForwardingGraph(graph.fg_id, tuple(paths), policy.protocol, policy.destination_port)


def _policy(text: str | None, tolerant: bool) -> Policy:
    try:
        return parse_policy(text)
    except ValueError:
        if tolerant:
            return Policy()
        raise


def _manager(manager: ManagerDocument) -> ManagerDeclaration:
    return ManagerDeclaration(
        id=manager.id,
        image=manager.image,
        roles=tuple(dict.fromkeys(option.value for option in manager.options if option.key == "type")),
        options={option.key: option.value for option in manager.options if option.key != "type"},
        description=manager.description,
    )


def _vdu(unit: VduDocument, tolerant: bool) -> Vdu:
    needs = unit.resource_requirements
    return Vdu(
        id=unit.id,
        image=_image_name(unit.vm_image or "") if tolerant else unit.vm_image or "",
        vcpus=float(needs.cpu.vcpus),
        memory_mib=_in_units(needs.memory, 2**20),
        disk_gib=_in_units(needs.storage, 2**30) if needs.storage else 0,
        instances=max(1, unit.scale_in_out.minimum) if unit.scale_in_out else 1,
        connection_points=_points(unit.connection_points, "internal"),
        user_data=unit.user_data,
    )


def _image_name(image: str) -> str:
    return _DISK_IMAGE.sub("", image.rstrip("/").rpartition("/")[2])


def _in_units(size: MemoryDocument | StorageDocument, unit_bytes: int) -> int:
    """A size in whole units, rounded up: what is asked for must fit."""
    return math.ceil(size.size * _BYTES[size.size_unit] / unit_bytes)
