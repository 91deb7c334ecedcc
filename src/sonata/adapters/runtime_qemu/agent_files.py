"""Tells what the agent of virtual machines loads: on each line the name in the guest, a tab, the file on the host.

Run by the very Python that is to run the agent. Modules go compiled, in place of their sources, which saves reading.
"""

from __future__ import annotations

import py_compile
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
import guest_agent  # type: ignore[import-not-found]  # noqa: F401


def files(scratch: Path) -> Iterator[tuple[str, str]]:
    """Names and files."""
    programs = [sys.executable]
    for name, module in sorted(sys.modules.items()):
        path = getattr(module, "__file__", None)
        if not path or name == "__main__":
            continue
        if path.endswith(".so"):
            programs.append(path)
            yield path, path
        elif not name.startswith(("guest_agent", "frames")):
            compiled = str(scratch / f"{name}.pyc")
            py_compile.compile(path, compiled, doraise=True)
            yield str(Path(path).with_suffix(".pyc")), compiled
    yield "/usr/bin/python3", str(Path(sys.executable).resolve())
    yield from ((library, library) for library in libraries(programs))


def libraries(programs: list[str]) -> list[str]:
    """The shared libraries that programs need, and their loader, by the names by which it looks for them."""
    answer = subprocess.run(["ldd", *programs], check=True, capture_output=True, text=True).stdout
    found = (word for line in answer.splitlines() for word in line.split() if word.startswith("/"))
    return sorted({path for path in found if not path.endswith(":")})


if __name__ == "__main__":
    for name, path in files(Path(sys.argv[1])):
        sys.stdout.write(f"{name}\t{path}\n")
