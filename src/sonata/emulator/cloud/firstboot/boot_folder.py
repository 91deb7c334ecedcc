"""The folders that a server sees at its boot: the script with its files, and the config drive."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Iterable, Mapping
from importlib.resources import files
from pathlib import Path

from sonata.emulator.cloud.compute.dress import PLAIN, Dress
from sonata.emulator.cloud.entities.compute import Server
from sonata.emulator.cloud.firstboot.image_files import has_file
from sonata.emulator.cloud.firstboot.instance import Instance, instance_of
from sonata.emulator.cloud.firstboot.interpreter import plan_of
from sonata.emulator.cloud.firstboot.paths import drive
from sonata.emulator.cloud.firstboot.plan import FOLDER, Plan, Step, quoted
from sonata.emulator.cloud.image.disks import BootDisk
from sonata.emulator.cloud.tables import Tables
from sonata.ports.images import Image
from sonata.ports.runtime import Bind

CONFIG_DRIVE = "/config-2"


class BootFolders:
    """What servers of one cloud are given at their boots.

    Args:
        folder: private; a folder for each server is made in it.
    """

    def __init__(self, tables: Tables, folder: Path) -> None:
        self._tables = tables
        self._folder = folder

    async def dress(self, server: Server, image: Image) -> Dress:
        """What a server is given now; its folders are written anew."""
        # A system on a disk follows them by itself, by the metadata service or by its config drive.
        wants_boot = bool(server.user_data or server.public_key) and not isinstance(image, BootDisk)
        if not wants_boot and not server.config_drive:
            return PLAIN
        instance = instance_of(self._tables, server)
        plan = await plan_of(instance) if wants_boot else None
        return await asyncio.to_thread(self._written, instance, image, plan)

    async def discard(self, server_id: str) -> None:
        """Remove a server's folders; idempotent."""
        await asyncio.to_thread(shutil.rmtree, self._folder / server_id, ignore_errors=True)

    def _written(self, instance: Instance, image: Image, plan: Plan | None) -> Dress:
        server, folder = instance.server, self._folder / instance.server.id
        shutil.rmtree(folder, ignore_errors=True)
        binds: list[Bind] = []
        if server.config_drive:
            _write(folder / "config-2", drive(instance))
            binds.append(Bind(folder / "config-2", CONFIG_DRIVE))
        if plan is None:
            return Dress(tuple(binds))
        if not has_file(image, "bin/sh"):
            return Dress(tuple(binds), told=_not_followed(instance))
        _write(folder / "boot", _boot_files(instance, plan))
        binds.append(Bind(folder / "boot", FOLDER))
        return Dress(tuple(binds), ("/bin/sh", f"{FOLDER}/boot"), plan.host_name, eager=bool(server.user_data))


def _not_followed(instance: Instance) -> str:
    """Why nothing of a first boot happens in an image without a shell, and what is left."""
    unfollowed = {"user data": instance.server.user_data, "the key pair": instance.server.public_key}
    names = " and ".join(name for name, value in unfollowed.items() if value)
    return (
        f"cloud-init: {names} cannot be followed: the image has no /bin/sh, which the first boot needs; "
        "programs find them at http://169.254.169.254/openstack/latest and, with a config drive, in /config-2"
    )


def _boot_files(instance: Instance, plan: Plan) -> dict[str, bytes]:
    """The scripts of a first boot, by cloud-init or by our own interpreter, and the files that they name.

    What cloud-init follows is the config drive where there is one, as everywhere, else the metadata service; where the
    server's networks have none it gets the same files in the place for a config drive that was put there before.
    """
    functions = [_function(name, map(_call, steps)) for name, steps in plan.stages.items()]
    functions.append(_function("warnings", (f"say {quoted(line)}" for line in plan.warnings)))
    script = "\n".join((f"INSTANCE={quoted(instance.server.id)}", *functions, _resource("own.sh")))
    found = {name: _resource(f"{name}.sh").encode() for name in ("boot", "cloud_init", "status")}
    found |= {f"files/{number}": content for number, content in enumerate(plan.files)}
    found["own"] = script.replace("\0", "").encode(errors="replace")  # no word of a command line can hold a NUL
    if not instance.server.config_drive and not instance.has_metadata_service:
        found |= {f"seed/{name}": content for name, content in drive(instance).items()}
    return found


def _function(name: str, lines: Iterable[str]) -> str:
    body = "\n".join(f"    {line}" for line in lines)
    return f"{name}() {{\n{body}\n    :\n}}"


def _call(step: Step) -> str:
    return f"step {quoted(step.name, step.shell)}"


def _resource(name: str) -> str:
    return files(__package__).joinpath(name).read_text()


def _write(folder: Path, contents: Mapping[str, bytes]) -> None:
    """Write files below a folder that only the keeper's user, and whoever sees it in a server as root, can enter."""
    folder.mkdir(parents=True, mode=0o700)
    for name, content in contents.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
