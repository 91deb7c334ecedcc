"""Emulations in scripts and tests: describe a topology, run it, work with it; it ends with the block.

Example:
    >>> from sonata.embedding import Emulator, Link, Pop, Topology
    >>> two = Topology("two", {"west": Pop("west"), "east": Pop("east")}, (Link("wire", "west", "east"),))
    >>> def slow_down() -> None:
    ...     with Emulator(two) as emulation:
    ...         emulation.link("wire").set(delay="50ms")
"""

from sonata.embedding.emulator import CommandFailed, Completed, Emulator, LinkHandle, RunningEmulation, attach
from sonata.emulator import Endpoint, Impairment, Link, Pop, ServerSeed, Topology
from sonata.model import shapes

__all__ = [
    "CommandFailed",
    "Completed",
    "Emulator",
    "Endpoint",
    "Impairment",
    "Link",
    "LinkHandle",
    "Pop",
    "RunningEmulation",
    "ServerSeed",
    "Topology",
    "attach",
    "shapes",
]
