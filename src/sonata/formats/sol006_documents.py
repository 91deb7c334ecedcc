"""VNF and network service descriptors as ETSI GS NFV-SOL 006 (YANG) has them, with OSM's augmentations.

Keys that reach `sonata.model.descriptors` have types here; the other keys of the same YANG nodes are known by name
and left alone. OSM writes numbers and booleans as text now and then, as YANG's JSON encoding does (RFC 7951).

Source: ETSI GS NFV-SOL 006 V3.3.1, Annex A; OSM information model, release 16.
"""

from __future__ import annotations

from ipaddress import IPv4Address
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field

from sonata.formats.diagnostics import StrictModel
from sonata.formats.tolerance import TolerableModel

Id = Annotated[str, Field(min_length=1, max_length=255)]


def _text(value: Any) -> Any:
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _number(value: Any) -> Any:
    try:
        return float(value) if isinstance(value, str | int) and not isinstance(value, bool) else value
    except ValueError:
        return value


def _count(value: Any) -> Any:
    return int(value) if isinstance(value, str) and value.isdigit() else value


def _flag(value: Any) -> Any:
    return {"true": True, "false": False}.get(value.lower(), value) if isinstance(value, str) else value


def _address(value: str) -> str:
    return str(IPv4Address(value))


LooseId = Annotated[Id, BeforeValidator(_text)]
Number = Annotated[float, BeforeValidator(_number), Field(gt=0)]
Count = Annotated[int, BeforeValidator(_count), Field(ge=0)]
Flag = Annotated[bool, BeforeValidator(_flag)]
Address = Annotated[str, AfterValidator(_address)]


class Sol006Model(TolerableModel):
    """A YANG node; names have hyphens on paper and underscores here."""

    model_config = StrictModel.model_config | {"alias_generator": lambda name: name.replace("_", "-")}


class VirtualCpu(Sol006Model):
    """`virtual-cpu`."""

    num_virtual_cpu: Number = 1.0
    cpu_architecture: Any = None
    clock: Any = None
    oversubscription_policy: Any = None
    pinning: Any = None


class VirtualMemory(Sol006Model):
    """`virtual-memory`; `size` in GiB."""

    size: Number = 0.25
    oversubscription_policy: Any = None
    numa_enabled: Any = None
    numa_node_policy: Any = None
    mempage_size: Any = None


class ComputeDesc(Sol006Model):
    """`virtual-compute-desc`."""

    id: Id
    virtual_cpu: VirtualCpu = VirtualCpu()
    virtual_memory: VirtualMemory = VirtualMemory()
    logical_node: Any = None
    request_additional_capabilities: Any = None
    virtual_disk: Any = None


class StorageDesc(Sol006Model):
    """`virtual-storage-desc`; the size in GiB."""

    id: Id
    size_of_storage: Annotated[float, BeforeValidator(_number), Field(ge=0)] = 0.0
    type_of_storage: Any = None
    vdu_storage_requirements: Any = None


class ImageDesc(Sol006Model):
    """`sw-image-desc`: OSM names the image in `image`; without it, its name counts."""

    id: Id
    name: str | None = None
    image: str | None = None
    version: Any = None
    checksum: Any = None
    container_format: Any = None
    disk_format: Any = None
    min_disk: Any = None
    min_ram: Any = None
    size: Any = None
    operating_system: Any = None
    supported_virtualization_environment: Any = None
    vim_type: Any = None


class InterfaceRequirement(Sol006Model):
    """`virtual-network-interface-requirement`: `position` orders the interfaces."""

    name: str | None = None
    position: Count | None = None
    description: Any = None
    support_mandatory: Any = None
    virtual_interface: Any = None
    mac_address: Any = None
    ip_address: Any = None
    network_interface_requirements: Any = None


class InternalCpd(Sol006Model):
    """`int-cpd` of a VDU."""

    id: Id
    int_virtual_link_desc: str | None = None
    virtual_network_interface_requirement: list[InterfaceRequirement] = []
    layer_protocol: Any = None
    cp_role: Any = None
    description: Any = None
    protocol: Any = None
    trunk_mode: Any = None
    bitrate_requirement: Any = None
    order: Any = None
    vnic_type: Any = None
    security_group_rule_id: Any = None
    port_security_enabled: Any = None
    port_security_disable_strategy: Any = None


