"""A small service to test with: a chain of VNFs between two service access points."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

from sonata._lib.plain import decode, encode, from_plain
from sonata.model.descriptors import (
    ConnectionPoint,
    ConstituentVnf,
    CpRef,
    DescriptorId,
    ForwardingGraph,
    ForwardingPath,
    ManagerDeclaration,
    NetworkServiceDescriptor,
    PackageContent,
    Vdu,
    VirtualLink,
    VnfDescriptor,
)
from sonata.model.infrastructure import AttachedEndpoint, WanEdge
from tests.fakes.cloud import FakeCloud

PLACER = ManagerDeclaration("placer", "package:managers/place.py", ("placement",))


def vnfd(name: str, vcpus: float = 1.0, memory_mib: int = 128) -> VnfDescriptor:
    cps = (ConnectionPoint("input", "external"), ConnectionPoint("output", "external"))
    return VnfDescriptor(
        DescriptorId("org", name, "1.0"),
        (Vdu("vdu", "host", vcpus, memory_mib, connection_points=cps),),
        cps,
    )


def chain_nsd(
    names: tuple[str, ...],
    managers: tuple[ManagerDeclaration, ...] = (),
    max_delay_s: Mapping[int, float] | None = None,
) -> NetworkServiceDescriptor:
    """`users -> names... -> content`; link number i joins the i-th and the next place."""
    places = [CpRef("", "users")]
    for name in names:
        places += [CpRef(name, "input"), CpRef(name, "output")]
    places.append(CpRef("", "content"))
    limits = max_delay_s or {}
    links = tuple(
        VirtualLink(f"l{i // 2}", "E-Line", (places[i], places[i + 1]), max_delay_s=limits.get(i // 2))
        for i in range(0, len(places), 2)
    )
    return NetworkServiceDescriptor(
        DescriptorId("org", "chain", "1.0"),
        tuple(ConstituentVnf(name, DescriptorId("org", name, "1.0")) for name in names),
        (ConnectionPoint("users", "external"), ConnectionPoint("content", "external")),
        links,
        (ForwardingGraph("g", (ForwardingPath("web", tuple(places)),), "tcp", 80),),
        managers,
    )


def package(
    names: tuple[str, ...] = ("va", "vb", "vc"), managers: tuple[ManagerDeclaration, ...] = (), vcpus: float = 1.0
) -> bytes:
    """An archive that `read_archive` reads."""
    files = {manager.image.removeprefix("package:"): b"# code" for manager in managers}
    content = PackageContent(
        DescriptorId("org", "chain-package", "1.0"),
        chain_nsd(names, managers),
        tuple(vnfd(name, vcpus) for name in names),
        files,
    )
    return encode(content)


def read_archive(archive: bytes) -> PackageContent:
    plain = decode(archive) | {"sha256": hashlib.sha256(archive).hexdigest()}
    return from_plain(plain, PackageContent)


def two_sites(**options: object) -> FakeCloud:
    """Access and core, 20 ms apart; users at access, origin at core."""
    return FakeCloud(
        {"access": (8, 8192), "core": (8, 8192)},
        (WanEdge("backbone", "access", "core", 0.02),),
        {
            "users": AttachedEndpoint("users", "access", "100.64.0.10"),
            "origin": AttachedEndpoint("origin", "core", "100.64.1.10", 0.001),
        },
        **options,  # type: ignore[arg-type]
    )
