"""Debian's own kernel with its modules, and busybox, out of packages that are unpacked below the cache folder.

Nothing is installed. What is there stays until Debian has a newer one.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "sonata" / "test-vm"
_NEWEST_KERNEL, _BUSYBOX = "linux-image-amd64", "busybox-static"


class Unavailable(Exception):
    """What the virtual machine needs is not to be had; the message says what to do."""


@dataclass(frozen=True)
class Kernel:
    """A kernel to boot, and the programs of its first process."""

    image: Path
    modules: Path
    busybox: Path


def fetch() -> Kernel:
    """The newest kernel of this Debian; without a network the newest one that was fetched before."""
    for program in ("apt-get", "apt-cache", "dpkg"):
        if not shutil.which(program):
            raise Unavailable(f"`{program}` is missing: Debian's kernel is unpacked by Debian's tools")
    busybox = _unpacked(_BUSYBOX) / "bin" / "busybox"
    folder = _unpacked(_kernel_package())
    (image,) = folder.glob("boot/vmlinuz-*")
    (modules,) = folder.glob("lib/modules/*")
    if not (modules / "modules.dep").exists():
        subprocess.run([busybox, "depmod", "-b", folder, modules.name], check=True)
    return Kernel(image, modules, busybox)


def _kernel_package() -> str:
    """The package that the newest kernel is in: `linux-image-amd64` has nothing but the dependency on it."""
    words = _output("apt-cache", "depends", "--important", _NEWEST_KERNEL).split()
    found = [word for word in words if word.startswith("linux-image-") and word != _NEWEST_KERNEL]
    if not found:
        raise Unavailable(f"no package `{_NEWEST_KERNEL}` is known; run `apt-get update` as root")
    return found[0]


def _unpacked(package: str) -> Path:
    """The folder with what is in a package."""
    folder = CACHE / f"{package}_{_version(package)}"
    if not folder.is_dir():
        CACHE.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=CACHE) as name:
            scratch = Path(name)
            print(f"fetching {package}", flush=True)
            subprocess.run(["apt-get", "download", "-qq", package], cwd=scratch, stderr=subprocess.DEVNULL, check=False)
            archives = list(scratch.glob("*.deb"))
            if not archives:
                raise Unavailable(f"the package `{package}` cannot be fetched; see `apt-get download {package}`")
            subprocess.run(["dpkg", "-x", archives[0], scratch / "content"], check=True)
            _replace_versions_of(package, scratch / "content", folder)
    return folder


def _replace_versions_of(package: str, content: Path, folder: Path) -> None:
    for stale in CACHE.glob(f"{package}_*"):
        shutil.rmtree(stale)
    content.rename(folder)


def _version(package: str) -> str:
    for line in _output("apt-cache", "policy", package).splitlines():
        name, _, value = line.strip().partition(": ")
        if name == "Candidate" and value != "(none)":
            return value.replace(":", "%")
    raise Unavailable(f"no package `{package}` is known; run `apt-get update` as root")


def _output(*argv: str) -> str:
    return subprocess.run(argv, capture_output=True, text=True, env={**os.environ, "LC_ALL": "C"}, check=True).stdout
