"""The way from outside to management addresses: connections made as from a host on the external network of a PoP."""

from __future__ import annotations

import asyncio
import os
import socket
from ipaddress import IPv4Address

from sonata._lib.namespaces import inside
from sonata.emulator.addressing import is_external, mac_address, management_address, pop_number, router_address
from sonata.emulator.data_plane import DataPlane
from sonata.emulator.pops import Pops
from sonata.errors import TransientError, Unauthorised
from sonata.ports.fabric import EXTERNAL, Fabric, PortSpec

CONNECT_TIMEOUT_S = 10.0


class Management:
    """Opens TCP connections to floating and endpoint addresses, and to nothing else."""

    def __init__(self, pops: Pops, plane: DataPlane) -> None:
        self._pops = pops
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

    async def forget(self, pop: str) -> None:
        """Drop the management host of a PoP that is about to go."""

        def run(fabric: Fabric) -> None:
            fabric.machines.remove_machines([_machine(pop)])
            self._standing.discard(pop)

        await self._plane.run(run)

    def _pop_of(self, address: IPv4Address) -> str:
        pop = self._pops.at(pop_number(address)) if is_external(address) else None
        if pop is None:
            raise Unauthorised(
                f"{address} is in no PoP's external network", hint="management addresses are in 100.64.0.0/10"
            )
        return pop

    def _open(self, fabric: Fabric, pop: str) -> socket.socket:
        """A socket in the PoP's management host, which comes to be with its first use; runs in the fabric's thread."""
        machine = _machine(pop)
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
        external = self._pops.external_of(pop)
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


def _machine(pop: str) -> str:
    return f"management-{pop}"
