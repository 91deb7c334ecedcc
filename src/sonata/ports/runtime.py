"""Running confined processes: VNFs of the emulator, sandboxes of managers.

Every adapter passes the same contract suite. Raises `sonata.errors.NotFound` for unknown machines and
`sonata.errors.AdapterError` when the engine fails.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import field
from pathlib import Path
from typing import Protocol

from sonata._lib.values import dataclass

DISK_FILE = "disk.qcow2"
"""What the disk of a machine that boots one consists of: a layer over its image, in the folder `RootFs.disk`."""

VIRTUAL = "vm"
"""The engine of virtual machines, which have a kernel of their own."""

Tell = Callable[[str, bytes], Awaitable[None]]
"""Takes output of a command as it comes: the name of the stream, `stdout` or `stderr`, and what was written to it."""


def _has_content(folder: Path) -> bool:
    return folder.is_dir() and not folder.is_symlink() and any(folder.iterdir())


@dataclass(frozen=True, slots=True)
class DiskImage:
    """A whole disk with a boot loader and an operating system of its own, which virtual machines alone can boot.

    Args:
        file: its data, which are read alone.
        format: `raw` or `qcow2`; never guessed, since whoever fills a raw disk could make it look like another.
        size_bytes: of the disk that the machine has, at least that of the image; 0 for just that.
    """

    file: Path
    format: str
    size_bytes: int = 0


@dataclass(frozen=True, slots=True)
class RootFs:
    """What a machine sees as `/`.

    Args:
        layers: directories, topmost first, that are the read-only lower layers of an overlay. Empty means the
            `host` root: read-only `/usr`, allow-listed `/etc`, synthetic passwd, nothing else of the host.
        on_host: whether the layers lie on top of the `host` root.
        disk: folder that keeps what is written beyond the machine's end, made if missing; None for none. What is in
            it is the engine's affair, see `Runtime.disk_content`.
        folder: a root that is kept and is written to itself, without layers. Where neither `/bin` nor `/usr` has
            anything it is a `host` root, furnished at its first start.
        image: a disk to boot, instead of layers and folder. Such a machine runs what is on it, and nothing else: it
            has neither program nor commands, its terminal is its serial console, and each folder among its binds is a
            read-only disk, labelled by the last part of its target.
    """

    layers: tuple[Path, ...] = ()
    on_host: bool = False
    disk: Path | None = None
    folder: Path | None = None
    image: DiskImage | None = None

    @property
    def needs_host(self) -> bool:
        """Whether the `host` root is at its bottom."""
        if self.folder:
            return not any(_has_content(self.folder / name) for name in ("bin", "usr"))
        return self.on_host or not self.layers


@dataclass(frozen=True, slots=True)
class Bind:
    """A file, folder or socket of the host made visible in the machine."""

    source: Path
    target: str
    read_only: bool = True


@dataclass(frozen=True, slots=True)
class Limits:
    """Resource limits; None means none.

    Args:
        cpus: in cores; 0.5 is half a core.
        cpu_period_us: over which `cpus` is measured.
        cpu_shares: weight against other machines when cores are short, 1024 being usual (cgroup v1 `cpu.shares`).
        cores: numbers of the only processors that it may run on; empty for all.
        disk_bytes: size of the disk that takes what it writes to its root, and of one for each attached root; files
            count as they do on a disk, and none can be made when it is full. A root that is a folder or a disk that is
            booted has a size of its own. A disk that is kept gets its size at each start.
    """

    cpus: float | None = None
    memory_bytes: int | None = None
    pids: int | None = 512
    cpu_period_us: int = 100_000
    cpu_shares: int | None = None
    cores: tuple[int, ...] = ()
    disk_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class HugePages:
    """Huge pages that a machine has for itself in `/dev/hugepages`: their size, and all of them, in bytes."""

    page_bytes: int
    total_bytes: int


@dataclass(frozen=True, slots=True)
class Attached:
    """A further root file system that a machine sees below a folder."""

    root: RootFs
    target: str


@dataclass(frozen=True, slots=True)
class Usage:
    """What a machine uses: CPU time since its start in seconds, memory in bytes, processes and threads."""

    cpu_s: float
    memory_bytes: int
    tasks: int


@dataclass(frozen=True, slots=True)
class MachineSpec:
    """One confined machine.

    Args:
        id: unique; letters, digits and `-`.
        argv: its program; empty for an idle machine that only waits.
        netns: path of the network namespace to join; None for a new, empty one (loopback only).
        console: file to which stdout and stderr are appended; of what a machine prints without end the newest part is
            kept, at least 1 MiB. A running machine's file may have a hole at its beginning.
        network_admin: whether it may configure its own network (VNFs may, managers may not).
        uid: user id to run as inside.
        resolver: content of its /etc/resolv.conf.
        huge_pages: taken from the host as long as it runs; it does not start when there are not enough.
        group: whose limits it shares with others, see `Groups`; empty for none.
        engine: `VIRTUAL` for a virtual machine, empty for the usual engine. Who is one engine does not look at it.
    """

    id: str
    hostname: str
    root: RootFs
    argv: tuple[str, ...]
    console: Path
    env: Mapping[str, str] = field(default_factory=dict)
    netns: str | None = None
    limits: Limits = field(default_factory=Limits)
    binds: tuple[Bind, ...] = ()
    attached: tuple[Attached, ...] = ()
    network_admin: bool = True
    uid: int = 0
    cwd: str = "/"
    resolver: str = ""
    huge_pages: HugePages | None = None
    group: str = ""
    engine: str = ""


@dataclass(frozen=True, slots=True)
class MachineExit:
    """How a machine's program ended."""

    machine: str
    status: int
    reason: str


