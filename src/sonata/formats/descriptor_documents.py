"""SONATA and 5GTANGO descriptors as they are written: keys, types, allowed values of both families.

SONATA documents carry `descriptor_version`, 5GTANGO ones `descriptor_schema`; the keys are nearly the same, so one
set of models reads both (source: son-schema 1.0 and tng-schema 0.9). Each model names its `decoration`: keys that do
not reach `sonata.model.descriptors`, which a tolerant reader may therefore leave out when they are wrong.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema

from sonata.formats.diagnostics import matching
from sonata.formats.tolerance import TolerableModel

SizeUnit = Literal["B", "kB", "KiB", "MB", "MiB", "GB", "GiB", "TB", "TiB", "PT", "PiT"]
RateUnit = Literal["bps", "kbps", "Mbps", "Gbps", "Tbps"]
FrequencyUnit = Literal["Hz", "kHz", "MHz", "GHz", "THz"]
ImageFormat = Literal["raw", "vhd", "vmdk", "vdi", "iso", "qcow2", "docker", "ova", "ovf", "bare"]

_LOWER = r"[a-z0-9\-_.]{1,255}"
_DIGITS = r"[0-9\-_.]{1,255}"
Word = Annotated[str, *matching(_LOWER, "lower-case letters, digits, `-`, `_` and `.`")]
Version = Annotated[str, *matching(_DIGITS, "a version of digits, `-`, `_` and `.`")]
VersionRange = Annotated[
    str, *matching(f"((==|>=|<=|!=) ?)?{_DIGITS}", "a version, with `==`, `>=`, `<=` or `!=` or without")
]
Id = Annotated[str, *matching(r"[^:\s][^:]{0,254}", "a text without `:`, which separates unit and connection point")]
FreeId = Annotated[str, Field(min_length=1, max_length=255)]
Md5 = Annotated[str, *matching(r"[A-Fa-f0-9]{32}", "an MD5 digest: 32 hexadecimal digits")]
CpReference = Annotated[str, *matching(r"[^:]+(:[^:]+)?", "`unit:connection_point`, or the name of a connection point")]


def _check_network(value: str) -> str:
    try:
        IPv4Network(value)
    except ValueError as error:
        raise ValueError(f"`{value}` is not an IPv4 network: {error}") from None
    return value


Cidr = Annotated[str, AfterValidator(_check_network), WithJsonSchema({"type": "string", "format": "ipv4-network"})]


def _check_address(value: str) -> str:
    try:
        return str(IPv4Address(value))
    except ValueError:
        raise ValueError(f"`{value}` is not an IPv4 address") from None


Address = Annotated[str, AfterValidator(_check_address), WithJsonSchema({"type": "string", "format": "ipv4"})]


class Bandwidth(TolerableModel):
    """A number of bits per second."""

    bandwidth: float = Field(ge=0)
    bandwidth_unit: RateUnit


class QosRequirements(TolerableModel):
    """Quality of service of a connection point or link."""

    bandwidth_limit: Bandwidth | None = None
    minimum_bandwidth: Bandwidth | None = None
    dscp_marking: str | None = None
    decoration = frozenset({"bandwidth_limit", "dscp_marking"})


class ConnectionPointDocument(TolerableModel):
    """A connection point of a network service."""

    id: Id
    interface: Literal["ethernet", "ipv4", "ipv6"] | None = None
    type: Literal["internal", "external", "management"] | None = None
    mac: str | None = None
    ip: Address | None = None
    port: int | None = None
    ports: list[Any] | None = None
    publish: dict[str, Any] | None = None
    virtual_link_reference: str | None = None
    security_groups: list[str] | None = None
    qos: str | None = None
    qos_requirements: QosRequirements | None = None
    decoration = frozenset(
        {
            *("interface", "type", "mac", "ip", "port", "ports", "publish"),
            *("virtual_link_reference", "security_groups", "qos", "qos_requirements"),
        }
    )


class FunctionConnectionPointDocument(ConnectionPointDocument):
    """A connection point of a VNF or unit."""

    type: Literal["internal", "external", "management", "serviceendpoint"] | None = None  # type: ignore[assignment]


class VirtualLinkDocument(TolerableModel):
    """A virtual link, inside of a service or of a VNF."""

    id: FreeId
    connectivity_type: Literal["E-Line", "E-LAN", "E-Tree"]
    connection_points_reference: list[CpReference] = Field(min_length=1)
    access: bool | None = None
    external_access: bool | None = None
    root_requirement: str | None = None
    leaf_requirement: str | None = None
    dhcp: bool | None = None
    cidr: Cidr | None = None
    qos: str | None = None
    qos_requirements: QosRequirements | None = None
    decoration = frozenset({"access", "external_access", "root_requirement", "leaf_requirement", "dhcp", "qos"})


class OptionDocument(TolerableModel):
    """A key and a value handed to a manager; `type` is its role and may be given several times."""

    key: str
    value: str


class ManagerRequirements(TolerableModel):
    """What a manager's container engine must offer."""

    docker_version: VersionRange | None = None
    decoration = frozenset({"docker_version"})


