"""Layer 2 gateways, as the API of networking-l2gw names them."""

from __future__ import annotations

from dataclasses import field

from sonata._lib.values import dataclass
from sonata.emulator.cloud.entities.base import Entity, new_id


@dataclass(frozen=True, slots=True, kw_only=True)
class L2Device:
    """A device of a gateway with the interfaces that are meant, by name."""

    id: str = field(default_factory=new_id)
    name: str
    interfaces: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class L2Gateway(Entity):
    """Interfaces of the world outside that are joined to networks together."""

    devices: tuple[L2Device, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class L2GatewayConnection(Entity):
    """A network, and the interfaces of a gateway, as one layer 2 network.

    Args:
        segmentation_id: the VLAN that is meant of each interface; 0 for the interfaces as they are.
    """

    l2_gateway_id: str
    network_id: str
    segmentation_id: int = 0
