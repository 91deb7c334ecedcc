"""A server with all that its metadata tells, looked up once."""

from __future__ import annotations

import base64
from collections.abc import Iterable

from sonata._lib.values import dataclass
from sonata.emulator.cloud.compute.power import hostname
from sonata.emulator.cloud.entities.compute import Nic, Server
from sonata.emulator.cloud.entities.network import FloatingIp, Network, Port, Subnet
from sonata.emulator.cloud.tables import Tables

DOMAIN = "novalocal"
"""Nova's default `dhcp_domain`: it completes host names in metadata."""


@dataclass(frozen=True, slots=True)
class Link:
    """An interface of a server, with its port, its network, and the subnets of its addresses in their order."""

    nic: Nic
    port: Port
    network: Network
    subnets: tuple[Subnet, ...]


@dataclass(frozen=True, slots=True)
class Instance:
    """A server and what is connected to it."""

    server: Server
    links: tuple[Link, ...]
    floating: tuple[FloatingIp, ...]

    @property
    def host_name(self) -> str:
        """Its host name without a domain."""
        return hostname(self.server.name)

    @property
    def full_name(self) -> str:
        """Its host name as metadata tell it."""
        return f"{self.host_name}.{DOMAIN}"

    @property
    def has_metadata_service(self) -> bool:
        """Whether one of its networks has the metadata service."""
        return any(subnet.enable_dhcp and subnet.cidr.version == 4 for link in self.links for subnet in link.subnets)

    @property
    def user_data(self) -> bytes:
        """What the user gave, decoded; empty when nothing."""
        return base64.b64decode(self.server.user_data or "")


def instance_of(tables: Tables, server: Server) -> Instance:
    """A server as it is in the tables now."""
    links = tuple(_links(tables, server))
    ports = {link.port.id for link in links}
    return Instance(server, links, tuple(one for one in tables.floating_ips if one.port_id in ports))


def server_at(tables: Tables, network_id: str, address: str) -> Server | None:
    """The server that has an address on a network; None when none has.

    Addresses of different networks may be the same; within one network a port has it alone.
    """
    for port in tables.ports:
        if port.network_id == network_id and any(str(fixed.address) == address for fixed in port.fixed_ips):
            return tables.servers.peek(port.device_id)
    return None


def _links(tables: Tables, server: Server) -> Iterable[Link]:
    for nic in server.nics:
        if port := tables.ports.peek(nic.port_id):
            subnets = tuple(tables.subnets.get(fixed.subnet_id) for fixed in port.fixed_ips)
            yield Link(nic, port, tables.networks.get(port.network_id), subnets)
