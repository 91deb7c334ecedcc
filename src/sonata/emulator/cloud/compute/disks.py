"""What servers need to know of volumes; `sonata.emulator.cloud.volume` knows the rest."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Literal, Protocol

from sonata._lib.values import dataclass
from sonata.emulator.cloud.entities.compute import Server
from sonata.ports.images import Image
from sonata.ports.runtime import Bind


@dataclass(frozen=True, slots=True, kw_only=True)
class DiskWish:
    """A volume that a server is to have: one that exists, or one to be made for it."""

    source: Literal["volume", "snapshot", "image", "blank"]
    source_id: str = ""
    size_gib: int = 0
    is_root: bool = False
    delete_on_termination: bool = False
    device: str = ""
    tag: str | None = None
    type_name: str = ""


@dataclass(frozen=True, slots=True)
class Mounts:
    """What a machine sees of volumes: its root, where that is one, and folders."""

    root: Path | None = None
    binds: tuple[Bind, ...] = ()


class Disks(Protocol):
    """The volumes of servers."""

    def check(self, wishes: Sequence[DiskWish]) -> None:
        """Refuse wishes that cannot be fulfilled."""

    def program_of(self, wishes: Sequence[DiskWish]) -> tuple[str, ...]:
        """The program that the root among the wishes runs, where that is known already."""

    def bind_existing(self, server: Server, wishes: Sequence[DiskWish]) -> None:
        """Bind the volumes that exist."""

    async def make_missing(self, server_id: str, wishes: Sequence[DiskWish]) -> None:
        """Make and bind the volumes that do not exist."""

    def opened(self, server: Server) -> AbstractAsyncContextManager[Mounts]:
        """What a server sees of its volumes, for the time in which its machine is started: none comes or goes then."""

    async def shut_all(self, server: Server) -> None:
        """Let go of the volumes of a server that is off."""

    async def release_all(self, server: Server) -> None:
        """Detach the volumes of a server that is deleted."""

    def root_image(self, server: Server) -> Image | None:
        """What the root volume of a server runs; None when the server has none."""
