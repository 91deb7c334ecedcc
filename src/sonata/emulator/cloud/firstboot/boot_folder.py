"""The folders that a server sees at its boot: the script with its files, and the config drive."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Iterable, Mapping, Sequence
from importlib.resources import files
from pathlib import Path

import msgspec

from sonata.emulator.cloud.compute.dress import PLAIN, Dress
from sonata.emulator.cloud.entities.compute import Server
from sonata.emulator.cloud.firstboot.instance import Instance, instance_of
from sonata.emulator.cloud.firstboot.interpreter import plan_of
from sonata.emulator.cloud.firstboot.openstack_format import meta_data
from sonata.emulator.cloud.firstboot.paths import drive
from sonata.emulator.cloud.firstboot.plan import FOLDER, Plan, Step, quoted
from sonata.emulator.cloud.tables import Tables
from sonata.ports.images import Image
from sonata.ports.runtime import Bind

CONFIG_DRIVE = "/config-2"
_SHELLS, _CLOUD_INIT = ("bin/sh", "usr/bin/sh"), ("usr/bin/cloud-init",)


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
        wants_boot = bool(server.user_data or server.public_key)
        if not wants_boot and not server.config_drive:
            return PLAIN
        instance = instance_of(self._tables, server)
        plan = await plan_of(instance) if wants_boot else Plan()
        return await asyncio.to_thread(self._written, instance, image, plan)

    async def discard(self, server_id: str) -> None:
        """Remove a server's folders; idempotent."""
        await asyncio.to_thread(shutil.rmtree, self._folder / server_id, ignore_errors=True)

    def _written(self, instance: Instance, image: Image, plan: Plan) -> Dress:
        server, folder = instance.server, self._folder / instance.server.id
        shutil.rmtree(folder, ignore_errors=True)
        binds: list[Bind] = []
        if server.config_drive:
            _write(folder / "config-2", drive(instance))
            binds.append(Bind(folder / "config-2", CONFIG_DRIVE))
        if not (server.user_data or server.public_key) or not _holds(image, _SHELLS):
            return Dress(tuple(binds))
        contents = _cloud_init_files(instance) if _holds(image, _CLOUD_INIT) else _own_files(instance, plan)
        _write(folder / "boot", contents)
        binds.append(Bind(folder / "boot", FOLDER))
        return Dress(tuple(binds), ("/bin/sh", f"{FOLDER}/boot"), plan.host_name, eager=bool(server.user_data))


def _own_files(instance: Instance, plan: Plan) -> dict[str, bytes]:
    """The script of our own interpreter, with the files that it names."""
    stages = {"early_always": plan.early_always, "early": plan.early, "final": plan.final,
              "final_always": plan.final_always}  # fmt: skip
    functions = [_function(name, map(_call, steps)) for name, steps in stages.items()]
    functions.append(_function("warnings", (f"say {quoted(line)}" for line in plan.warnings)))
    script = "\n".join((f"INSTANCE={quoted(instance.server.id)}", *functions, _resource("boot.sh")))
    contents = {f"files/{number}": content for number, content in enumerate(plan.files)}
    return {"boot": script.encode(), **contents}


def _cloud_init_files(instance: Instance) -> dict[str, bytes]:
    """The seed of cloud-init's NoCloud data source (cloud-init, "NoCloud"), and the script that has it followed."""
    told = meta_data(instance)
    known = {"instance-id": told["uuid"], "local-hostname": told["hostname"].partition(".")[0]}
    keys = [instance.server.public_key.strip()] if instance.server.public_key else []
    script = f"INSTANCE={quoted(instance.server.id)}\n{_resource('real_cloud_init.sh')}"
    return {
        "boot": script.encode(),
        "seed/meta-data": msgspec.json.encode({**known, "public-keys": keys}),
        "seed/user-data": instance.user_data,
    }


def _function(name: str, lines: Iterable[str]) -> str:
    body = "\n".join(f"    {line}" for line in lines)
    return f"{name}() {{\n{body}\n    :\n}}"


def _call(step: Step) -> str:
    return f"step {quoted(step.name, step.shell)}"


def _holds(image: Image, paths: Sequence[str]) -> bool:
    """Whether an image has one of these files; `host` shows the host's."""
    roots = image.layers or (Path("/"),)
    return any((root / path).exists() or (root / path).is_symlink() for root in roots for path in paths)


def _resource(name: str) -> str:
    return files(__package__).joinpath(name).read_text()


def _write(folder: Path, contents: Mapping[str, bytes]) -> None:
    """Write files below a folder that only the keeper's user, and whoever sees it in a server as root, can enter."""
    folder.mkdir(parents=True, mode=0o700)
    for name, content in contents.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