class ManagerDocument(TolerableModel):
    """A service or function specific manager."""

    id: FreeId
    image: FreeId
    description: str = ""
    image_md5: Md5 | None = None
    resource_requirements: ManagerRequirements | None = None
    options: list[OptionDocument] = Field(default_factory=list)
    decoration = frozenset({"description", "image_md5", "resource_requirements"})


class NetworkFunctionDocument(TolerableModel):
    """A VNF of a service."""

    vnf_id: Id
    vnf_vendor: Word
    vnf_name: Word
    vnf_version: VersionRange
    vnf_flavour: str | None = None
    description: str | None = None
    decoration = frozenset({"vnf_flavour", "description"})


class PathPointDocument(TolerableModel):
    """A connection point on a forwarding path."""

    connection_point_ref: CpReference
    position: int


class ForwardingPathDocument(TolerableModel):
    """A network forwarding path.

    `policy` tells what enters it: `none`, or `protocol=tcp,destination_port=80` (either part alone is possible).
    """

    fp_id: FreeId | None = None
    policy: str | None = None
    connection_points: list[PathPointDocument] = Field(min_length=1)


class ForwardingGraphDocument(TolerableModel):
    """A VNF forwarding graph."""

    fg_id: FreeId
    number_of_endpoints: int | None = None
    number_of_virtual_links: int | None = None
    constituent_virtual_links: list[str] | None = None
    constituent_vnfs: list[str] | None = None
    constituent_services: list[str] | None = None
    network_forwarding_paths: list[ForwardingPathDocument] = Field(default_factory=list)
    decoration = frozenset(
        {
            *("number_of_endpoints", "number_of_virtual_links", "constituent_virtual_links"),
            *("constituent_vnfs", "constituent_services"),
        }
    )


class MonitoringParameterDocument(TolerableModel):
    """A metric of a unit."""

    name: str
    unit: Any
    frequency: float | None = Field(None, gt=0)
    frequency_unit: FrequencyUnit | None = None
    command: str | None = None


class MonitoringRuleDocument(TolerableModel):
    """A condition on metrics that sends notifications."""

    name: str
    description: str | None = None
    duration: float
    duration_unit: Any = None
    condition: str
    notification: list[dict[str, Any]]


class CpuDocument(TolerableModel):
    """Virtual cores."""

    vcpus: int = Field(gt=0, le=4096)
    cpu_support_accelerator: str | None = None
    cpu_model: str | None = None
    cpu_clock_speed: str | None = None
    decoration = frozenset({"cpu_support_accelerator", "cpu_model", "cpu_clock_speed"})


class MemoryDocument(TolerableModel):
    """Main memory."""

    size: float = Field(gt=0, le=1e12)
    size_unit: SizeUnit = "MB"
    large_pages_required: bool | None = None
    numa_allocation_policy: str | None = None
    decoration = frozenset({"large_pages_required", "numa_allocation_policy"})


class StorageDocument(TolerableModel):
    """Disk."""

    size: float = Field(gt=0, le=1e12)
    size_unit: SizeUnit = "MB"
    persistence: bool | None = None
    decoration = frozenset({"persistence"})


class NetworkRequirements(TolerableModel):
    """What network interfaces must offer."""

    network_interface_bandwidth: float | None = Field(None, gt=0)
    network_interface_bandwidth_unit: RateUnit | None = None
    network_interface_card_capabilities: dict[str, bool] | None = None
    data_processing_acceleration_library: str | None = None


