"""Where VNFs go: the generic placer, and who decides."""

from sonata.mano.placement.decide import PlacementPolicy, decide
from sonata.mano.placement.generic import place

__all__ = ["PlacementPolicy", "decide", "place"]
