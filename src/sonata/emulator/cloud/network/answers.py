"""What a network's services answer: addresses, names, routers' advertisements, out of the tables of that moment."""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import IPv4Address, IPv4Interface, IPv6Address
from typing import Any

import sonata.emulator.cloud.network.dhcp as dhcp
import sonata.emulator.cloud.network.dhcp6 as dhcp6
import sonata.emulator.cloud.network.dhcp_options as dhcp_options
import sonata.emulator.cloud.network.names as names
from sonata.emulator.cloud.compute.power import hostname
from sonata.emulator.cloud.compute.wiring import Wiring
from sonata.emulator.cloud.entities.network import DHCP_OWNER, FixedIp, Port, Subnet, interface_of
from sonata.emulator.cloud.network.advertisements import BY_DHCP, STATEFUL, advertisement, nameservers
from sonata.emulator.cloud.tables import Tables

Answer = tuple[bytes | None, str]
"""An answer and where it goes; an empty one is none."""


class Answers:
    """Answers to packets, each given with its network and source address."""

    def __init__(self, tables: Tables, wiring: Wiring) -> None:
        self._tables = tables
        self._wiring = wiring
        self._dhcp_ports = wiring.dhcp_ports

    def to_dhcp(self, network_id: str, packet: bytes, _source: str) -> Answer:
        """What a DHCP client is told."""
        message = dhcp.read(packet)
        lease = self._lease(network_id, message.mac) if message else None
        if message is None or lease is None:
            return None, ""
        return dhcp.reply(message, lease), dhcp.destination(message)

    def to_dhcp6(self, network_id: str, packet: bytes, source: str) -> Answer:
        """What a DHCPv6 client is told."""
        message = dhcp6.read(packet)
        port = self._port_of(network_id, dhcp6.mac_of(message, source)) if message else None
        lease = self._lease6_of(port) if port else None
        if message is None or lease is None:
            return None, ""
        return dhcp6.reply(message, lease), source

    def _lease6_of(self, port: Port) -> dhcp6.Lease | None:
        """What DHCP for IPv6 tells a port; nothing where none of its subnets is served so."""
        pairs = [(self._tables.subnets.get(fixed.subnet_id), fixed) for fixed in port.fixed_ips]
        served = [(subnet, fixed) for subnet, fixed in pairs if subnet.enable_dhcp and subnet.address_mode in BY_DHCP]
        own = self._dhcp_ports.find(port.network_id)
        if not served or own is None:
            return None
        given = (fixed.address for subnet, fixed in served if subnet.address_mode == STATEFUL)
        return dhcp6.Lease(
            server_mac=own.mac,
            addresses=tuple(address for address in given if isinstance(address, IPv6Address)),
            nameservers=nameservers([subnet for subnet, _ in served]),
            domain=names.DOMAIN,
            further=dhcp_options.told(port.dhcp_options, 6),
        )

    def to_solicitation(self, network_id: str) -> bytes | None:
        """What a network tells its IPv6 hosts."""
        own = self._dhcp_ports.find(network_id)
        subnets = [subnet for subnet in self._tables.subnets if subnet.network_id == network_id]
        return advertisement(subnets, own.mac, self._tables.networks.get(network_id).mtu) if own else None

    def to_query(self, network_id: str, query: bytes, source: str) -> Answer:
        """What who looks for a name is told."""
        return names.answer(query, self._names(network_id)), source

    def _lease(self, network_id: str, mac: str) -> dhcp.Lease | None:
        """What the port of this MAC address is told; nothing when it is no port, or its subnet is not served."""
        port = self._port_of(network_id, mac)
        return self._lease_of(port) if port else None

    def _port_of(self, network_id: str, mac: str) -> Port | None:
        """The port of this MAC address, unless it is the services' own."""
        for port in self._tables.ports:
            if port.network_id == network_id and port.mac == mac and port.device_owner != DHCP_OWNER:
                return port
        return None

    def _lease_of(self, port: Port) -> dhcp.Lease | None:
        for fixed in port.fixed_ips:
            subnet = self._tables.subnets.get(fixed.subnet_id)
            interface, server = interface_of(subnet, fixed), self._dhcp_ports.address_in(subnet)
            if server is None or not isinstance(interface, IPv4Interface):
                continue
            return dhcp.Lease(
                address=interface,
                server=server,
                router=_router(subnet, fixed),
                nameservers=tuple(self._wiring.nameservers(subnet)),
                domain=names.DOMAIN,
                host_name=self._host_name(port),
                mtu=self._tables.networks.get(port.network_id).mtu,
                routes=self._wiring.host_routes(subnet),
                further=dhcp_options.told(port.dhcp_options, 4),
            )
        return None

    def _host_name(self, port: Port) -> str:
        if port.dns_name:
            return port.dns_name
        server = self._tables.servers.peek(port.device_id)
        return hostname(server.name) if server else default_name(port.first_address)

    def _names(self, network_id: str) -> Mapping[str, tuple[IPv4Address, ...]]:
        """Names of a network's ports: of their server, and made of their addresses."""
        found: dict[str, tuple[IPv4Address, ...]] = {}
        for port in self._tables.ports:
            addresses = _fourth(port) if port.network_id == network_id else ()
            for address in addresses:
                found[default_name(address)] = (address,)
            if addresses and port.device_id in self._tables.servers:
                name = self._host_name(port)
                found[name] = (*found.get(name, ()), *addresses)
        return found


def default_name(address: Any) -> str:
    """The name of a port that nobody has named, as Neutron makes it: `host-10-0-0-5`."""
    return f"host-{address}".replace(".", "-").replace(":", "-")


def _router(subnet: Subnet, fixed: FixedIp) -> IPv4Address | None:
    """The gateway of a subnet, unless the port has that address itself."""
    gateway = subnet.gateway_ip
    return gateway if isinstance(gateway, IPv4Address) and gateway != fixed.address else None


def _fourth(port: Port) -> tuple[IPv4Address, ...]:
    return tuple(fixed.address for fixed in port.fixed_ips if isinstance(fixed.address, IPv4Address))