OnExit = Callable[[MachineExit], Awaitable[None]]


class Terminal(Protocol):
    """A pseudoterminal with a program of a machine on it."""

    async def read(self) -> bytes:
        """What the program printed next; empty when it has ended."""

    async def write(self, typed: bytes) -> None:
        """Type something."""

    def resize(self, rows: int, columns: int) -> None:
        """Tell the program how large its window is."""

    async def close(self) -> None:
        """Hang up; the program is gone at return. Idempotent."""


class LiveFolders(Protocol):
    """Folders that come and go in machines that run."""

    async def attach_folder(self, machine_id: str, bind: Bind) -> None:
        """Show a folder of the host in a running machine, at once.

        Raises:
            InvalidInput: the target is no absolute path, or is taken by something else.
        """

    async def detach_folder(self, machine_id: str, target: str) -> None:
        """Take such a folder, or one of its binds, out of a running machine; idempotent.

        Raises:
            Conflict: a process of the machine uses it.
        """


class Groups(Protocol):
    """Machines that share what all of them together may have. A group is there as soon as it is named."""

    async def set_group(self, name: str, limits: Limits) -> None:
        """Limit the processors and the memory of a group, and weigh it against others when cores are short.

        A machine of the group may have no more processors than the group. Where the host enforces no limits, neither
        does this, see `Runtime.unenforced`.

        Raises:
            AdapterError: the kernel refused.
        """

    async def group_usage(self, name: str) -> Usage:
        """What the machines of a group use, and what all have used that it ever had; zeros where nobody counts."""


class Observed(Protocol):
    """What is known of machines that run."""

    def pid_of(self, machine_id: str) -> int:
        """Host-side pid of the first process of a machine that runs.

        Raises:
            NotFound: it does not run.
        """

    async def is_listening(self, machine_id: str, tcp_port: int) -> bool:
        """Whether a process in the machine's network namespace listens on this TCP port."""

    async def usage(self, machine_id: str) -> Usage:
        """What a machine uses at this moment; zeros where the host does not count."""


class Runtime(LiveFolders, Groups, Observed, Protocol):
    """An engine that runs machines."""

    @property
    def name(self) -> str:
        """Engine and version, for people."""

    @property
    def unenforced(self) -> Mapping[str, str]:
        """Limits that the host does not let us enforce, with the reason: e.g. {"memory": "no cgroup delegation"}."""

    async def start(
        self, spec: MachineSpec, on_exit: OnExit | None = None, *, after: Awaitable[object] | None = None
    ) -> int:
        """Start a machine and return the host-side pid of its first process.

        At return its program has been executed. `on_exit` is awaited once when the program ends by itself.

        With `after` the program is executed when that is done, and all that it needs is made ready meanwhile. Where
        that fails, nothing is started, and its error is raised.

        Raises:
            PermanentError: the program or root file system does not exist or cannot be executed.
            Conflict: a machine of this id runs.
        """

    async def stop(self, machine_id: str, *, grace_s: float = 2.0) -> None:
        """End a machine (SIGTERM, then SIGKILL after `grace_s`), drop its overlay and cgroup. Idempotent."""

    async def exec(
        self, machine_id: str, argv: Sequence[str], *, stdin: bytes = b"", tell: Tell | None = None
    ) -> tuple[int, bytes, bytes]:
        """Run a command inside; returns exit status, stdout and stderr (each at most 10 MiB).

        With `tell` the output goes there as it comes, all of it, and none is returned. Ends the command when cancelled.
        """

    async def pause(self, machine_id: str) -> None:
        """Freeze all processes of a machine, memory and all; idempotent.

        Raises:
            Unsupported: the host has no freezer for us.
        """

    async def resume(self, machine_id: str) -> None:
        """Let a frozen machine go on where it stood; idempotent."""

    async def set_limits(self, machine_id: str, limits: Limits) -> None:
        """Change the limits of a running machine.

        Raises:
            AdapterError: the kernel refused, e.g. since more memory is in use than is left to it; or the machine has to
                be started anew for it.
        """

    async def terminal(self, machine_id: str, argv: Sequence[str], *, rows: int = 24, columns: int = 80) -> Terminal:
        """Run a program inside on a terminal of its own; without one, open the serial console of what boots a disk.

        Raises:
            PermanentError: it does not exist or cannot be executed.
            Unsupported: it boots a disk, whose programs are its own affair.
            Conflict: somebody has its serial console open.
        """

    def disk_content(self, disk: Path) -> AbstractAsyncContextManager[Path]:
        """For a block, a folder with what is on the disk of a machine (`RootFs.disk`), running or not.

        It holds `upper`, what was written over layers, or the file `DISK_FILE`; neither when nothing was written.

        Raises:
            AdapterError: the disk cannot be opened.
        """

    async def close(self) -> None:
        """End all machines."""


class Fleet(Runtime, Protocol):
    """Several engines as one: machines say in which of them they run."""

    def disk_refusal(self) -> str:
        """Why no machine can boot a disk here, and how that is changed; empty when virtual machines can."""
