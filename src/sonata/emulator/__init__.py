"""The emulated infrastructure.

A script describes it with these values and runs it with `sonata.embedding.Emulator`:

    >>> from sonata.emulator import Link, Pop, Topology
    >>> pops = {f"p{i}": Pop(f"p{i}") for i in range(1000)}
    >>> line = tuple(Link(f"l{i}", f"p{i}", f"p{i + 1}") for i in range(999))
    >>> len(Topology("thousand", pops, line).links)
    999
"""

from sonata.model.topology import Endpoint, Impairment, Link, Pop, ServerSeed, Topology

__all__ = ["Endpoint", "Impairment", "Link", "Pop", "ServerSeed", "Topology"]
