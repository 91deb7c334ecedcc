"""Where the kernel lets us limit machines, and removing what is left there.

Machines live in `<prefix>/<machine id>` of every hierarchy, those of a group in `<prefix>/<group>.group/<machine id>`,
so that a clean-up after a crash needs the prefix alone.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import time
from collections.abc import Iterable, Mapping
from dataclasses import field
from pathlib import Path
from typing import Literal

from sonata._lib.values import dataclass
from sonata.adapters.runtime_oci.mounts import MS_PRIVATE, MS_REC, mount
from sonata.errors import AdapterError
from sonata.ports.runtime import Usage

_HYBRID = Path("/sys/fs/cgroup/unified")
_WANTED = ("cpu", "memory", "pids")
_USEFUL = ("cpuset", "freezer", "cpuacct")
"""Controllers that some features need; their absence limits nothing that every machine has."""
_LAST_TASK_GONE_S = 2.0


@dataclass(frozen=True, slots=True)
class Cgroups:
    """The limits that can be enforced below one prefix.

    Args:
        version: of the interface, `none` when no cgroup can be made.
        prefix: cgroup path below which machines live, relative to each hierarchy's mount.
        controllers: folder of the hierarchy by controller that works here.
        unenforced: reason by limit that does not.
        hierarchies: mount points of all hierarchies; engines make a cgroup in each.
        groups: the group of each machine that is in one.
        names: the last part of a machine's cgroup, where it is not its id.
    """

    version: Literal["v1", "v2", "none"]
    prefix: str
    controllers: Mapping[str, Path]
    unenforced: Mapping[str, str]
    hierarchies: tuple[Path, ...] = ()
    groups: dict[str, str] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)

    def path_of(self, machine: str) -> str:
        """The cgroup of a machine as an OCI engine wants it."""
        return f"/{self.place_of(machine)}"

    def place_of(self, machine: str) -> str:
        """The cgroup of a machine below the mount of a hierarchy."""
        return f"{self.parent_of(machine)}/{self.names.get(machine, machine)}"

    def parent_of(self, machine: str) -> str:
        """The cgroup in which that of a machine is."""
        group = self.groups.get(machine)
        return self.place_of_group(group) if group else self.prefix

    def place_of_group(self, group: str) -> str:
        """The cgroup that holds the machines of a group; no machine has such an id."""
        return f"{self.prefix}/{group}.group"

    def was_out_of_memory(self, machine: str) -> bool:
        """Whether the kernel killed a process of the machine for want of memory."""
        if "memory" not in self.controllers:
            return False
        folder = self.controllers["memory"] / self.place_of(machine)
        events = folder / ("memory.events" if self.version == "v2" else "memory.oom_control")
        try:
            counts = dict(line.split() for line in events.read_text().splitlines())
        except OSError:
            return False
        return int(counts.get("oom_kill", 0)) > 0

    @property
    def can_freeze(self) -> bool:
        """Whether machines can be paused; version 2 always can."""
        return self.version == "v2" or "freezer" in self.controllers

    def usage_of(self, place: str) -> Usage:
        """What the processes in a cgroup use, those of the cgroups below it included; zeros where nobody counts."""
        memory = "memory.current" if self.version == "v2" else "memory.usage_in_bytes"
        return Usage(
            self._cpu_time_s(place), self._number("memory", place, memory), self._number("pids", place, "pids.current")
        )

    def _number(self, controller: str, place: str, file: str) -> int:
        folder = self.controllers.get(controller)
        try:
            return int(_read(f"{folder}/{place}/{file}")) if folder else 0
        except (OSError, ValueError):
            return 0

    def _cpu_time_s(self, place: str) -> float:
        if self.version != "v2":
            return self._number("cpuacct", place, "cpuacct.usage") / 1e9
        folder = self.controllers.get("cpu")
        try:
            lines = (folder / place / "cpu.stat").read_text().splitlines() if folder else []
        except OSError:
            return 0.0
        return int(dict(map(str.split, lines)).get("usage_usec", 0)) / 1e6

    def hasten_moves(self) -> None:
        """Let the next process that is moved to a cgroup be moved at once; blocks, so it is called beside other work.

        The first move waits until the kernel's readers of all cgroups are done (a grace period of RCU, 10 ms and more),
        those that follow soon do not. So we go ahead, and move ourselves to where we are.
        """
        for name, folder in self.controllers.items():
            with contextlib.suppress(OSError):  # not ours to write to: then the machine's move is the first
                (folder / _own_cgroup(name).lstrip("/") / "cgroup.procs").write_text("0")
                return

    def members(self, machine: str) -> set[int]:
        """Processes in a machine's own cgroup of any hierarchy."""
        found: set[int] = set()
        for hierarchy in self.hierarchies:
            with contextlib.suppress(OSError):  # none yet, or none any more
                listed = (hierarchy / self.place_of(machine) / "cgroup.procs").read_text().split()
                found.update(map(int, listed))
        return found - {0, os.getpid()}

    def is_frozen(self, machine: str) -> bool:
        """Whether the kernel holds a machine."""
        for hierarchy in self.hierarchies:
            for file, word in (("freezer.state", "FROZEN"), ("cgroup.freeze", "1")):
                with contextlib.suppress(OSError):
                    if (hierarchy / self.place_of(machine) / file).read_text().strip() == word:
                        return True
        return False

    def thaw(self, machine: str) -> None:
        """Let a machine go on, whatever its engine knows of it; idempotent."""
        for hierarchy in self.hierarchies:
            for file, word in (("freezer.state", "THAWED"), ("cgroup.freeze", "0")):
                control = hierarchy / self.place_of(machine) / file
                if control.exists():
                    control.write_text(word)

    def remove(self, machine: str) -> None:
        """Remove a machine's cgroups in all hierarchies.

        Raises:
            AdapterError: processes still live in one of them.
        """
        deadline = time.monotonic() + _LAST_TASK_GONE_S
        for hierarchy in self.hierarchies:
            folder = hierarchy / self.place_of(machine)
            if folder.exists():
                _remove(folder, deadline)
        _forget_hidden(self.place_of(machine))
        self.groups.pop(machine, None)
        self.names.pop(machine, None)


