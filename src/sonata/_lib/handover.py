"""An OCI engine for Podman and Docker: the one that is installed, with our document of the machine in place of theirs.

They call it as they call any engine. What they would have made of their options is less than a machine is promised (a
network namespace and network settings of its own, the rest of the kernel's settings read-only), so that a machine is
the same under all engines. It keeps its state where we find it, so that commands reach it without them.

Standard library alone: it is a program of its own at each call.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

FOLDER = "SONATA_MACHINE"
"""The environment variable by which Podman and Docker pass on the folder of a machine."""


def main(engine: str, state: str) -> None:
    """Become the engine, with its state in a folder of ours; `create` takes our document."""
    words = list(_with_state(sys.argv[1:], state))
    if "create" in words:
        _hand_over(Path(_value(words, "--bundle")), Path(_value(words, "--pid-file")))
    elif "update" in words:
        words = [_without_zeros() if word == "-" else word for word in words]
    os.execv(engine, [engine, *words])  # noqa: S606  # nosec B606


def _with_state(words: list[str], state: str) -> list[str]:
    """The words of a call, with another folder for the engine's state."""
    rest = list(words)
    for number, word in enumerate(words):
        if word == "--root":
            del rest[number : number + 2]
        elif word.startswith("--root="):
            del rest[number]
    return ["--root", state, *rest]


def _value(words: list[str], option: str) -> str:
    for number, word in enumerate(words):
        if word in (option, option[1:3]):  # `-b` is short for `--bundle`
            return words[number + 1]
        if word.startswith(f"{option}="):
            return word.partition("=")[2]
    sys.exit(f"`create` without {option}")


def _without_zeros() -> str:
    """The resources on our standard input, as a file without what is zero, by which Docker says unchanged."""
    given = json.load(sys.stdin)
    by_kind = {kind: values for kind, values in given.items() if isinstance(values, dict)}
    kept = {kind: {name: value for name, value in values.items() if value} for kind, values in by_kind.items()}
    file = os.memfd_create("resources", 0)
    os.write(file, json.dumps(kept).encode())
    return f"/proc/self/fd/{file}"


def _hand_over(bundle: Path, pid_file: Path) -> None:
    """Put our document in the place of theirs; what they count and limit stays where they look for it."""
    theirs = json.loads((bundle / "config.json").read_bytes())
    named = dict(entry.split("=", 1) for entry in theirs["process"]["env"] if "=" in entry)
    folder = Path(named[FOLDER])
    ours = json.loads((folder / "config.json").read_bytes())
    ours["linux"].pop("cgroupsPath", None)
    if path := theirs["linux"].get("cgroupsPath"):
        ours["linux"]["cgroupsPath"] = path
    (bundle / "config.json").write_text(json.dumps(ours))
    (folder / "pid").symlink_to(pid_file)
    console = os.open(folder / "console", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    for stream in (1, 2):
        os.dup2(console, stream)
