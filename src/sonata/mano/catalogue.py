"""The catalogue of packages, network services and VNFs, and on-boarding into it."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from sonata._lib.plain import from_plain, to_plain
from sonata._lib.values import dataclass
from sonata.errors import Conflict, Diagnostic, InvalidInput, NotFound
from sonata.mano.instances import Instances, is_live
from sonata.model.descriptors import (
    ConstituentVnf,
    DescriptorId,
    NetworkServiceDescriptor,
    PackageContent,
    VnfDescriptor,
)
from sonata.ports.store import Kind, Store

PackageReader = Callable[[bytes], PackageContent]
"""Reads and checks an archive; raises InvalidInput with all findings."""

D = TypeVar("D", NetworkServiceDescriptor, VnfDescriptor)
_REMEMBERED, _REMEMBERED_BYTES = 4, 1024**2
_NAMESPACE = uuid.UUID("6f8a5c0e-6a5e-5c53-9b1a-5f3f6f1b7c11")


@dataclass(frozen=True, slots=True)
class PackageRecord:
    """An on-boarded package.

    Args:
        sha256: hex digest of the archive.
        nsd: UUID of its network service, empty when it has none.
        vnfds: UUIDs of its VNFs.
        size: bytes of the archive.
    """

    uuid: str
    id: DescriptorId
    sha256: str
    nsd: str
    vnfds: tuple[str, ...]
    created_at: float
    size: int
    description: str = ""


@dataclass(frozen=True, slots=True)
class ServiceRecord:
    """A network service in the catalogue."""

    uuid: str
    package: str
    created_at: float
    descriptor: NetworkServiceDescriptor


@dataclass(frozen=True, slots=True)
class FunctionRecord:
    """A VNF in the catalogue."""

    uuid: str
    package: str
    created_at: float
    descriptor: VnfDescriptor


def uuid_of(kind: str, identity: DescriptorId) -> str:
    """The UUID of a descriptor or package: the same identity always gets the same one."""
    return str(uuid.uuid5(_NAMESPACE, f"{kind}:{identity}"))


class Catalogue:
    """Packages and what is in them."""

    def __init__(self, store: Store, read_package: PackageReader) -> None:
        self._store = store
        self._read = read_package
        self._files: dict[str, Mapping[str, bytes]] = {}  # of the last packages asked for; packages do not change

    async def onboard(self, archive: bytes) -> tuple[PackageRecord, bool]:
        """Check a package and take it in; returns its record, and whether it is new.

        Raises:
            InvalidInput: the package is faulty.
            Conflict: it, or a descriptor in it, is known with other content.
        """
        content = await asyncio.to_thread(self._read, archive)
        record = _package_record(content, len(archive))
        known = await self._find("package", record.uuid)
        if known is not None:
            return _same_package(from_plain(known, PackageRecord), record), False
        if content.nsd:
            await self._check_constituents(content.nsd, content.vnfds)
        services = [_service(content, record)] if content.nsd else []
        functions = [FunctionRecord(uuid_of("vnfd", f.id), record.uuid, record.created_at, f) for f in content.vnfds]
        for kind, each in _with_kinds(services, functions):
            await self._refuse_change(kind, each)
        await self._store.put_archive(record.uuid, archive)
        for kind, each in _with_kinds(services, functions):
            if await self._find(kind, each.uuid) is None:
                await self._store.put(kind, each.uuid, to_plain(each))
        # The package goes last: while it is not there, the same upload is taken up again from the start.
        await self._store.put("package", record.uuid, to_plain(record))
        return record, True

    async def packages(self) -> Sequence[PackageRecord]:
        """All packages, oldest first."""
        return [from_plain(document, PackageRecord) for document in await self._store.list("package")]

    async def package(self, key: str) -> PackageRecord:
        """A package by UUID, by name, or by vendor/name/version; the highest version goes first."""
        return _pick("package", key, await self.packages(), lambda record: record.id)

    async def archive(self, package_uuid: str) -> bytes:
        """A package's archive."""
        return await self._store.get_archive(package_uuid)

    async def files(self, package_uuid: str) -> Mapping[str, bytes]:
        """The other files of a package, e.g. code of managers."""
        if package_uuid not in self._files:
            files = (await asyncio.to_thread(self._read, await self.archive(package_uuid))).files
            if sum(map(len, files.values())) > _REMEMBERED_BYTES:
                return files
            self._files[package_uuid] = files
            if len(self._files) > _REMEMBERED:
                self._files.pop(next(iter(self._files)))
        return self._files[package_uuid]

    async def services(self) -> Sequence[ServiceRecord]:
        """All network services, oldest first."""
        return [from_plain(document, ServiceRecord) for document in await self._store.list("nsd")]

    async def service(self, key: str) -> ServiceRecord:
        """A network service by UUID, by name, or by vendor/name/version; the highest version goes first."""
        return _pick("service", key, await self.services(), lambda record: record.descriptor.id)

    async def functions(self) -> Sequence[FunctionRecord]:
        """All VNFs, oldest first."""
        return [from_plain(document, FunctionRecord) for document in await self._store.list("vnfd")]

    async def function(self, key: str) -> FunctionRecord:
        """A VNF by UUID, by name, or by vendor/name/version; the highest version goes first."""
        return _pick("function", key, await self.functions(), lambda record: record.descriptor.id)

    async def constituents(self, nsd: NetworkServiceDescriptor) -> dict[str, VnfDescriptor]:
        """VNF descriptors of a service by `vnf_id`.

        Raises:
            NotFound: one is not in the catalogue.
        """
        return {vnf.vnf_id: (await self.function(_key_of(vnf))).descriptor for vnf in nsd.vnfs}

    async def remove(self, key: str, instances: Instances) -> None:
        """Remove a package with its service, and with those VNFs that no other package needs.

        Raises:
            NotFound: no such package.
            Conflict: an instance of its service lives.
        """
        record = await self.package(key)
        users = [each.record.name for each in await instances.list() if is_live(each) and each.nsd_uuid == record.nsd]
        if record.nsd and users:
            raise Conflict(
                f"package `{record.id}` is in use by {', '.join(f'`{name}`' for name in users)}",
                hint="terminate these services first",
            )
        await self._store.delete("package", record.uuid)
        await self._store.delete_archive(record.uuid)
        self._files.pop(record.uuid, None)
        needed = {uuid for other in await self.packages() for uuid in (other.nsd, *other.vnfds)}
        await self._drop("nsd", {record.nsd} - needed - {""})
        await self._drop("vnfd", set(record.vnfds) - needed)

    async def _check_constituents(self, nsd: NetworkServiceDescriptor, own: Sequence[VnfDescriptor]) -> None:
        """Refuse a service whose VNFs, named by name alone, are neither in its package nor in the catalogue."""
        named = [vnf for vnf in nsd.vnfs if not vnf.descriptor.vendor]
        known = {each.id.name: each for each in own}
        findings = []
        for vnf in named:
            try:
                vnfd = known.get(vnf.descriptor.name) or (await self.function(vnf.descriptor.name)).descriptor
            except NotFound:
                summary = f"VNF `{vnf.descriptor.name}` of service `{nsd.id.name}` is not in the catalogue"
                findings.append(Diagnostic("error", "PKG-0030", summary, hint="on-board its package first"))
                continue
            points = {point.id for point in vnfd.connection_points}
            findings += [
                Diagnostic("error", "PKG-0031", f"VNF `{vnfd.id}` has no connection point `{member.cp}`")
                for link in nsd.virtual_links
                for member in link.members
                if member.unit == vnf.vnf_id and member.cp not in points
            ]
        if findings:
            raise InvalidInput(f"service `{nsd.id}` cannot be run", diagnostics=findings)

    async def _drop(self, kind: Kind, uuids: set[str]) -> None:
        for each in sorted(uuids):
            await self._store.delete(kind, each)

    async def _find(self, kind: Kind, key: str) -> Mapping[str, Any] | None:
        try:
            return await self._store.get(kind, key)
        except NotFound:
            return None

    async def _refuse_change(self, kind: Kind, record: ServiceRecord | FunctionRecord) -> None:
        known = await self._find(kind, record.uuid)
        if known is not None and known["descriptor"] != to_plain(record.descriptor):
            raise Conflict(f"`{record.descriptor.id}` is in the catalogue with other content", hint="raise its version")


