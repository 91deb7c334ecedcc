"""What a server is given on its way besides its image: folders that it sees, and a program that runs before its own."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace

from sonata._lib.values import dataclass
from sonata.emulator.cloud.entities.compute import Server
from sonata.ports.images import Image
from sonata.ports.runtime import Bind, MachineSpec

IDLE = ("sleep", "infinity")
"""The program of an idle server whose boot has something to do first."""


@dataclass(frozen=True, slots=True)
class Dress:
    """What a server is given at a boot.

    Args:
        before: command that does something, then becomes the program given to it as arguments; empty for none.
        host_name: instead of the one made of the server's name; empty for that one.
        eager: whether an idle server is to be started at once, since `before` has work to do.
        told: what its console says before anything else; empty for nothing.
    """

    binds: tuple[Bind, ...] = ()
    before: tuple[str, ...] = ()
    host_name: str = ""
    eager: bool = False
    told: str = ""


PLAIN = Dress()

Dressing = Callable[[Server, Image], Awaitable[Dress]]


async def undressed(_server: Server, _image: Image) -> Dress:
    """Nothing besides the image."""
    return PLAIN


def dressed(spec: MachineSpec, dress: Dress) -> MachineSpec:
    """A machine with what it is given."""
    argv = (*dress.before, *(spec.argv or IDLE)) if dress.before else spec.argv
    return replace(spec, argv=argv, binds=(*spec.binds, *dress.binds), hostname=dress.host_name or spec.hostname)
