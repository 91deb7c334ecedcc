"""The default chain renderer: each packet is handed on by the kernel where it comes in, whatever its length of way."""

from __future__ import annotations

import sonata.adapters.fabric_linux.chain_rules as chain_rules
from sonata.ports.chain_rendering import Abilities, Rendering, Surroundings
from sonata.ports.fabric import ChainSpec


class SteeringRenderer:
    """Implements `ports.chain_rendering.ChainRenderer`: functions with one port or two, routers or not."""

    name = "steering"
    purpose = "hands each flow's packets straight from port to port in the kernel"
    abilities = Abilities()

    def why_not(self) -> str:
        """What it needs is what networks need, too."""
        return ""

    def render(self, number: int, chain: ChainSpec, around: Surroundings, standing: str) -> Rendering:
        """Rules alone."""
        return Rendering(chain_rules.render(number, chain, around, standing))

    def remove(self, number: int) -> str:
        """Drop the chain's table."""
        return chain_rules.remove(number) + "\n"
