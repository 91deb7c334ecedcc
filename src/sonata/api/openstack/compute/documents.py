"""How Nova shows servers, in each microversion."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from ipaddress import ip_address
from typing import Any

from sonata.api.openstack.call import Call, Microversion
from sonata.api.openstack.compute.flavors import embedded_flavor, flavor_links
from sonata.api.openstack.fields import timestamp
from sonata.api.openstack.listing import Document
from sonata.emulator.cloud.compute.power import hostname
from sonata.emulator.cloud.compute.states import VM_STATES, power_state
from sonata.emulator.cloud.entities.compute import Server, ServerStatus
from sonata.emulator.cloud.entities.network import FloatingIp, Port
from sonata.emulator.cloud.entities.volume import Attachment

DETAILS, LOCKED, HOST_STATUS, DESCRIBED, TAGGED, FLAVOR_EMBEDDED = (2, 3), (2, 9), (2, 16), (2, 19), (2, 26), (2, 47)
CERTIFIED, GROUPED, LOCK_REASON, PINNED = (2, 63), (2, 71), (2, 73), (2, 96)


class ServerDocuments:
    """Documents of one cloud's servers for one call; what many of them need is looked up once."""

    def __init__(self, call: Call) -> None:
        self._call = call
        self._version = call.microversion
        self._tables = call.cloud.tables
        self._groups = {member: group.id for group in self._tables.server_groups for member in group.members}
        self._hosts = call.cloud.hosts
        self._base = call.url("compute")
        floating_ips = (floating for floating in self._tables.floating_ips if floating.port_id)
        self._attached: dict[str, list[Attachment]] = {}
        for attachment in self._tables.volume_attachments:
            self._attached.setdefault(attachment.server_id, []).append(attachment)
        self._floating: dict[str, list[FloatingIp]] = {}
        for floating in floating_ips:
            self._floating.setdefault(floating.port_id, []).append(floating)

    def summary(self, server: Server) -> Document:
        """What plain lists show."""
        return {"id": server.id, "name": server.name, "links": self.links(server)}

    def links(self, server: Server) -> list[dict[str, str]]:
        """The two links that Nova gives to everything."""
        return [
            {"rel": "self", "href": f"{self._base}/v2.1/servers/{server.id}"},
            {"rel": "bookmark", "href": f"{self._base}/servers/{server.id}"},
        ]

    def detail(self, server: Server) -> Document:
        """The complete document."""
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
            "addresses": self.addresses(server),
            "accessIPv4": server.access_ipv4,
            "accessIPv6": server.access_ipv6,
            "links": self.links(server),
            "key_name": server.key_name,
            "config_drive": "True" if server.config_drive else "",
            "security_groups": [{"name": name} for name in self._call.cloud.nics.groups_of(server)],
            **_EXTENDED,
            "os-extended-volumes:volumes_attached": self._volumes(server),
            "OS-EXT-AZ:availability_zone": server.availability_zone,
            "OS-EXT-SRV-ATTR:host": server.host or None,
            "OS-EXT-SRV-ATTR:hypervisor_hostname": server.host or None,
            "OS-EXT-SRV-ATTR:instance_name": f"instance-{server.id[:8]}",
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
        if self._version >= HOST_STATUS and self._call.token.is_admin:
            document["host_status"] = self._host_status(server)
        if self._version >= GROUPED:
            document["server_groups"] = [self._groups[server.id]] if server.id in self._groups else []
        return document

    def _host_status(self, server: Server) -> str:
        """How Nova sums a host up: UP, DOWN, MAINTENANCE, empty without one."""
        if not server.host:
            return ""
        service = self._hosts.service(server.host)
        if service.forced_down:
            return "DOWN"
        return "UP" if service.enabled else "MAINTENANCE"

    def addresses(self, server: Server) -> dict[str, list[dict[str, Any]]]:
        """Addresses by network name, floating ones included."""
        found: dict[str, list[dict[str, Any]]] = {}
        for nic in server.nics:
            if port := self._tables.ports.peek(nic.port_id):
                name = self._tables.networks.get(port.network_id).name
                found.setdefault(name, []).extend(self._port_addresses(port))
        return found

    def _port_addresses(self, port: Port) -> Iterable[dict[str, Any]]:
        for fixed in port.fixed_ips:
            yield _address(str(fixed.address), "fixed", port)
        for floating in self._floating.get(port.id, ()):
            yield _address(str(floating.address), "floating", port)

    def _image(self, server: Server) -> Document | str:
        """A server's image; empty when it boots from a volume."""
        if not server.image_id:
            return ""
        return {"id": server.image_id, "links": [self._bookmark(f"images/{server.image_id}")]}

    def _volumes(self, server: Server) -> list[Document]:
        """Its volumes; what goes with the server is told from 2.3 on."""
        attached = self._attached.get(server.id, ())
        if self._version < DETAILS:
            return [{"id": one.volume_id} for one in attached]
        return [{"id": one.volume_id, "delete_on_termination": one.delete_on_termination} for one in attached]

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


def _address(address: str, kind: str, port: Port) -> dict[str, Any]:
    return {
        "version": ip_address(address).version,
        "addr": address,
        "OS-EXT-IPS:type": kind,
        "OS-EXT-IPS-MAC:mac_addr": port.mac,
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
    (DETAILS, _details),
    (LOCKED, lambda server: {"locked": server.locked}),
    (DESCRIBED, lambda server: {"description": server.description or None}),
    (TAGGED, lambda server: {"tags": list(server.tags)}),
    (CERTIFIED, lambda _server: {"trusted_image_certificates": None}),
    (LOCK_REASON, lambda server: {"locked_reason": server.locked_reason}),
    (PINNED, lambda server: {"pinned_availability_zone": server.availability_zone if server.pinned_zone else None}),
)
"""What microversions have added."""