class VduDocument(Sol006Model):
    """`vdu`. OSM gives `cloud-init` in place or names a file of the package's folder `cloud_init`."""

    id: Id
    sw_image_desc: str | None = None
    virtual_compute_desc: str | None = None
    virtual_storage_desc: list[str] = []
    int_cpd: list[InternalCpd] = []
    cloud_init: str | None = None
    cloud_init_file: str | None = None
    name: Any = None
    description: Any = None
    alternative_sw_image_desc: Any = None
    boot_order: Any = None
    boot_data: Any = None
    supplemental_boot_data: Any = None
    monitoring_parameter: Any = None
    configurable_properties: Any = None
    nfvi_constraint: Any = None
    alarm: Any = None
    interworking_path: Any = None
    pdu_type: Any = None
    vdu_configuration: Any = None


class CpdReference(Sol006Model):
    """The VDU's connection point behind an external one."""

    vdu_id: Id
    cpd: Id


class ExternalCpd(Sol006Model):
    """`ext-cpd` of a VNF."""

    id: Id
    int_cpd: CpdReference | None = None
    int_virtual_link_desc: str | None = None
    k8s_cluster_net: Any = None
    layer_protocol: Any = None
    cp_role: Any = None
    description: Any = None
    protocol: Any = None
    trunk_mode: Any = None
    port_security_enabled: Any = None


class InternalLink(Sol006Model):
    """`int-virtual-link-desc` of a VNF."""

    id: Id
    flavour: Any = None
    connectivity_type: Any = None
    test_access: Any = None
    description: Any = None
    monitoring_parameters: Any = None


class VduLevel(Sol006Model):
    """Number of instances of a VDU at an instantiation level."""

    vdu_id: Id
    number_of_instances: Count = 1


class InstantiationLevel(Sol006Model):
    """`instantiation-level`."""

    id: Id
    vdu_level: list[VduLevel] = []
    description: Any = None
    scaling_info: Any = None


class VnfFlavour(Sol006Model):
    """`df` of a VNF: the first instantiation level, or the default one, counts."""

    id: Id
    instantiation_level: list[InstantiationLevel] = []
    default_instantiation_level: str | None = None
    description: Any = None
    vdu_profile: Any = None
    virtual_link_profile: Any = None
    lcm_operations_configuration: Any = None
    affinity_or_anti_affinity_group: Any = None
    scaling_aspect: Any = None
    supported_operation: Any = None
    indicator: Any = None
    monitoring_parameter: Any = None
    healing_aspect: Any = None
    kdu_resource_profile: Any = None


class Vnfd(Sol006Model):
    """`vnfd`."""

    id: Id
    version: Annotated[str, BeforeValidator(_text)] = "1.0"
    provider: str | None = None
    description: str = ""
    mgmt_cp: str | None = None
    vdu: list[VduDocument] = []
    virtual_compute_desc: list[ComputeDesc] = []
    virtual_storage_desc: list[StorageDesc] = []
    sw_image_desc: list[ImageDesc] = []
    ext_cpd: list[ExternalCpd] = []
    int_virtual_link_desc: list[InternalLink] = []
    df: list[VnfFlavour] = []
    kdu: list[Any] = []
    product_name: Any = None
    product_info_name: Any = None
    product_info_description: Any = None
    software_version: Any = None
    vnfm_info: Any = None
    localization_language: Any = None
    default_localization_language: Any = None
    configurable_properties: Any = None
    k8s_cluster: Any = None
    security_group_rule: Any = None
    element_group: Any = None
    indicator: Any = None
    auto_scale: Any = None
    placement_groups: Any = None
    vnf_configuration: Any = None
    modifiable_attributes: Any = None
    lifecycle_management_script: Any = None
    signature: Any = None


class VnfdDocument(Sol006Model):
    """A whole VNFD file."""

    vnfd: Vnfd


