"""The file system that the kernel boots from: the first process, busybox, and the modules to reach the rest."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from pathlib import Path

from kernel import Kernel

_NEEDED = ("virtio_pci", "virtio_console", "9pnet_virtio", "9p", "overlay")
_FOLDER, _PROGRAM, _FILE = 0o040755, 0o100755, 0o100644
_FIRST = Path(__file__).with_name("first")
_SECOND = Path(__file__).with_name("second")


def build(kernel: Kernel, job: str, kept: list[Path]) -> bytes:
    """The archive, in the kernel's own format (newc cpio, gzip).

    Args:
        kernel: that boots from it.
        job: what the second process runs, a shell script.
        kept: folders of the host that are to be seen even where they are below `/tmp`.
    """
    folder = f"lib/modules/{kernel.modules.name}"
    files = {
        "init": (_PROGRAM, _FIRST.read_bytes()),
        "bin/busybox": (_PROGRAM, kernel.busybox.read_bytes()),
        "machine/second": (_PROGRAM, _SECOND.read_bytes()),
        "machine/job": (_PROGRAM, job.encode()),
        "machine/kept": (_FILE, "".join(f"{path}\n" for path in (kernel.modules, *kept)).encode()),
        f"{folder}/modules.dep": (_FILE, (kernel.modules / "modules.dep").read_bytes()),
    }
    for module in _with_dependencies(kernel.modules):
        files[f"{folder}/{module}"] = (_FILE, (kernel.modules / module).read_bytes())
    return gzip.compress(_archive(files), compresslevel=1)


def _with_dependencies(modules: Path) -> set[str]:
    """The files of the modules that are needed, and of those that they need."""
    needs = {}
    for line in (modules / "modules.dep").read_text().splitlines():
        file, _, others = line.partition(":")
        needs[file] = others.split()
    by_name = {Path(file).stem.replace("-", "_"): file for file in needs}
    wanted, found = [by_name[name] for name in _NEEDED], set()
    while wanted:
        file = wanted.pop()
        if file not in found:
            found.add(file)
            wanted += needs[file]
    return found


def _archive(files: dict[str, tuple[int, bytes]]) -> bytes:
    folders = {str(above): (_FOLDER, b"") for name in files for above in Path(name).parents if above.name}
    entries = {**dict(sorted(folders.items())), **files, "TRAILER!!!": (0, b"")}
    return b"".join(
        part for number, (name, entry) in enumerate(entries.items(), 1) for part in _entry(number, name, *entry)
    )


def _entry(number: int, name: str, mode: int, content: bytes) -> Iterator[bytes]:
    """One file: fourteen hexadecimal fields, the name, the content, each padded to four bytes."""
    fields = (number, mode, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(name) + 1, 0)
    yield _padded(b"070701" + b"".join(b"%08X" % field for field in fields) + name.encode() + b"\0")
    yield _padded(content)


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)
