"""Outlets: further interfaces of endpoints, as they come out of a wall of their PoP.

Each leads to a bridge of its own there, and no further, until a layer 2 gateway of the PoP's OpenStack joins it to a
network.
"""

from __future__ import annotations

from collections.abc import Iterable

from sonata._lib.ip import Interface
from sonata._lib.values import dataclass
from sonata.emulator.addressing import mac_address
from sonata.model.topology import Endpoint
from sonata.ports.fabric import NetworkSpec, PortSpec


@dataclass(frozen=True, slots=True)
class Outlet:
    """A further interface of an endpoint.

    Args:
        device: name of the endpoint, which is the device of layer 2 gateways.
        interface: its name there, `eth1`, ...
        pop: where it comes out.
        address: what the endpoint has configured there, None for nothing.
    """

    device: str
    interface: str
    pop: str
    address: Interface | None = None

    @property
    def network(self) -> str:
        """Name of its bridge in the data plane."""
        return f"outlet-{self.device}-{self.interface}"

    @property
    def mac(self) -> str:
        """MAC address of the endpoint there."""
        return mac_address(self.network)

    def network_spec(self) -> NetworkSpec:
        """Its bridge."""
        return NetworkSpec(self.network, self.pop)

    def port_spec(self, machine: str) -> PortSpec:
        """The interface of the endpoint's machine."""
        addresses = (self.address,) if self.address else ()
        return PortSpec(self.network, self.pop, self.network, machine, self.interface, self.mac, addresses)


def outlets_of(endpoints: Iterable[Endpoint]) -> tuple[Outlet, ...]:
    """All outlets of endpoints."""
    return tuple(
        Outlet(endpoint.name, name, endpoint.attach, address)
        for endpoint in endpoints
        for name, address in endpoint.interfaces.items()
    )
