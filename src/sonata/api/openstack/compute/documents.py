"""How Nova shows servers, in each microversion."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property, lru_cache
from typing import Any

from sonata._lib.values import dataclass
from sonata.api.openstack.call import Call, Microversion
from sonata.api.openstack.compute.flavors import embedded_flavor, flavor_links
from sonata.api.openstack.fields import timestamp
from sonata.api.openstack.listing import Document
from sonata.emulator.cloud.compute.power import hostname
from sonata.emulator.cloud.compute.states import VM_STATES, power_state
from sonata.emulator.cloud.entities.compute import Server, ServerStatus
from sonata.emulator.cloud.entities.network import FloatingIp, Port
from sonata.emulator.cloud.entities.volume import Attachment
from sonata.emulator.cloud.tables import Table, Tables

DETAILS, LOCKED, HOST_STATUS, DESCRIBED, TAGGED, FLAVOR_EMBEDDED = (2, 3), (2, 9), (2, 16), (2, 19), (2, 26), (2, 47)
CERTIFIED, GROUPED, LOCK_REASON, HOSTNAME_TOLD, PINNED = (2, 63), (2, 71), (2, 73), (2, 90), (2, 96)


@dataclass(frozen=True, slots=True)
class Interface:
    """What a server's document shows of one of its interfaces.

    Args:
        network: the network's name.
        floating: floating addresses of the port.
    """

    network: str
    mac: str
    fixed: tuple[str, ...]
    floating: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Surroundings:
    """All that a server's document shows and that is not the server's own.

    Args:
        groups: names of security groups.
        volumes: id, and whether it goes with the server.
        server_groups: ids.
        host_status: `UP`, `DOWN`, `MAINTENANCE`; empty without a host.
    """

    interfaces: tuple[Interface, ...]
    groups: tuple[str, ...]
    volumes: tuple[tuple[str, bool], ...]
    server_groups: tuple[str, ...]
    host_status: str


def tables_around(tables: Tables) -> tuple[Table[Any], ...]:
    """The tables that the surroundings of servers come from: all that `ServerDocuments.surroundings` reads."""
    return (
        tables.ports,
        tables.networks,
        tables.floating_ips,
        tables.security_groups,
        tables.volume_attachments,
        tables.server_groups,
        tables.compute_services,
    )


class ServerDocuments:
    """Documents of one cloud's servers for one call; what many of them need is looked up once.

    A document follows from the server, its surroundings, the microversion, whether an administrator looks, and the
    address by which the client reached us; from nothing else, so that it can be kept as long as these are the same.
    """

    def __init__(self, call: Call) -> None:
        self._call = call
        self._version = call.microversion
        self._tables = call.cloud.tables
        self._host_statuses: dict[str, str] = {}
        self._base = call.url("compute")

    @cached_property
    def _groups(self) -> Mapping[str, str]:
        """Server group by server."""
        return {member: group.id for group in self._tables.server_groups for member in group.members}

    @cached_property
    def _attached(self) -> Mapping[str, Sequence[Attachment]]:
        """Attached volumes by server."""
        found: dict[str, list[Attachment]] = {}
        for attachment in self._tables.volume_attachments:
            found.setdefault(attachment.server_id, []).append(attachment)
        return found

    @cached_property
    def _floating(self) -> Mapping[str, Sequence[FloatingIp]]:
        """Floating addresses by port."""
        found: dict[str, list[FloatingIp]] = {}
        for floating in self._tables.floating_ips:
            found.setdefault(floating.port_id, []).append(floating)
        return found

    def summary(self, server: Server) -> Document:
        """What plain lists show."""
        return {"id": server.id, "name": server.name, "links": self.links(server)}

    def links(self, server: Server) -> list[dict[str, str]]:
        """The two links that Nova gives to everything."""
        return [
            {"rel": "self", "href": f"{self._base}/v2.1/servers/{server.id}"},
            {"rel": "bookmark", "href": f"{self._base}/servers/{server.id}"},
        ]

    def surroundings(self, server: Server) -> Surroundings:
        """What the document shows besides the server itself, as it is now."""
        return Surroundings(
            interfaces=self._interfaces(server),
            groups=self._call.cloud.nics.groups_of(server),
            volumes=tuple((one.volume_id, one.delete_on_termination) for one in self._attached.get(server.id, ())),
            server_groups=(self._groups[server.id],) if server.id in self._groups else (),
            host_status=self._host_status(server.host),
        )

    def detail(self, server: Server) -> Document:
        """The complete document."""
        return self.detail_in(server, self.surroundings(server))

    def detail_in(self, server: Server, around: Surroundings) -> Document:
        """The complete document of a server in its surroundings."""
        document: Document = {
            "id": server.id,
            "name": server.name,
            "status": server.shown_status,
            "tenant_id": server.project_id,
            "user_id": server.user_id,
            "metadata": dict(server.metadata),
            "hostId": _host_id(server.project_id, server.host) if server.host else "",
            "image": self._image(server),
            "flavor": self._flavor(server),
            "created": timestamp(server.created_at),
            "updated": timestamp(server.updated_at),
            "addresses": _addresses(around.interfaces),
            "accessIPv4": server.access_ipv4,
            "accessIPv6": server.access_ipv6,
            "links": self.links(server),
            "key_name": server.key_name,
            "config_drive": "True" if server.config_drive else "",
            "security_groups": [{"name": name} for name in around.groups],
            **_EXTENDED,
            "os-extended-volumes:volumes_attached": self._volumes(around),
            "OS-EXT-AZ:availability_zone": server.availability_zone,
            "OS-EXT-STS:task_state": server.task_state,
            "OS-EXT-STS:vm_state": VM_STATES[server.status],
            "OS-EXT-STS:power_state": power_state(server),
            "OS-SRV-USG:launched_at": timestamp(server.launched_at)[:-1] if server.launched_at else None,
        }
        if server.status != ServerStatus.ERROR:
            document["progress"] = 100 if server.status == ServerStatus.ACTIVE else 0
        if server.fault:
            document["fault"] = self._fault(server)
        for since, further in _SINCE:
            if self._version >= since:
                document.update(further(server))
        if self._call.token.is_admin:
            document.update(self._for_administrators(server, around))
        if self._version >= GROUPED:
            document["server_groups"] = list(around.server_groups)
        return document

    def _for_administrators(self, server: Server, around: Surroundings) -> Document:
        """What Nova tells administrators alone."""
        document: Document = {
            "OS-EXT-SRV-ATTR:host": server.host or None,
            "OS-EXT-SRV-ATTR:hypervisor_hostname": server.host or None,
            "OS-EXT-SRV-ATTR:instance_name": f"instance-{server.id[:8]}",
        }
        if self._version >= DETAILS:
            document.update(_details(server))
        if self._version >= HOST_STATUS:
            document["host_status"] = around.host_status
        return document

    def _host_status(self, host: str) -> str:
        """How Nova sums a host up: UP, DOWN, MAINTENANCE, empty without one."""
        if host and host not in self._host_statuses:
            service = self._call.cloud.hosts.service(host)
            usable = "UP" if service.enabled else "MAINTENANCE"
            self._host_statuses[host] = "DOWN" if service.forced_down else usable
        return self._host_statuses.get(host, "")

    def addresses(self, server: Server) -> dict[str, list[dict[str, Any]]]:
        """Addresses by network name, floating ones included."""
        return _addresses(self._interfaces(server))

    def _interfaces(self, server: Server) -> tuple[Interface, ...]:
        ports = (self._tables.ports.peek(nic.port_id) for nic in server.nics)
        return tuple(self._interface(port) for port in ports if port)

    def _interface(self, port: Port) -> Interface:
        return Interface(
            network=self._tables.networks.get(port.network_id).name,
            mac=port.mac,
            fixed=tuple([str(fixed.address) for fixed in port.fixed_ips]),
            floating=tuple([str(floating.address) for floating in self._floating.get(port.id, ())]),
        )

    def _image(self, server: Server) -> Document | str:
        """A server's image; empty when it boots from a volume."""
        if not server.image_id:
            return ""
        return {"id": server.image_id, "links": [self._bookmark(f"images/{server.image_id}")]}

    def _volumes(self, around: Surroundings) -> list[Document]:
        """Its volumes; what goes with the server is told from 2.3 on."""
        if self._version < DETAILS:
            return [{"id": volume_id} for volume_id, _goes in around.volumes]
        return [{"id": volume_id, "delete_on_termination": goes} for volume_id, goes in around.volumes]

    def _flavor(self, server: Server) -> Document:
        if self._version >= FLAVOR_EMBEDDED:
            return embedded_flavor(server.flavor)
        return {"id": server.flavor.id, "links": flavor_links(self._call, server.flavor)[1:]}

    def _fault(self, server: Server) -> Mapping[str, Any]:
        if server.fault is None:
            return {}
        fault = {"code": server.fault.code, "created": timestamp(server.fault.created_at)}
        return {**fault, "message": server.fault.message, "details": server.fault.message}

    def _bookmark(self, path: str) -> dict[str, str]:
        return {"rel": "bookmark", "href": f"{self._base}/{path}"}