class ConstituentCpd(Sol006Model):
    """An external connection point of a VNF on a virtual link, with a fixed address where one is asked for."""

    constituent_base_element_id: LooseId
    constituent_cpd_id: Id
    ip_address: Address | None = None


class LinkConnectivity(Sol006Model):
    """`virtual-link-connectivity` of a VNF profile."""

    virtual_link_profile_id: Id
    constituent_cpd_id: list[ConstituentCpd] = Field(min_length=1)


class VnfProfile(Sol006Model):
    """`vnf-profile`: a VNF of the service; its id is OSM's member index."""

    id: LooseId
    vnfd_id: Id
    virtual_link_connectivity: list[LinkConnectivity] = []
    flavour_id: Any = None
    instantiation_level: Any = None
    min_number_of_instances: Any = None
    max_number_of_instances: Any = None
    local_affinity_or_anti_affinity_rule: Any = None
    affinity_or_anti_affinity_group: Any = None


class L3Protocol(Sol006Model):
    """`l3-protocol-data` of a link."""

    cidr: str | None = None
    name: Any = None
    ip_version: Any = None
    ip_allocation_pools: Any = None
    gateway_ip: Any = None
    dhcp_enabled: Any = None
    description: Any = None
    ipv6_address_mode: Any = None


class LinkProtocol(Sol006Model):
    """`virtual-link-protocol-data`."""

    l3_protocol_data: L3Protocol | None = None
    associated_layer_protocol: Any = None
    l2_protocol_data: Any = None


class LinkProfile(Sol006Model):
    """`virtual-link-profile`: how a link of the service is made."""

    id: Id
    virtual_link_desc_id: str | None = None
    virtual_link_protocol_data: LinkProtocol | None = None
    flavour_id: Any = None
    max_bitrate_requirements: Any = None
    min_bitrate_requirements: Any = None
    affinity_or_anti_affinity_rule: Any = None
    affinity_or_anti_affinity_group: Any = None


class ServiceFlavour(Sol006Model):
    """`df` of a service; the first one counts."""

    id: Id
    vnf_profile: list[VnfProfile] = []
    virtual_link_profile: list[LinkProfile] = []
    pnf_profile: Any = None
    scaling_aspect: Any = None
    affinity_or_anti_affinity_group: Any = None
    ns_instantiation_level: Any = None
    default_ns_instantiation_level_id: Any = None
    ns_profile: Any = None
    dependencies: Any = None
    flavour_key: Any = None
    monitored_info: Any = None


class ServiceLink(Sol006Model):
    """`virtual-link-desc` of a service; a management network lets its VNFs be reached from outside."""

    id: Id
    mgmt_network: Flag = False
    vim_network_name: str | None = None
    connectivity_type: Any = None
    description: Any = None
    df: Any = None
    test_access: Any = None
    provider_network: Any = None
    ip_profile: Any = None


class Sap(Sol006Model):
    """`sapd`: where users reach the service, on one of its links."""

    id: Id
    virtual_link_desc: str | None = None
    associated_cpd_id: Any = None
    sap_address_assignment: Any = None
    description: Any = None
    layer_protocol: Any = None
    cp_role: Any = None


class Nsd(Sol006Model):
    """`nsd`."""

    id: Id
    version: Annotated[str, BeforeValidator(_text)] = "1.0"
    designer: str | None = None
    name: str | None = None
    description: str = ""
    vnfd_id: list[str] = []
    virtual_link_desc: list[ServiceLink] = []
    sapd: list[Sap] = []
    df: list[ServiceFlavour] = Field(min_length=1)
    vnffgd: list[Any] = []
    invariant_id: Any = None
    nested_nsd_id: Any = None
    pnfd_id: Any = None
    autoscale_rule: Any = None
    lifecycle_management_script: Any = None
    ns_configuration: Any = None
    signature: Any = None


class NsdList(Sol006Model):
    """The list that OSM's files have below `nsd`."""

    nsd: list[Nsd] = Field(min_length=1, max_length=1)


class NsdDocument(Sol006Model):
    """A whole NSD file."""

    nsd: NsdList
