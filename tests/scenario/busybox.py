"""Root file systems of busybox, as tar files that can be uploaded as images."""

from __future__ import annotations

import re
import shutil
import subprocess
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

BUSYBOX = shutil.which("busybox", path="/bin:/usr/bin")
needs_busybox = pytest.mark.skipif(BUSYBOX is None, reason="needs busybox (apt-get install busybox-static)")


def packed_root(folder: Path, programs: Sequence[str], files: Mapping[str, str], shell: str | None = None) -> Path:
    """A root file system with these programs of busybox, files, and another shell if wanted.

    Args:
        files: text by path; those in `bin` can be executed.
    """
    root = folder / "root"
    for path in ("bin", "etc", "usr/bin"):
        (root / path).mkdir(parents=True)
    binaries = [str(BUSYBOX), *([shell] if shell else [])]
    for file in dict.fromkeys([*binaries, *(library for binary in binaries for library in libraries(binary))]):
        place = root / file.lstrip("/")
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, place)
    for name in programs:
        (root / "bin" / name).symlink_to(str(BUSYBOX))
    if shell:
        (root / "bin/sh").symlink_to(shell)
    for name, text in files.items():
        (root / name).write_text(text)
        (root / name).chmod(0o755 if name.startswith("bin/") else 0o644)
    packed = folder / "root.tar"
    with tarfile.open(packed, "w") as tar:
        tar.add(root, ".")
    return packed


def libraries(program: str) -> list[str]:
    """What a program needs beside it; nothing when it is linked statically."""
    told = subprocess.run(["ldd", program], capture_output=True, text=True, check=False).stdout
    return re.findall(r"(/\S+) \(0x", told)
