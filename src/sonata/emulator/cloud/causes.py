"""Why a cloud refuses: kinds of `sonata.errors` under the names that Neutron gives them.

The OpenStack surface shows the class name as the error's `type`; clients only look at status and message.
"""

from __future__ import annotations

from collections.abc import Mapping

from sonata.errors import Conflict, InvalidInput, NotFound, QuotaExceeded, Unauthorised


class NoSuch(NotFound):
    """An object does not exist, or not for this project.

    Args:
        kind: what it would be, as Neutron spells it in its error types: `Network`, `PortPair`, ...
    """

    def __init__(self, kind: str, wanted: str) -> None:
        super().__init__(f"{kind} {wanted} could not be found.")
        self.kind = kind


class NetworkInUse(Conflict):
    """A network has ports."""


class SubnetInUse(Conflict):
    """A subnet has addresses in use."""


class PortInUse(Conflict):
    """A port is bound to something, or part of a port pair."""


class RouterInUse(Conflict):
    """A router has interfaces."""


class OverlappingSubnet(Conflict):
    """A subnet's addresses overlap with another one's where they may not."""


class GatewayIpInUse(Conflict):
    """A subnet's gateway address is a router's, so it cannot change."""


class TunnelIdInUse(Conflict):
    """A segmentation id is another network's."""


class VlanIdInUse(Conflict):
    """A VLAN is another network's."""


class FlatNetworkInUse(Conflict):
    """The untagged segment of a physical network is another network's."""


class PortBound(Conflict):
    """A port is plugged in, so its MAC address cannot change."""


class ExternalGatewayForFloatingIPNotFound(NotFound):
    """No router leads from the external network to a port."""


class FipInUseByPortForwarding(Conflict):
    """A floating IP has port forwardings."""


class InvalidRoutesForRouter(InvalidInput):
    """A route's next hop is no neighbour of the router."""


class RouterInterfaceInUseByRoute(Conflict):
    """A router's leg is needed by one of its routes."""


class SubnetPoolInUse(Conflict):
    """Subnets were cut from a pool."""


class SubnetAllocationError(Conflict):
    """A pool has no such prefix left."""


class SubnetPoolQuotaExceeded(QuotaExceeded):
    """A project has taken as much from a pool as it may."""


class AddressScopeInUse(Conflict):
    """An address scope has pools."""


class AddressScopePrefixConflict(Conflict):
    """Pools of an address scope would overlap."""


class DuplicateRbacPolicy(Conflict):
    """The same grant exists."""


class RbacPolicyInUse(Conflict):
    """Those who have a grant make use of it."""


class AutoAllocationFailure(Conflict):
    """A topology cannot be made for a project."""


class IpAddressInUse(Conflict):
    """An address is taken."""


class MacAddressInUse(Conflict):
    """A MAC address is taken on this network."""


class IpAddressGenerationFailure(QuotaExceeded):
    """A network has no address left."""


class ChainAcrossZones(Conflict):
    """A port chain would lead from one availability zone into another."""


class FloatingIpUnreachable(Conflict):
    """No router leads from the external network to a port."""


class OverQuota(QuotaExceeded):
    """A project has as many objects as it may have.

    Args:
        over: by name of the quota: how many more were wanted, how many there are, how many there may be.
    """

    def __init__(self, over: Mapping[str, tuple[int, int, int]]) -> None:
        wanted, used, limits = (", ".join(str(row[column]) for row in over.values()) for column in range(3))
        super().__init__(
            f"Quota exceeded for {', '.join(over)}: Requested {wanted}, but already used {used} of {limits} "
            f"{', '.join(over)}"
        )
        self.over = dict(over)


class StorageFull(QuotaExceeded):
    """The disk that holds images or volumes is full, or something is larger than it may be."""


class Deactivated(Unauthorised):
    """An administrator has deactivated an image: its data are not given out."""