@lru_cache(maxsize=1024)
def _host_id(project_id: str, host: str) -> str:
    """A name for the host that tells a project whether two servers share one, and nothing else."""
    return hashlib.sha224(f"{project_id}{host}".encode()).hexdigest()


def _addresses(interfaces: Iterable[Interface]) -> dict[str, list[dict[str, Any]]]:
    """Addresses by network name, floating ones included."""
    found: dict[str, list[dict[str, Any]]] = {}
    for interface in interfaces:
        known = found.setdefault(interface.network, [])
        known += [_address(address, "fixed", interface.mac) for address in interface.fixed]
        known += [_address(address, "floating", interface.mac) for address in interface.floating]
    return found


def _address(address: str, kind: str, mac: str) -> dict[str, Any]:
    return {
        "version": 6 if ":" in address else 4,
        "addr": address,
        "OS-EXT-IPS:type": kind,
        "OS-EXT-IPS-MAC:mac_addr": mac,
    }


_EXTENDED: Mapping[str, Any] = {
    "OS-DCF:diskConfig": "AUTO",
    "OS-SRV-USG:terminated_at": None,
}


def _details(server: Server) -> Document:
    return {
        "OS-EXT-SRV-ATTR:reservation_id": server.reservation_id,
        "OS-EXT-SRV-ATTR:launch_index": server.launch_index,
        "OS-EXT-SRV-ATTR:ramdisk_id": "",
        "OS-EXT-SRV-ATTR:kernel_id": "",
        "OS-EXT-SRV-ATTR:hostname": hostname(server.name),
        "OS-EXT-SRV-ATTR:root_device_name": "/dev/vda",
        "OS-EXT-SRV-ATTR:user_data": server.user_data,
    }


_SINCE: tuple[tuple[Microversion, Callable[[Server], Document]], ...] = (
    (LOCKED, lambda server: {"locked": server.locked}),
    (DESCRIBED, lambda server: {"description": server.description or None}),
    (TAGGED, lambda server: {"tags": list(server.tags)}),
    (CERTIFIED, lambda _server: {"trusted_image_certificates": None}),
    (LOCK_REASON, lambda server: {"locked_reason": server.locked_reason}),
    (HOSTNAME_TOLD, lambda server: {"OS-EXT-SRV-ATTR:hostname": hostname(server.name)}),
    (PINNED, lambda server: {"pinned_availability_zone": server.availability_zone if server.pinned_zone else None}),
)
"""What microversions have added."""