def _read(file: str) -> bytes:
    """A short file at once: hundreds of them are read every few seconds, and a stream takes three times as long."""
    descriptor = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.read(descriptor, 4096)
    finally:
        os.close(descriptor)


def _own_cgroup(controller: str) -> str:
    """The cgroup in which this process is, in the hierarchy of a controller (cgroups(7): `id:controllers:path`)."""
    known = (line.split(":", 2)[1:] for line in Path("/proc/self/cgroup").read_text().splitlines())
    paths = {name: path for names, path in known for name in names.split(",")}
    return paths.get(controller, paths.get("", "/"))  # version 2 names none


def hierarchies() -> Mapping[Path, tuple[str, ...]]:
    """Mount points of all cgroup hierarchies, with their mount options (version 1: the controllers are among them)."""
    on_top: dict[str, tuple[str, str]] = {}  # a later mount on the same folder hides an earlier one
    for line in Path("/proc/self/mounts").read_text().splitlines():
        _, folder, kind, options, *_ = line.split()
        on_top[folder] = kind, options
    return {
        Path(folder): ("cgroup2",) if kind == "cgroup2" else tuple(options.split(","))
        for folder, (kind, options) in on_top.items()
        if kind in {"cgroup", "cgroup2"}
    }


def detect(prefix: str) -> Cgroups:
    """Find out, by trying, which limits can be enforced below this prefix."""
    mounted = hierarchies()
    unified = [folder for folder, options in mounted.items() if options == ("cgroup2",)]
    if Path("/sys/fs/cgroup") in unified:
        return _detect_v2(Path("/sys/fs/cgroup"), prefix)
    return _detect_v1({folder: options for folder, options in mounted.items() if folder not in unified}, prefix)


def _detect_v1(mounted: Mapping[Path, tuple[str, ...]], prefix: str) -> Cgroups:
    controllers: dict[str, Path] = {}
    unenforced: dict[str, str] = {}
    for name in _WANTED:
        folder = next((folder for folder, options in mounted.items() if name in options), None)
        if folder is None:
            unenforced[name] = f"the kernel has no {name} cgroup controller"
        elif reason := _refusal(folder / prefix):
            unenforced[name] = f"the host delegates no {name} cgroup: {reason}"
        else:
            controllers[name] = folder
    for name in _USEFUL if controllers else ():
        folder = next((folder for folder, options in mounted.items() if name in options), None)
        if folder and not _refusal(folder / prefix):
            controllers[name] = folder
    return Cgroups("v1" if controllers else "none", prefix, controllers, unenforced, tuple(mounted))


