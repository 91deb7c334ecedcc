"""The OCI engine on this machine: which one, its version, how it is called."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from sonata.errors import Unsupported

_SEARCH = "/usr/local/bin:/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin"


@dataclass(frozen=True, slots=True)
class Engine:
    """crun or runc.

    Args:
        state: its folder for running machines, ours alone.
        cgroups: whether it may make cgroups.
    """

    program: str
    version: str
    state: Path
    cgroups: bool = False

    @property
    def kind(self) -> str:
        """`crun` or `runc`."""
        return Path(self.program).name

    def command(self, *arguments: str, log: Path) -> list[str]:
        """Arguments of a call whose complaints go to a file, since `run` hands stdout and stderr to the machine."""
        options = ["--root", str(self.state), f"--log={log}"]
        if self.kind == "crun":
            options.append(f"--cgroup-manager={'cgroupfs' if self.cgroups else 'disabled'}")
        return [self.program, *options, *arguments]


def find_engine(state: Path, *, prefer: tuple[str, ...] = ("crun", "runc")) -> Engine:
    """The first engine that is installed and runs.

    Raises:
        Unsupported: neither is; names the package.
    """
    for name in prefer:
        program = shutil.which(name, path=_SEARCH)
        if program is None:
            continue
        answer = subprocess.run([program, "--version"], capture_output=True, text=True, check=False)
        if answer.returncode == 0:
            first = answer.stdout.splitlines()[0].replace(" version ", " ")
            return Engine(program, first, state)
    raise Unsupported(
        f"no OCI runtime is installed, looked for {', '.join(f'`{name}`' for name in prefer)}",
        hint="as root: apt-get install --no-install-recommends crun",
    )
