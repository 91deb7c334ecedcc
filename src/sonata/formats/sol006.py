"""Reader of ETSI SOL006 descriptors as OSM writes them.

A descriptor's vendor is its `provider` or `designer`, `osm` where it has none. A service names its VNFs by `vnfd-id`
alone: `ConstituentVnf.descriptor` then has neither vendor nor version, and the catalogue finds the VNF by its name.
Only the first deployment flavour counts. Each `ext-cpd` leads to the VDU's connection point by an E-Line.

Codes: SOL006-0001 to -0004 structure (see `diagnostics`), -0010 a name leads nowhere, -0011 an id is there twice,
-0012 what cannot be run here (Kubernetes units, forwarding graphs, nested services), -0013 cloud-init file is missing.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any

from sonata.errors import Diagnostic
from sonata.formats.findings import errors_in, repeated
from sonata.formats.sol006_documents import (
    CpdReference,
    ImageDesc,
    Nsd,
    NsdDocument,
    ServiceLink,
    VduDocument,
    Vnfd,
    VnfdDocument,
)
from sonata.formats.suggestions import suggestion
from sonata.formats.tolerance import read_model
from sonata.formats.yaml_nodes import DocumentPath, YamlDocument
from sonata.model.descriptors import (
    ConnectionPoint,
    ConstituentVnf,
    CpRef,
    DescriptorId,
    NetworkServiceDescriptor,
    Vdu,
    VirtualLink,
    VnfDescriptor,
)

VENDOR = "osm"
CLOUD_INIT = "cloud_init"
PREFIX = "SOL006"


def is_vnfd(data: Any) -> bool:
    """Whether a document looks like a VNFD of this form."""
    return isinstance(data, Mapping) and isinstance(data.get("vnfd"), Mapping)


def is_nsd(data: Any) -> bool:
    """Whether a document looks like an NSD of this form."""
    return isinstance(data, Mapping) and isinstance(data.get("nsd"), Mapping) and "nsd" in data["nsd"]


def vnfd_of(
    source: YamlDocument, files: Mapping[str, bytes], *, tolerant: bool = False
) -> tuple[VnfDescriptor | None, list[Diagnostic]]:
    """A VNF descriptor, None when there are errors, and all findings.

    Args:
        source: the document.
        files: of the package, by path; cloud-init files are in its folder `cloud_init`.
        tolerant: whether to repair what can be repaired.
    """
    document, findings = read_model(source, VnfdDocument, PREFIX, tolerant=tolerant)
    if document is None:
        return None, findings
    findings = [*findings, *_VnfdRules(source, document.vnfd, files).findings()]
    return (None if errors_in(findings) else _vnfd_value(document.vnfd, files)), findings


def nsd_of(source: YamlDocument, *, tolerant: bool = False) -> tuple[NetworkServiceDescriptor | None, list[Diagnostic]]:
    """A network service descriptor, None when there are errors, and all findings."""
    document, findings = read_model(source, NsdDocument, PREFIX, tolerant=tolerant)
    if document is None:
        return None, findings
    findings = [*findings, *_NsdRules(source, document.nsd.nsd[0]).findings()]
    return (None if errors_in(findings) else _nsd_value(document.nsd.nsd[0])), findings


class _Rules:
    """Findings with their place below a root of the document."""

    def __init__(self, source: YamlDocument, root: DocumentPath) -> None:
        self._source = source
        self._root = tuple(root)

    def dangling(self, path: DocumentPath, name: str | None, known: Iterable[str], what: str) -> Iterator[Diagnostic]:
        """A name that must be one of those known."""
        choices = list(known)
        if name is not None and name not in choices:
            summary = f"there is no {what} `{name}`"
            yield self.error("0010", summary, path, suggestion(name, choices))

    def twice(self, path: DocumentPath, ids: Iterable[str]) -> Iterator[Diagnostic]:
        """Ids of a list that must differ."""
        for index, value in repeated(ids):
            yield self.error("0011", f"the id `{value}` is there twice", (*path, index, "id"))

    def error(self, number: str, summary: str, path: DocumentPath, hint: str = "") -> Diagnostic:
        """An error below the root."""
        return self._source.diagnostic(f"{PREFIX}-{number}", summary, (*self._root, *path), hint=hint)


class _VnfdRules(_Rules):
    def __init__(self, source: YamlDocument, vnfd: Vnfd, files: Collection[str]) -> None:
        super().__init__(source, ("vnfd",))
        self._vnfd, self._files = vnfd, files

    def findings(self) -> Iterator[Diagnostic]:
        vnfd = self._vnfd
        if vnfd.kdu:
            yield self.error("0012", "Kubernetes units cannot be run here", ("kdu",), "describe the VNF by `vdu`s")
        elif not vnfd.vdu:
            yield self.error("0002", "the VNF has no `vdu`", ())
        yield from self.twice(("vdu",), (unit.id for unit in vnfd.vdu))
        yield from self.twice(("ext-cpd",), (cpd.id for cpd in vnfd.ext_cpd))
        for index, unit in enumerate(vnfd.vdu):
            yield from self._unit(("vdu", index), unit)
        yield from self.dangling(("mgmt-cp",), vnfd.mgmt_cp, (cpd.id for cpd in vnfd.ext_cpd), "`ext-cpd`")
        for index, cpd in enumerate(vnfd.ext_cpd):
            if cpd.int_cpd:
                yield from self._reference(("ext-cpd", index, "int-cpd"), cpd.int_cpd)
            links = (link.id for link in vnfd.int_virtual_link_desc)
            yield from self.dangling(
                ("ext-cpd", index, "int-virtual-link-desc"), cpd.int_virtual_link_desc, links, "`int-virtual-link-desc`"
            )

    def _reference(self, path: DocumentPath, reference: CpdReference) -> Iterator[Diagnostic]:
        known = {unit.id: [point.id for point in unit.int_cpd] for unit in self._vnfd.vdu}
        yield from self.dangling((*path, "vdu-id"), reference.vdu_id, known, "`vdu`")
        points = known.get(reference.vdu_id, [reference.cpd])
        yield from self.dangling((*path, "cpd"), reference.cpd, points, "`int-cpd`")

    def _unit(self, path: DocumentPath, unit: VduDocument) -> Iterator[Diagnostic]:
        yield from self._resources(path, unit)
        links = [link.id for link in self._vnfd.int_virtual_link_desc]
        yield from self.twice((*path, "int-cpd"), (point.id for point in unit.int_cpd))
        for index, point in enumerate(unit.int_cpd):
            where = (*path, "int-cpd", index, "int-virtual-link-desc")
            yield from self.dangling(where, point.int_virtual_link_desc, links, "`int-virtual-link-desc`")
        if unit.cloud_init_file and _cloud_init_path(unit.cloud_init_file) not in self._files:
            summary = f"the package has no file `{_cloud_init_path(unit.cloud_init_file)}`"
            hint = suggestion(_cloud_init_path(unit.cloud_init_file), self._files)
            yield self.error("0013", summary, (*path, "cloud-init-file"), hint)

    def _resources(self, path: DocumentPath, unit: VduDocument) -> Iterator[Diagnostic]:
        vnfd = self._vnfd
        computes = (each.id for each in vnfd.virtual_compute_desc)
        images = (each.id for each in vnfd.sw_image_desc)
        storages = [each.id for each in vnfd.virtual_storage_desc]
        yield from self.dangling(
            (*path, "virtual-compute-desc"), unit.virtual_compute_desc, computes, "`virtual-compute-desc`"
        )
        if unit.sw_image_desc is None:
            yield self.error("0002", f"unit `{unit.id}` has no `sw-image-desc`", path)
        yield from self.dangling((*path, "sw-image-desc"), unit.sw_image_desc, images, "`sw-image-desc`")
        for index, name in enumerate(unit.virtual_storage_desc):
            yield from self.dangling((*path, "virtual-storage-desc", index), name, storages, "`virtual-storage-desc`")


class _NsdRules(_Rules):
    def __init__(self, source: YamlDocument, nsd: Nsd) -> None:
        super().__init__(source, ("nsd", "nsd", 0))
        self._nsd = nsd

    def findings(self) -> Iterator[Diagnostic]:
        nsd, flavour = self._nsd, self._nsd.df[0]
        if nsd.vnffgd:
            hint = "take `vnffgd` out, or describe the service in SONATA's form, which has forwarding graphs"
            yield self.error("0012", "forwarding graphs of SOL006 are not run here", ("vnffgd",), hint)
        if nsd.nested_nsd_id:
            yield self.error("0012", "nested services are not run here", ("nested-nsd-id",))
        links = [link.id for link in nsd.virtual_link_desc]
        profiles = {each.id: each.virtual_link_desc_id or each.id for each in flavour.virtual_link_profile}
        yield from self.twice(("virtual-link-desc",), links)
        yield from self.twice(("df", 0, "vnf-profile"), (profile.id for profile in flavour.vnf_profile))
        for index, each in enumerate(flavour.virtual_link_profile):
            where: DocumentPath = ("df", 0, "virtual-link-profile", index, "virtual-link-desc-id")
            yield from self.dangling(where, each.virtual_link_desc_id, links, "`virtual-link-desc`")
        for index, sap in enumerate(nsd.sapd):
            where = ("sapd", index, "virtual-link-desc")
            yield from self.dangling(where, sap.virtual_link_desc, links, "`virtual-link-desc`")
        for index, profile in enumerate(flavour.vnf_profile):
            at: DocumentPath = ("df", 0, "vnf-profile", index)
            if nsd.vnfd_id:
                yield from self.dangling((*at, "vnfd-id"), profile.vnfd_id, nsd.vnfd_id, "`vnfd-id` of the service")
            for number, connectivity in enumerate(profile.virtual_link_connectivity):
                where = (*at, "virtual-link-connectivity", number, "virtual-link-profile-id")
                known = [*links, *profiles]
                yield from self.dangling(where, connectivity.virtual_link_profile_id, known, "`virtual-link-desc`")


def _vnfd_value(vnfd: Vnfd, files: Mapping[str, bytes]) -> VnfDescriptor:
    return VnfDescriptor(
        id=DescriptorId(vnfd.provider or VENDOR, vnfd.id, vnfd.version),
        vdus=tuple(_vdu(vnfd, unit, files) for unit in vnfd.vdu),
        connection_points=tuple(
            ConnectionPoint(cpd.id, "management" if cpd.id == vnfd.mgmt_cp else "external") for cpd in vnfd.ext_cpd
        ),
        virtual_links=tuple(_vnf_links(vnfd)),
        description=vnfd.description.strip(),
    )


def _vdu(vnfd: Vnfd, unit: VduDocument, files: Mapping[str, bytes]) -> Vdu:
    compute = next((each for each in vnfd.virtual_compute_desc if each.id == unit.virtual_compute_desc), None)
    images = {each.id: each for each in vnfd.sw_image_desc}
    storage = [each.size_of_storage for each in vnfd.virtual_storage_desc if each.id in unit.virtual_storage_desc]
    return Vdu(
        id=unit.id,
        image=_image_name(images[unit.sw_image_desc or ""]),
        vcpus=compute.virtual_cpu.num_virtual_cpu if compute else 1.0,
        memory_mib=math.ceil(compute.virtual_memory.size * 1024) if compute else 256,
        disk_gib=math.ceil(sum(storage)),
        instances=_instances(vnfd, unit.id),
        connection_points=tuple(ConnectionPoint(point.id) for point in sorted(unit.int_cpd, key=_position)),
        user_data=_user_data(unit, files),
    )


def _image_name(image: ImageDesc) -> str:
    return image.image or image.name or image.id


def _position(point: Any) -> int:
    """Where an interface stands; without a position the order of the file counts, since sorting is stable."""
    given = [each.position for each in point.virtual_network_interface_requirement if each.position is not None]
    return given[0] if given else 0


def _instances(vnfd: Vnfd, vdu_id: str) -> int:
    flavour = vnfd.df[0] if vnfd.df else None
    if flavour is None or not flavour.instantiation_level:
        return 1
    wanted = flavour.default_instantiation_level
    levels = flavour.instantiation_level
    level = next((each for each in levels if each.id == wanted), levels[0])
    return next((max(1, each.number_of_instances) for each in level.vdu_level if each.vdu_id == vdu_id), 1)


def _user_data(unit: VduDocument, files: Mapping[str, bytes]) -> str:
    if unit.cloud_init_file:
        return files[_cloud_init_path(unit.cloud_init_file)].decode("utf-8", "replace")
    return unit.cloud_init or ""


def _cloud_init_path(name: str) -> str:
    return f"{CLOUD_INIT}/{name}"


def _vnf_links(vnfd: Vnfd) -> Iterator[VirtualLink]:
    for cpd in vnfd.ext_cpd:
        if cpd.int_cpd:
            members = (CpRef(cpd.int_cpd.vdu_id, cpd.int_cpd.cpd), CpRef("", cpd.id))
            yield VirtualLink(cpd.id, "E-Line", members)
    for link in vnfd.int_virtual_link_desc:
        inner = [
            CpRef(unit.id, point.id)
            for unit in vnfd.vdu
            for point in unit.int_cpd
            if point.int_virtual_link_desc == link.id
        ]
        outer = [CpRef("", cpd.id) for cpd in vnfd.ext_cpd if cpd.int_virtual_link_desc == link.id]
        if inner:
            yield VirtualLink(link.id, "E-LAN", (*inner, *outer))


def _nsd_value(nsd: Nsd) -> NetworkServiceDescriptor:
    saps = [sap for sap in nsd.sapd if sap.virtual_link_desc]
    return NetworkServiceDescriptor(
        id=DescriptorId(nsd.designer or VENDOR, nsd.id, nsd.version),
        vnfs=tuple(ConstituentVnf(each.id, DescriptorId("", each.vnfd_id, "")) for each in nsd.df[0].vnf_profile),
        connection_points=(
            *(ConnectionPoint(sap.id, "external") for sap in saps),
            *(ConnectionPoint(link.id, "management") for link in nsd.virtual_link_desc if link.mgmt_network),
        ),
        virtual_links=tuple(_service_link(nsd, link) for link in nsd.virtual_link_desc),
        description=nsd.description.strip(),
    )


def _service_link(nsd: Nsd, link: ServiceLink) -> VirtualLink:
    flavour = nsd.df[0]
    profiles = {each.id: each for each in flavour.virtual_link_profile}
    own = [each for each in profiles.values() if (each.virtual_link_desc_id or each.id) == link.id]
    names = {link.id, *(each.id for each in own)}
    points = [
        (CpRef(profile.id, cpd.constituent_cpd_id), cpd.ip_address)
        for profile in flavour.vnf_profile
        for connectivity in profile.virtual_link_connectivity
        if connectivity.virtual_link_profile_id in names
        for cpd in connectivity.constituent_cpd_id
    ]
    outside = [CpRef("", sap.id) for sap in nsd.sapd if sap.virtual_link_desc == link.id]
    outside += [CpRef("", link.id)] if link.mgmt_network else []
    data = [each.virtual_link_protocol_data for each in own if each.virtual_link_protocol_data]
    return VirtualLink(
        id=link.id,
        connectivity="E-LAN",
        members=(*(point for point, _ in points), *outside),
        cidr=next((each.l3_protocol_data.cidr for each in data if each.l3_protocol_data), None),
        addresses={str(point): address for point, address in points if address},
    )