def _detect_v2(folder: Path, prefix: str) -> Cgroups:
    try:
        offered = (folder / "cgroup.controllers").read_text().split()
        usable = [name for name in (*_WANTED, "cpuset") if name in offered]
        parent = folder
        for part in Path(prefix).parts:
            enable(parent, usable)
            parent /= part
            parent.mkdir(exist_ok=True)
        enable(parent, usable)
    except OSError as error:
        reason = f"the host delegates no cgroups: {error.strerror}"
        return Cgroups("none", prefix, {}, dict.fromkeys(_WANTED, reason))
    missing = {n: f"the host does not offer the {n} cgroup controller" for n in _WANTED if n not in usable}
    return Cgroups("v2", prefix, dict.fromkeys(usable, folder), missing, (folder,))


def enable(folder: Path, controllers: Iterable[str]) -> None:
    """Let the cgroups below one of version 2 have these controllers."""
    (folder / "cgroup.subtree_control").write_text(" ".join(f"+{name}" for name in controllers))


def _refusal(folder: Path) -> str:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        return error.strerror or str(error)
    return "" if os.access(folder, os.W_OK) else "permission denied"


def leftover_cgroups(prefix: str) -> list[Path]:
    """All cgroup folders at and below a prefix, deepest first."""
    found: list[Path] = []
    for hierarchy in hierarchies():
        top = hierarchy / prefix
        found += [Path(folder) for folder, _, _ in os.walk(top, topdown=False)]
    return found


def remove_cgroups(prefix: str) -> None:
    """Remove the cgroups at and below a prefix; waits up to two seconds for the last processes to vanish.

    Raises:
        AdapterError: processes still live in one of them.
    """
    deadline = time.monotonic() + _LAST_TASK_GONE_S
    for folder in leftover_cgroups(prefix):
        _remove(folder, deadline)
    _forget_hidden(prefix)
    for hierarchy in {*hierarchies(), _HYBRID}:
        _remove_empty_parents(hierarchy, hierarchy / prefix)


def _remove(folder: Path, deadline: float) -> None:
    while not _removed(folder):
        if time.monotonic() > deadline:
            raise AdapterError(
                f"cgroup `{folder}` cannot be removed: processes live in it", hint=f"see `cat {folder}/cgroup.procs`"
            )
        time.sleep(0.002)


def _remove_empty_parents(hierarchy: Path, folder: Path) -> None:
    """Remove what a prefix of several parts leaves, unless somebody else has something there."""
    while (folder := folder.parent) != hierarchy and folder.is_relative_to(hierarchy):
        with contextlib.suppress(OSError):
            folder.rmdir()


def _forget_hidden(path: str) -> None:
    """Remove what engines made in the folder that hides the version 2 mount, as they take it for a hierarchy."""
    if (_HYBRID / path).is_dir() and _HYBRID not in hierarchies():
        shutil.rmtree(_HYBRID / path, ignore_errors=True)


def _removed(folder: Path) -> bool:
    try:
        folder.rmdir()
    except FileNotFoundError:
        return True
    except OSError as error:
        if error.errno != errno.EBUSY:
            raise AdapterError(f"cgroup `{folder}` cannot be removed: {error.strerror}") from error
        return False
    return True


def hide_hybrid_cgroup() -> None:
    """Hide the version 2 mount of a hybrid host, with which crun refuses to work.

    To be called once, in a mount namespace of one's own, before threads start; does nothing on other hosts.

    Raises:
        AdapterError: this process shares the mount namespace of the machine's first process.
    """
    if _HYBRID not in hierarchies():
        return
    if os.getpid() != 1 and os.readlink("/proc/self/ns/mnt") == _namespace_of_first():
        raise AdapterError(
            f"`{_HYBRID}` must not be hidden from the whole host",
            hint="enter a mount namespace first, e.g. with `unshare --mount`",
        )
    mount("none", Path("/"), flags=MS_REC | MS_PRIVATE)
    # Not by taking the mount away: below it is a folder of the host, in which engines would leave theirs.
    mount("none", _HYBRID, "tmpfs", options="size=64m,mode=755")


def _namespace_of_first() -> str:
    try:
        return os.readlink("/proc/1/ns/mnt")
    except OSError:
        return ""  # another user's: then it is not ours
