"""Root file systems of machines, mounted: overlays over layers, or folders that are kept."""

from __future__ import annotations

import shutil
from pathlib import Path

from sonata._lib.values import dataclass
from sonata.adapters.runtime_oci.mounts import MS_BIND, mount, mount_overlay
from sonata.errors import PermanentError
from sonata.ports.runtime import MachineSpec, RootFs


@dataclass(frozen=True, slots=True)
class Places:
    """Folders for a root: where what is written to it goes, and where it is mounted."""

    disk: Path
    target: Path


def mount_root(spec: MachineSpec, root: RootFs, host_layer: Path, places: Places, *, name_hosts: bool) -> None:
    """Mount a root file system of a machine; what is written goes to the place for it, or to a folder that is kept.

    Raises:
        PermanentError: a layer of it does not exist, or it is no root.
    """
    if root.folder:
        places.target.mkdir(parents=True)
        _mount_kept(spec, root, host_layer, places.target)
        return
    upper, work = places.disk / "upper", places.disk / "work"
    for each in (upper / "etc", work, places.target):
        each.mkdir(parents=True, exist_ok=True)
    layers = (*root.layers, host_layer) if root.needs_host else root.layers
    if missing := [str(layer) for layer in layers if not layer.is_dir()]:
        raise PermanentError(f"machine `{spec.id}` cannot start: layer `{missing[0]}` does not exist")
    if name_hosts:
        _name_hosts(spec, upper / "etc")
    mount_overlay(layers, upper, work, places.target)


def _mount_kept(spec: MachineSpec, root: RootFs, host_layer: Path, target: Path) -> None:
    """Mount a root that is kept; one without programs gets what the host's root has besides them."""
    folder = root.folder or target
    if root.needs_host and not (folder / "etc").exists():
        shutil.copytree(host_layer, folder, symlinks=True, dirs_exist_ok=True)
    etc = folder / "etc"
    if etc.is_symlink() or (etc.exists() and not etc.is_dir()):
        raise PermanentError(f"machine `{spec.id}` cannot start: `/etc` of its root is no folder")
    etc.mkdir(exist_ok=True)
    _name_hosts(spec, etc)
    mount(str(folder), target, flags=MS_BIND)


def _name_hosts(spec: MachineSpec, etc: Path) -> None:
    """Write the machine's own names, and who resolves others."""
    names = {
        "hostname": f"{spec.hostname}\n",
        "hosts": f"127.0.0.1\tlocalhost\n127.0.1.1\t{spec.hostname}\n",
        "resolv.conf": spec.resolver,
    }
    for name, text in names.items():
        path = etc / name
        # A root that is kept may have a link there, which would lead out of it.
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        path.unlink(missing_ok=True)
        path.write_text(text)
