"""The segment of a network: what its `provider:` attributes ask for, or the first that is free.

A PoP has tunnels, and one physical network with its VLANs that nothing else is plugged into.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import replace

from sonata.emulator.cloud.causes import FlatNetworkInUse, TunnelIdInUse, VlanIdInUse
from sonata.emulator.cloud.entities.network import Network
from sonata.errors import InvalidInput

PHYSICAL_NETWORK = "physnet1"
LAST_VLAN = 4094


def on_a_segment(network: Network, others: Iterable[Network]) -> Network:
    """A new network with a segment that none of the others has.

    Raises:
        InvalidInput: its attributes contradict each other, or name another physical network.
        Conflict: the segment is another network's.
    """
    place = {"flat": _untagged, "vlan": _tagged}.get(network.network_type, _tunnelled)
    return place(network, [other for other in others if not other.external])


def _tunnelled(network: Network, others: list[Network]) -> Network:
    if network.physical_network:
        raise InvalidInput(
            f"Invalid input for operation: provider:physical_network specified for {network.network_type} network."
        )
    taken = {other.segmentation_id for other in others if not other.physical_network}
    asked = network.segmentation_id
    if asked in taken - {None}:
        raise TunnelIdInUse(f"Unable to create the network. The tunnel ID {asked} is in use.")
    return replace(network, segmentation_id=asked or next(one for one in itertools.count(1) if one not in taken))


def _tagged(network: Network, others: list[Network]) -> Network:
    physical = _physical_network(network)
    taken = {other.segmentation_id for other in others if other.network_type == "vlan"}
    asked = network.segmentation_id
    if asked is not None and asked > LAST_VLAN:
        raise InvalidInput(f"Invalid input for operation: segmentation_id out of range (1 through {LAST_VLAN}).")
    if asked in taken:
        raise VlanIdInUse(f"Unable to create the network. The VLAN {asked} on physical network {physical} is in use.")
    free = asked or next((one for one in range(1, LAST_VLAN + 1) if one not in taken), None)
    if free is None:
        raise VlanIdInUse(f"Unable to create the network. No VLAN of physical network {physical} is free.")
    return replace(network, segmentation_id=free, physical_network=physical)


def _untagged(network: Network, others: list[Network]) -> Network:
    if not network.physical_network:
        raise InvalidInput("Invalid input for operation: physical_network required for flat provider network.")
    if network.segmentation_id is not None:
        raise InvalidInput("Invalid input for operation: provider:segmentation_id specified for flat network.")
    physical = _physical_network(network)
    if any(other.network_type == "flat" for other in others):
        raise FlatNetworkInUse(f"Unable to create the flat network. Physical network {physical} is in use.")
    return network


def _physical_network(network: Network) -> str:
    """The physical network that is asked for; the only one where none is."""
    asked = network.physical_network or PHYSICAL_NETWORK
    if asked != PHYSICAL_NETWORK:
        raise InvalidInput(
            f"Invalid input for operation: physical_network '{asked}' unknown for {network.network_type} provider "
            f"network: here it is `{PHYSICAL_NETWORK}`."
        )
    return asked
