"""Why a cloud refuses: kinds of `sonata.errors` under the names that Neutron gives them.

The OpenStack surface shows the class name as the error's `type`; clients only look at status and message.
"""

from __future__ import annotations

from sonata.errors import Conflict, NotFound, QuotaExceeded


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


class IpAddressInUse(Conflict):
    """An address is taken."""


class MacAddressInUse(Conflict):
    """A MAC address is taken on this network."""


class IpAddressGenerationFailure(QuotaExceeded):
    """A network has no address left."""


class FloatingIpUnreachable(Conflict):
    """No router leads from the external network to a port."""
