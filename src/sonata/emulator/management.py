"""The way from outside to management addresses: connections made as from a host on the external network of a PoP."""

from __future__ import annotations

import asyncio
import os
import socket
from ipaddress import IPv4Address

from sonata._lib.namespaces import inside
from sonata.emulator.addressing import is_external, mac_address, management_address, pop_number, router_address
from sonata.emulator.data_plane import DataPlane
from sonata.emulator.links import Links
from sonata.errors import TransientError, Unauthorised
from sonata.ports.fabric import EXTERNAL, Fabric, PortSpec

CONNECT_TIMEOUT_S = 10.0


class Management:
    """Opens TCP connections to floating and endpoint addresses, and to nothing else."""

    def __init__(self, links: Links, plane: DataPlane) -> None:
        self._links = links
        self._plane = plane
        self._standing: set[str] = set()

    async def connect(self, address: IPv4Address, tcp_port: int) -> socket.socket:
        """A connected, non-blocking socket.

        Raises:
            Unauthorised: the address is in no PoP's external network.
            TransientError: nobody answers there.
        """
        pop = self._pop_of(address)
        opened = await self._plane.run(lambda fabric: self._open(fabric, pop))
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                await asyncio.get_running_loop().sock_connect(opened, (str(address), tcp_port))
        except (OSError, TimeoutError) as error:
            opened.close()
            raise TransientError(f"cannot connect to {address}:{tcp_port}: {error or 'no answer'}") from error
        return opened

    def _pop_of(self, address: IPv4Address) -> str:
        number = pop_number(address) if is_external(address) else -1
        if not 0 <= number < len(self._links.pops):
            raise Unauthorised(
                f"{address} is in no PoP's external network", hint="management addresses are in 100.64.0.0/10"
            )
        return self._links.pops[number]

    def _open(self, fabric: Fabric, pop: str) -> socket.socket:
        """A socket in the PoP's management host, which comes to be with its first use; runs in the fabric's thread."""
        machine = f"management-{pop}"
        if pop not in self._standing:
            fabric.machines.add_machines([machine])
            fabric.machines.add_ports([self._port(pop, machine)])
            self._standing.add(pop)
        namespace = os.open(fabric.machines.netns_path(machine), os.O_RDONLY | os.O_CLOEXEC)
        try:
            with inside(namespace):
                opened = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        finally:
            os.close(namespace)
        opened.setblocking(False)
        return opened

    def _port(self, pop: str, machine: str) -> PortSpec:
        external = self._links.external_of(pop)
        return PortSpec(
            id=machine,
            pop=pop,
            network=EXTERNAL,
            machine=machine,
            ifname="eth0",
            mac=mac_address(machine),
            addresses=(management_address(external),),
            gateway=router_address(external).ip,
        )
