"""Network service and VNF descriptors as values, independent of the format they came in.

Names follow ETSI GS NFV-IFA 011 and 014. `formats` reads SONATA, 5GTANGO (later ETSI) documents into these.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

CpType = Literal["internal", "external", "management"]


@dataclass(frozen=True, slots=True, order=True)
class DescriptorId:
    """Vendor, name and version: the identity of a descriptor or package."""

    vendor: str
    name: str
    version: str

    def __str__(self) -> str:
        return f"{self.vendor}/{self.name}/{self.version}"


@dataclass(frozen=True, slots=True)
class ConnectionPoint:
    """A connection point (CPD); `id` is unique inside of its descriptor or unit, `address` one that it asks for."""

    id: str
    type: CpType = "internal"
    address: str = ""


@dataclass(frozen=True, slots=True)
class CpRef:
    """A reference `unit:cp`; `unit` is empty for a connection point of the descriptor itself."""

    unit: str
    cp: str

    def __str__(self) -> str:
        return f"{self.unit}:{self.cp}" if self.unit else self.cp


@dataclass(frozen=True, slots=True)
class VirtualLink:
    """A virtual link (VLD).

    Args:
        members: connection points joined; exactly two for `E-Line`.
        cidr: subnet asked for, or None for any.
        max_delay_s: one-way delay bound in seconds, None when there is none.
        min_rate_bps: bandwidth asked for, None when there is none.
        addresses: address asked for by member, written `unit:cp`.
    """

    id: str
    connectivity: Literal["E-Line", "E-LAN", "E-Tree"]
    members: tuple[CpRef, ...]
    cidr: str | None = None
    max_delay_s: float | None = None
    min_rate_bps: float | None = None
    addresses: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ManagerDeclaration:
    """A service or function specific manager as its descriptor declares it.

    Args:
        image: where its code is: `package:PATH` names a file or folder inside of the package.
        roles: values of the options with key `type`: placement, task, configure, monitor, state, ...
        options: all other options.
    """

    id: str
    image: str
    roles: tuple[str, ...]
    options: Mapping[str, str] = field(default_factory=dict)
    description: str = ""


@dataclass(frozen=True, slots=True)
class Vdu:
    """A virtual deployment unit: one image with its resources.

    Args:
        image: image name as the VIM's image service knows it.
        vcpus: virtual cores.
        memory_mib: memory in MiB.
        disk_gib: disk in GiB, 0 for none of its own.
        instances: initial number of instances.
        connection_points: in the order of the network interfaces.
    """

    id: str
    image: str
    vcpus: float = 1.0
    memory_mib: int = 128
    disk_gib: int = 0
    instances: int = 1
    connection_points: tuple[ConnectionPoint, ...] = ()
    user_data: str = ""


@dataclass(frozen=True, slots=True)
class VnfDescriptor:
    """A virtual network function (VNFD)."""

    id: DescriptorId
    vdus: tuple[Vdu, ...]
    connection_points: tuple[ConnectionPoint, ...]
    virtual_links: tuple[VirtualLink, ...] = ()
    managers: tuple[ManagerDeclaration, ...] = ()
    description: str = ""


@dataclass(frozen=True, slots=True)
class ConstituentVnf:
    """A VNF of a service: `vnf_id` inside of the NSD, `descriptor` the VNFD it refers to.

    Vendor and version are empty where the service names its VNFs by name alone (ETSI SOL006).
    """

    vnf_id: str
    descriptor: DescriptorId


@dataclass(frozen=True, slots=True)
class ForwardingPath:
    """A network forwarding path: the connection points in the order in which packets meet them."""

    id: str
    points: tuple[CpRef, ...]


@dataclass(frozen=True, slots=True)
class ForwardingGraph:
    """A VNF forwarding graph (VNFFGD).

    Args:
        protocol: transport protocol that the classifier takes, `tcp`, `udp`, or None for all IPv4.
        destination_port: port that the classifier takes, None for all.
    """

    id: str
    paths: tuple[ForwardingPath, ...]
    protocol: Literal["tcp", "udp"] | None = None
    destination_port: int | None = None


@dataclass(frozen=True, slots=True)
class NetworkServiceDescriptor:
    """A network service (NSD)."""

    id: DescriptorId
    vnfs: tuple[ConstituentVnf, ...]
    connection_points: tuple[ConnectionPoint, ...] = ()
    virtual_links: tuple[VirtualLink, ...] = ()
    forwarding_graphs: tuple[ForwardingGraph, ...] = ()
    managers: tuple[ManagerDeclaration, ...] = ()
    description: str = ""


@dataclass(frozen=True, slots=True)
class PackageContent:
    """A whole package, read and checked.

    Args:
        files: every other file of the package (manager code, ...) by its path inside of the package.
        sha256: hex digest of the archive.
    """

    id: DescriptorId
    nsd: NetworkServiceDescriptor | None
    vnfds: tuple[VnfDescriptor, ...]
    files: Mapping[str, bytes] = field(default_factory=dict)
    sha256: str = ""
    description: str = ""