class ResourceRequirements(TolerableModel):
    """What a unit needs."""

    cpu: CpuDocument
    memory: MemoryDocument
    storage: StorageDocument | None = None
    network: NetworkRequirements | None = None
    hypervisor_parameters: dict[str, str] | None = None
    vswitch_capabilities: dict[str, str] | None = None
    pcie: dict[str, bool] | None = None
    decoration = frozenset({"storage", "network", "hypervisor_parameters", "vswitch_capabilities", "pcie"})


class ScaleDocument(TolerableModel):
    """How many instances of a unit there may be."""

    minimum: int = Field(1, ge=0, le=1000)
    maximum: int = Field(1, ge=0, le=1000)


class VduDocument(TolerableModel):
    """A virtual deployment unit."""

    id: Id
    description: str | None = None
    vm_image: str | None = None
    vm_image_format: ImageFormat | None = None
    vm_image_md5: Md5 | None = None
    vm_flavor: str | None = None
    alternative_images: list[dict[str, str]] | None = None
    snmp_parameters: dict[str, Any] | None = None
    resource_requirements: ResourceRequirements
    connection_points: list[FunctionConnectionPointDocument] = Field(default_factory=list)
    monitoring_parameters: list[MonitoringParameterDocument] | None = None
    scale_in_out: ScaleDocument | None = None
    user_data: str = ""
    decoration = frozenset(
        {
            *("description", "vm_image_format", "vm_image_md5", "vm_flavor", "alternative_images"),
            *("snmp_parameters", "monitoring_parameters", "scale_in_out"),
        }
    )


def _nothing_means_none(value: Any) -> Any:
    return [] if value is None else value


class DescriptorDocument(TolerableModel):
    """What network service and VNF descriptors have in common."""

    descriptor_version: str | None = None
    descriptor_schema: str | None = None
    vendor: Word
    name: Word
    version: Version
    author: str | None = None
    description: str = ""
    logo: str | None = None
    connection_points: list[ConnectionPointDocument] = Field(default_factory=list)
    virtual_links: list[VirtualLinkDocument] = Field(default_factory=list)
    deployment_flavours: list[dict[str, Any]] | None = None

    @property
    def is_sonata(self) -> bool:
        """Whether it is of the SONATA family; else it is of the 5GTANGO family."""
        return self.descriptor_version is not None


class NsdDocument(DescriptorDocument):
    """A network service descriptor."""

    licences: list[dict[str, str]] | None = None
    service_specific_managers: Annotated[list[ManagerDocument], BeforeValidator(_nothing_means_none)] = Field(
        default_factory=list
    )
    network_functions: list[NetworkFunctionDocument] = Field(default_factory=list)
    network_services: list[Any] | None = None
    forwarding_graphs: list[ForwardingGraphDocument] = Field(default_factory=list)
    lifecycle_events: dict[str, Any] | list[Any] | None = None
    vnf_depedency: list[str] | None = None
    services_depedency: list[str] | None = None
    monitoring_parameters: list[Any] | None = None
    auto_scale_policy: dict[str, Any] | None = None
    service_platforms: list[Literal["SONATA", "OSM", "ONAP"]] | None = None
    testing_tags: list[str] | None = None
    soft_constraints: list[dict[str, Any]] | None = None
    decoration = frozenset(
        {
            *("author", "description", "logo", "licences", "lifecycle_events", "vnf_depedency", "services_depedency"),
            *("monitoring_parameters", "auto_scale_policy", "service_platforms", "testing_tags"),
            *("soft_constraints", "deployment_flavours"),
        }
    )


class VnfdDocument(DescriptorDocument):
    """A VNF descriptor."""

    licenses: list[dict[str, str]] | None = None
    function_specific_managers: Annotated[list[ManagerDocument], BeforeValidator(_nothing_means_none)] = Field(
        default_factory=list
    )
    connection_points: list[FunctionConnectionPointDocument] = Field(default_factory=list)  # type: ignore[assignment]
    virtual_deployment_units: list[VduDocument] = Field(default_factory=list)
    cloudnative_deployment_units: list[Any] | None = None
    physical_deployment_units: list[Any] | None = None
    lifecycle_events: list[Any] | dict[str, Any] | None = None
    monitoring_rules: list[MonitoringRuleDocument] | None = None
    decoration = frozenset(
        {
            *("author", "description", "logo", "licenses", "lifecycle_events", "monitoring_rules"),
            "deployment_flavours",
        }
    )
