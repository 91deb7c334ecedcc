"""Guests that boot a disk: what is laid ready for them, and their serial console.

Each disk is a layer of its own over an image that nobody changes. It is made by the confined process, so
that only that one reads what strangers have uploaded.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from sonata.adapters.runtime_qemu.agent import open_socket
from sonata.adapters.runtime_qemu.command_line import OWN, disk_command_line, seen_folder
from sonata.ports.runtime import DISK_FILE, Bind, MachineSpec, RootFs

_CHUNK = 16 * 1024


def confined_disks(spec: MachineSpec, folder: Path, accelerator: str) -> MachineSpec:
    """The confined process in which such a guest runs; the plan of its disks is written to its folder."""
    plan: list[dict[str, object]] = []
    binds = [Bind(bind.source, seen_folder(number)) for number, bind in enumerate(spec.binds)]
    for number, root in enumerate((spec.root, *(one.root for one in spec.attached))):
        if image := root.image:
            own = root.disk or folder / f"own{number}"
            own.mkdir(parents=True, exist_ok=True)
            base, disk = f"{OWN}/base{number}", f"{OWN}/disk{number}"
            binds += [Bind(image.file, base), Bind(own, disk, read_only=False)]
            size = {"size_bytes": image.size_bytes}
            plan.append({"base": base, "base_format": image.format, "file": f"{disk}/{DISK_FILE}", **size})
    (folder / "disks.json").write_text(json.dumps(plan))
    command = disk_command_line(spec, accelerator=accelerator, disks=[str(disk["file"]) for disk in plan])
    return replace(spec, root=RootFs(), attached=(), argv=command, binds=tuple(binds))


class SerialConsole:
    """`sonata.ports.runtime.Terminal` of a guest's serial port.

    Args:
        closed: called once, when somebody else may open it.
    """

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, closed: Callable[[], None]) -> None:
        self._reader = reader
        self._writer = writer
        self._closed = closed
        self._is_closed = False

    async def read(self) -> bytes:
        """What the guest said next; empty at its end."""
        try:
            return await self._reader.read(_CHUNK)
        except ConnectionError:
            return b""

    async def write(self, typed: bytes) -> None:
        """Type something."""
        with contextlib.suppress(ConnectionError):
            self._writer.write(typed)
            await self._writer.drain()

    def resize(self, rows: int, columns: int) -> None:
        """Nothing: a serial line carries no size, whoever is at its other end asks the terminal (`resize(1)`)."""

    async def close(self) -> None:
        """Hang up; what runs in the guest goes on. Idempotent."""
        if not self._is_closed:
            self._is_closed = True
            self._writer.close()
            self._reader.feed_eof()
            self._closed()


async def open_serial(socket: Path, closed: Callable[[], None]) -> SerialConsole:
    """The serial console of a guest.

    Raises:
        OSError: the guest is gone.
    """
    reader, writer = await open_socket(socket)
    return SerialConsole(reader, writer, closed)
