"""The sandbox of one manager: its files on the host, and what of them it sees.

    HOST FOLDER/<machine>/bus/bus.sock ->  /run/sonata/bus.sock   (its identity; the folder is read-only)
    HOST FOLDER/<machine>/bus/entry    ->  /run/sonata/entry      (a pipe: tells a sandbox that waits what to run)
    HOST FOLDER/<machine>/package/     ->  /package               (read-only)
    this installation's Python         ->  where it is            (read-only)

It has the `host` root, no network but an empty one, no capability, a user of its own, and bounds on memory, processor
time and processes.
"""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import shutil
from collections.abc import Mapping
from dataclasses import field, replace
from pathlib import Path, PurePosixPath

from sonata._lib.tails import tail
from sonata._lib.values import dataclass
from sonata.errors import InvalidInput, ManagerError, Unsupported
from sonata.ports.managers import ManagerLaunch
from sonata.ports.runtime import Bind, Limits, MachineSpec, RootFs

PACKAGE, SOCKET_FOLDER, SOCKET, ENTRY = "/package", "/run/sonata", "bus.sock", "entry"
NOBODY = 65534
MAX_PROCESSES = 64
MAX_LOGS = 200
MAX_SOCKET_PATH = 107
"""Bytes that the kernel takes for the path of a unix socket, unix(7)."""
_INSTANCE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}")


@dataclass(frozen=True, slots=True)
class PythonLaunch:
    """How the Python of this installation is run in a sandbox.

    Args:
        argv: command to which the path of a manager's file is added.
        binds: what of the host it needs, read-only, and nothing secret.
        env: variables that it needs.
    """

    argv: tuple[str, ...]
    binds: tuple[Bind, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Sandbox:
    """Paths of one manager below the host's folder.

    Args:
        name: of the manager's log.
        machine: id of its machine, and its folder; short, since socket paths must be.
    """

    name: str
    folder: Path
    machine: str

    @property
    def socket(self) -> Path:
        """The manager's own bus socket."""
        return self.folder / self.machine / "bus" / SOCKET

    @property
    def entry(self) -> Path:
        """The pipe that tells a waiting machine what to run."""
        return self.folder / self.machine / "bus" / ENTRY

    @property
    def package(self) -> Path:
        """Where its files are written."""
        return self.folder / self.machine / "package"

    @property
    def log(self) -> Path:
        """What it prints; stays after it has ended."""
        return self.folder / f"{self.name}.log"

    def make(self) -> None:
        """Make its folders afresh."""
        self.clear()
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.log.unlink(missing_ok=True)
        self._forget_old_logs()
        for folder in (self.socket.parent, self.package):
            folder.mkdir(parents=True, mode=0o755)

    def fill(self, launch: ManagerLaunch) -> None:
        """Write the package's files.

        Raises:
            InvalidInput: a path leaves the package, or is file and folder at once.
        """
        for path, content in launch.files.items():
            _write(self.package / safe_path(path), content)

    def open_entry(self) -> int:
        """Make the pipe; a line that is written to the descriptor waits in it until the machine reads it."""
        os.mkfifo(self.entry)
        self.entry.chmod(0o644)
        # Open both ways: neither this call nor a write waits for the reader.
        return os.open(self.entry, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)

    def taken_over_from(self, spare: Sandbox) -> Sandbox:
        """This manager in the machine of a spare sandbox, whose log becomes its own."""
        spare.log.rename(self.log)
        return replace(self, machine=spare.machine)

    def clear(self) -> None:
        """Remove all but the log. Idempotent."""
        shutil.rmtree(self.folder / self.machine, ignore_errors=True)

    def _forget_old_logs(self) -> None:
        logs = sorted(self.folder.glob("manager-*.log"), key=lambda log: log.stat().st_mtime)
        for log in logs[:-MAX_LOGS]:
            log.unlink(missing_ok=True)

    def read_log(self, limit: int) -> str:
        """The last `limit` bytes of what the manager printed."""
        return tail(self.log, limit).decode(errors="replace")

    def spec(self, launch: ManagerLaunch, python: PythonLaunch) -> MachineSpec:
        """The machine to start; a launch without entry waits to be told one."""
        waiting = (f"{SOCKET_FOLDER}/{ENTRY}", PACKAGE)
        entry = (f"{PACKAGE}/{safe_path(launch.entry)}",) if launch.entry else waiting
        return MachineSpec(
            id=self.machine,
            hostname="manager",
            root=RootFs(),
            argv=(*python.argv, *entry),
            console=self.log,
            env={
                **python.env,
                "HOME": "/tmp",  # noqa: S108  # nosec B108  # the sandbox's own
                "PYTHONUNBUFFERED": "1",
                "SONATA_BUS": f"ws+unix:{SOCKET_FOLDER}/{SOCKET}",
                "SONATA_MEMORY_BYTES": str(launch.memory_bytes),
            },
            limits=Limits(cpus=launch.cpus, memory_bytes=launch.memory_bytes, pids=MAX_PROCESSES),
            binds=(*python.binds, Bind(self.socket.parent, SOCKET_FOLDER), Bind(self.package, PACKAGE)),
            network_admin=False,
            uid=NOBODY,
            cwd="/tmp",  # noqa: S108  # nosec B108  # the sandbox's own
        )


def sandbox_of(instance: str, folder: Path) -> Sandbox:
    """The sandbox of an instance.

    Raises:
        InvalidInput: the instance id has other characters than letters, digits, `.`, `_` and `-`.
        Unsupported: the folder's path is too long for a socket.
    """
    if not _INSTANCE.fullmatch(instance):
        raise InvalidInput(f"manager instance `{instance[:80]}` must consist of letters, digits, `.`, `_` and `-`")
    name = "manager-" + hashlib.sha256(instance.encode()).hexdigest()[:16]
    sandbox = Sandbox(name, folder.absolute(), name)
    if len(str(sandbox.socket).encode()) > MAX_SOCKET_PATH:
        raise Unsupported(f"folder `{folder}` is too deep for a socket in it", hint="choose a data folder nearer to /")
    return sandbox


def spare_sandbox(folder: Path) -> Sandbox:
    """A sandbox for a manager to come."""
    name = f"manager-{secrets.token_hex(8)}"
    return Sandbox(name, folder.absolute(), name)


def entry_line(launch: ManagerLaunch) -> bytes:
    """What a waiting machine is told."""
    return f"{safe_path(launch.entry)}\n".encode()


def check_entry(launch: ManagerLaunch) -> None:
    """Raise ManagerError when the entry is none of the files."""
    if launch.entry not in launch.files:
        raise ManagerError(f"manager `{launch.instance}` cannot start: `{launch.entry}` is not in its package")


def _write(target: Path, content: bytes) -> None:
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
    except (FileExistsError, NotADirectoryError, IsADirectoryError) as error:
        raise InvalidInput(f"`{target.name}` is both a file and a folder of the package") from error


def safe_path(path: str) -> PurePosixPath:
    """A path inside of a package; raises InvalidInput when it would leave it."""
    pure = PurePosixPath(path)
    if pure.is_absolute() or ".." in pure.parts or not pure.parts or "\0" in path:
        raise InvalidInput(f"`{path}` is no path inside of a package")
    return pure
