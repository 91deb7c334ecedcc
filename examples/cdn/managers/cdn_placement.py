"""Placement of a content delivery network, decided by the people who wrote it.

A cache saves the long way to the content only when it stands beside the users; a classifier shall see their requests
first; and a transcoder belongs beside the content, so that each variant crosses the wide area once. No generic placer
can know that, so this service brings its own placement manager (SSM) along in its package.

How it works: the platform starts this file in a sandbox of its own and, whenever the service is to be placed, calls
`place` with all that is known: the VNFs and what they need, the PoPs and what they have left, the delays between
them, and the endpoints named by whoever ordered the service. What is returned is checked against capacity and the
operator's policy before it takes effect.

Try it on your desk, without any infrastructure: see `sonata.managers.testing`.
"""

from sonata.managers import ManagerError, Placement, PlacementState, ServiceSpecificManager

NEAR_USERS = ("vcache", "vtc")
NEAR_CONTENT = ("vtu",)


class CdnPlacement(ServiceSpecificManager):
    """vCache and vTC next to the users, vTU next to the content; where a PoP is full, the next nearest."""

    def place(self, state: PlacementState) -> Placement:
        if not (state.ingress and state.egress):
            raise ManagerError("a CDN can only be placed between an ingress (users) and an egress (content)")
        placed: dict[str, str] = {}
        for vnf in state.vnf_ids:
            beside = state.egress if vnf in NEAR_CONTENT else state.ingress
            # `placed` is passed on, so that VNFs decided before count as taken capacity.
            placed[vnf] = state.first_with_room(state.pops_nearest(beside), vnf, placed)
        return Placement(placed, reason="; ".join(f"{vnf} at {pop}" for vnf, pop in placed.items()))
