"""The OCI engine on this machine: which one, its version, how it is called."""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from io import FileIO
from pathlib import Path

import sonata
from sonata._lib.launcher.rights import LIBRARY
from sonata._lib.values import dataclass
from sonata.adapters.runtime_oci.live_mounts import protect
from sonata.adapters.runtime_oci.mounts import unmount
from sonata.errors import Unsupported

_SEALS = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE
_SEARCH = "/usr/local/bin:/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin"


OWN = "launcher"
"""The name of our own engine."""

ENGINES = ("crun", "runc", OWN)
"""All engines, best first."""

_SOURCES = Path(sonata.__file__).parents[1]


@dataclass(frozen=True, slots=True)
class Engine:
    """crun, runc, or our own.

    Args:
        state: its folder for running machines, ours alone.
        cgroups: whether it may make cgroups.
        copy: the sealed copy that `program` leads to, None where it is the installed program.
        shield: the interpreter of our own, mounted over itself so that nobody can change it; None for others.
    """

    program: str
    version: str
    state: Path
    cgroups: bool = False
    copy: FileIO | None = None
    shield: Path | None = None

    @property
    def kind(self) -> str:
        """`crun`, `runc` or `launcher`."""
        return Path(self.program).name

    def command(self, *arguments: str, log: Path) -> list[str]:
        """Arguments of a call whose complaints go to a file, since `run` hands stdout and stderr to the machine."""
        options = ["--root", str(self.state), f"--log={log}"]
        if self.kind == "crun":
            options.append(f"--cgroup-manager={'cgroupfs' if self.cgroups else 'disabled'}")
        return [self.program, *options, *arguments]

    def shielded(self) -> Engine:
        """The engine, its interpreter protected in this mount namespace from machines, which could change it, too."""
        if self.kind != OWN:
            return self
        interpreter = Path(_python())
        protect(interpreter)
        return replace(self, shield=interpreter)

    def close(self) -> None:
        """Let go of what it is called by; idempotent."""
        if self.copy:
            self.copy.close()
        if self.shield:
            with contextlib.suppress(OSError):
                unmount(self.shield)


def find_engine(state: Path, *, prefer: tuple[str, ...] = ENGINES) -> Engine:
    """The first engine that is installed and runs.

    Raises:
        Unsupported: neither is; names the package.
    """
    for name in prefer:
        program = _own(state.with_name("own")) if name == OWN else shutil.which(name, path=_SEARCH)
        if program is None:
            continue
        for engine in (_sealed(program, state), Engine(program, "", state)):
            if engine and (version := _version(engine)):
                return replace(engine, version=version)
    raise Unsupported(
        f"no OCI runtime is installed, looked for {', '.join(f'`{name}`' for name in prefer)}",
        hint="as root: apt-get install --no-install-recommends crun",
    )


def _own(folder: Path) -> str | None:
    """Our own engine as a program: a script for this Python; None where the library that it needs is missing."""
    try:
        ctypes.CDLL(LIBRARY)
    except OSError:
        return None
    folder.mkdir(parents=True, exist_ok=True)
    script = folder / OWN
    code = f"import sys; sys.path.insert(0, {str(_SOURCES)!r})\nfrom sonata._lib.launcher.main import main\nmain()\n"
    script.write_text(f"#!{_python()} -IS\n{code}")
    script.chmod(0o700)
    return str(script)


def _python() -> str:
    """This Python as a program without a virtual environment, which `-S` leaves out anyway."""
    return os.path.realpath(sys.executable)


def _version(engine: Engine) -> str:
    """What an engine says that it is; empty when it does not run."""
    try:
        answer = subprocess.run([engine.program, "--version"], capture_output=True, text=True, check=False)
    except OSError:
        return ""
    return "" if answer.returncode else answer.stdout.splitlines()[0].replace(" version ", " ")


def _sealed(program: str, state: Path) -> Engine | None:
    """An engine called by a copy of it that nobody can change; None where the kernel has no such copies.

    A machine could get hold of its engine by `/proc/self/exe` and change it (CVE-2019-5736). So engines copy themselves
    at each start and begin anew, unless they are sealed already.
    """
    with contextlib.ExitStack() as undone:
        try:
            copy = undone.enter_context(_copied(Path(program)))
            fcntl.fcntl(copy, fcntl.F_ADD_SEALS, _SEALS)
        except OSError:
            return None
        undone.pop_all()
    path = state.with_name("engines") / Path(program).name  # processes bear the name by which they were called
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    path.symlink_to(f"/proc/{os.getpid()}/fd/{copy.fileno()}")
    return Engine(str(path), "", state, copy=copy)


def _copied(program: Path) -> FileIO:
    """A copy of a program in memory."""
    copy = os.fdopen(os.memfd_create(program.name, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING), "wb", buffering=0)
    copy.write(program.read_bytes())
    return copy