def _key_of(vnf: ConstituentVnf) -> str:
    """What finds a VNF in the catalogue; a service that names its VNFs by name alone gets the highest version."""
    return uuid_of("vnfd", vnf.descriptor) if vnf.descriptor.vendor else vnf.descriptor.name


def _with_kinds(
    services: Sequence[ServiceRecord], functions: Sequence[FunctionRecord]
) -> list[tuple[Kind, ServiceRecord | FunctionRecord]]:
    return [*(("vnfd", each) for each in functions), *(("nsd", each) for each in services)]


def _package_record(content: PackageContent, size: int) -> PackageRecord:
    return PackageRecord(
        uuid=uuid_of("package", content.id),
        id=content.id,
        sha256=content.sha256,
        nsd=uuid_of("nsd", content.nsd.id) if content.nsd else "",
        vnfds=tuple(uuid_of("vnfd", vnfd.id) for vnfd in content.vnfds),
        created_at=time.time(),
        size=size,
        description=content.description,
    )


def _service(content: PackageContent, record: PackageRecord) -> ServiceRecord:
    if content.nsd is None:
        raise InvalidInput(f"package `{content.id}` has no network service")
    return ServiceRecord(uuid_of("nsd", content.nsd.id), record.uuid, record.created_at, content.nsd)


def _same_package(known: PackageRecord, record: PackageRecord) -> PackageRecord:
    if known.sha256 != record.sha256:
        raise Conflict(f"package `{record.id}` is on-boarded with other content", hint="raise its version")
    return known


R = TypeVar("R", PackageRecord, ServiceRecord, FunctionRecord)


def _pick(noun: str, key: str, records: Sequence[R], identity: Callable[[R], DescriptorId]) -> R:
    matching = [each for each in records if key in (each.uuid, identity(each).name, str(identity(each)))]
    if not matching:
        known = ", ".join(f"`{identity(each)}`" for each in records[:10]) or "none"
        raise NotFound(f"no {noun} `{key}` in the catalogue; known: {known}")
    return max(matching, key=lambda each: _version_key(identity(each).version))


def _version_key(version: str) -> list[tuple[int, int | str]]:
    return [(1, int(part)) if part.isdigit() else (0, part) for part in version.split(".")]
