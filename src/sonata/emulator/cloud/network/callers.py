"""Who calls for the services of a network, heard before these are there."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from ipaddress import IPv6Network

from sonata._lib.ip import Address
from sonata._lib.packet_sockets import say_again
from sonata._lib.values import dataclass
from sonata.emulator.addressing import automatic_address
from sonata.emulator.cloud.entities.network import Port
from sonata.emulator.cloud.network.footing import Footing
from sonata.emulator.cloud.network.standing import Standing
from sonata.emulator.cloud.site import Site
from sonata.ports.fabric import PortSpec

_LINK_LOCAL = IPv6Network("fe80::/64")


@dataclass(slots=True)
class _Ear:
    """A socket at which callers are heard, and the port that they call."""

    port_id: str
    socket: socket.socket

    def close(self) -> None:
        """Hear no more; the socket is closed in another thread, since the kernel takes its time for that."""
        loop = asyncio.get_running_loop()
        loop.remove_reader(self.socket)
        loop.run_in_executor(None, self.socket.close)


class Callers:
    """The callers of one cloud's networks, one ear for each network whose services are awaited."""

    def __init__(self, site: Site, standing: Standing, footing: Footing) -> None:
        self._site = site
        self._standing = standing
        self._footing = footing
        self._ears: dict[str, _Ear] = {}

    def awaited(self, network_id: str) -> bool:
        """Whether somebody listens for callers on a network."""
        return network_id in self._ears

    async def listen(self, port: Port, ifname: str, on_call: Callable[[], None]) -> None:
        """Listen for who calls a network's service port, which is not plugged in; tell once, and keep the calls."""
        await self._footing.prepare([port.id])
        spec = self._standing.spec("", port.id, ifname)
        called = _called(spec)
        heard = await self._site.plane.run(lambda fabric: fabric.networks.listen(spec.pop, spec.network, called))
        loop = asyncio.get_running_loop()

        def tell() -> None:
            loop.remove_reader(heard)
            on_call()

        self._ears[port.network_id] = _Ear(port.id, heard)
        loop.add_reader(heard, tell)

    def answer(self, network_id: str) -> None:
        """Have all callers answered by who is there now, and listen no more."""
        ear = self._ears.pop(network_id)
        say_again(ear.socket)
        ear.close()

    async def forget(self, network_id: str) -> None:
        """Listen no more; idempotent."""
        if ear := self._ears.pop(network_id, None):
            ear.close()
            await self._footing.release([ear.port_id])

    def close(self) -> None:
        """Listen nowhere any more."""
        for ear in self._ears.values():
            ear.close()
        self._ears.clear()


def _called(spec: PortSpec) -> list[Address]:
    """The addresses of a port, also the one that it has by itself where it has IPv6."""
    own = [value.ip for value in spec.addresses]
    with_six = any(address.version == 6 for address in own)
    return [*own, automatic_address(_LINK_LOCAL, spec.mac)] if with_six else own
