"""The root file system called `host`: the host's programs, and nothing else of the host.

`/usr` is bound read-only by the bundle. Everything else comes from a layer made here: links as the host has them, an
allow-listed `/etc`, invented users. What a machine writes goes to its own overlay.
"""

from __future__ import annotations

import os
import shutil
from concurrent.futures import Future
from pathlib import Path
from threading import Thread

MERGED = ("bin", "sbin", "lib", "lib32", "lib64", "libx32")
"""Folders that are links into `/usr` on today's distributions."""

ETC = (
    "alternatives", "ca-certificates.conf", "debian_version", "ethertypes", "gai.conf", "host.conf", "iproute2",
    "ld.so.cache", "ld.so.conf", "ld.so.conf.d", "localtime", "magic", "mime.types", "nsswitch.conf", "os-release",
    "pki/tls/certs", "protocols", "rpc", "services", "shells", "ssl/certs", "ssl/openssl.cnf", "terminfo", "timezone",
)  # fmt: skip
"""What programs need to run and to speak to others; no accounts, keys, host names or settings."""

ACCOUNTS = """root:x:0:0:root:/root:/bin/sh
daemon:x:1:1:daemon:/usr/sbin:/usr/sbin/nologin
proxy:x:13:13:proxy:/bin:/usr/sbin/nologin
www-data:x:33:33:www-data:/var/www:/usr/sbin/nologin
sshd:x:105:65534::/run/sshd:/usr/sbin/nologin
sonata:x:1000:1000:sonata:/tmp:/usr/sbin/nologin
nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin
"""
GROUPS = "root:x:0:\ndaemon:x:1:\nproxy:x:13:\nwww-data:x:33:\nsonata:x:1000:\nnogroup:x:65534:\n"
_FOLDERS = (
    "usr", "etc", "root", "proc", "dev", "sys", "home", "mnt", "opt", "srv", "run/lock", "run/sshd", "var/cache",
    "var/lib", "var/log", "var/spool",
)  # fmt: skip


class HostLayer:
    """The layer, made beside other work: some hundred small files, which a start without processes does not need.

    Args:
        folder: where; whatever is there goes.
    """

    def __init__(self, folder: Path) -> None:
        self._made: Future[Path] = Future()
        Thread(target=self._make, args=(folder,), name="host-layer").start()

    @property
    def path(self) -> Path:
        """Its folder, once it is made.

        Raises:
            OSError: it could not be.
        """
        return self._made.result()

    def _make(self, folder: Path) -> None:
        try:
            self._made.set_result(make_host_layer(folder))
        except OSError as error:
            self._made.set_exception(error)


def make_host_layer(layer: Path) -> Path:
    """Build the layer anew and return it; takes about 20 ms."""
    shutil.rmtree(layer, ignore_errors=True)
    for name in _FOLDERS:
        (layer / name).mkdir(parents=True)
    for name in ("tmp", "var/tmp"):
        (layer / name).mkdir()
        (layer / name).chmod(0o1777)
    (layer / "var/run").symlink_to("/run")
    for name in MERGED:
        if os.path.islink(f"/{name}"):
            (layer / name).symlink_to(os.readlink(f"/{name}"))
        elif os.path.isdir(f"/{name}"):
            (layer / name).mkdir()
    for name in ETC:
        _copy(Path("/etc") / name, layer / "etc" / name)
    (layer / "etc/passwd").write_text(ACCOUNTS)
    (layer / "etc/group").write_text(GROUPS)
    # No password opens these accounts; a star, unlike a lock, leaves them to keys.
    names = [line.partition(":")[0] for line in ACCOUNTS.splitlines()]
    (layer / "etc/shadow").write_text("".join(f"{name}:*:19000:0:99999:7:::\n" for name in names))
    (layer / "etc/shadow").chmod(0o640)
    return layer


def host_binds() -> tuple[str, ...]:
    """Folders of the host to be bound read-only: `/usr`, and `/bin` and its like where they are no links."""
    return ("/usr", *(f"/{name}" for name in MERGED if os.path.isdir(f"/{name}") and not os.path.islink(f"/{name}")))


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_symlink():
        target.symlink_to(os.readlink(source))
    elif source.is_dir():
        shutil.copytree(source, target, symlinks=True, ignore_dangling_symlinks=True)
    elif source.is_file():
        shutil.copyfile(source, target)
