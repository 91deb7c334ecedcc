"""Podman and Docker: managers of containers, each with folders, sockets and daemons of this runtime alone.

They are asked to keep a machine, and to start, pause and end it; the OCI engine that they call is ours, see
`sonata._lib.handover`. Nothing of the system's own Podman or Docker is read, used or changed.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import sonata
import sonata.adapters.runtime_oci.processes as processes
from sonata._lib import outside
from sonata._lib.handover import FOLDER
from sonata._lib.values import dataclass
from sonata.adapters.runtime_oci.engine import Engine
from sonata.adapters.runtime_oci.mounts import in_user_namespace, mount, unmount
from sonata.errors import AdapterError, Unsupported

_SEARCH = "/usr/local/bin:/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin"
_SOURCES = Path(sonata.__file__).parents[1]
_DAEMON_STARTS_S = 60.0
_DAEMON_ENDS_S = 20.0
_POLL_S = 0.05
_EMPTY = "empty"
_LONGEST_PLACE = 34


@dataclass(frozen=True, slots=True)
class Found:
    """A manager that is installed.

    Args:
        version: name and version, for people.
        programs: all programs that it consists of, by name.
        beneath: the OCI engines that it may call, best first.
    """

    name: str
    version: str
    programs: Mapping[str, str]
    beneath: tuple[str, ...]


class Manager(ABC):
    """A manager at work for one runtime.

    Args:
        found: what it consists of.
        folder: for all that is its own; made.
        engine: the OCI engine that it calls.
        notes: folder for notes about what is not below its own, and would outlive a crash.
    """

    helpers: tuple[str, ...] = ()
    """Names of the processes that it leaves to us."""

    preparing: str = ""
    """The verb by which it makes a machine whose program waits for its start; empty where it has none."""

    def __init__(self, found: Found, folder: Path, engine: Engine, notes: Path) -> None:
        self.version = f"{found.version} ({engine.version})"
        self._programs = found.programs
        self._folder = folder
        self._engine = engine
        self._notes = notes
        outside.remove(notes)
        shutil.rmtree(folder, ignore_errors=True)
        (folder / _EMPTY).mkdir(parents=True)
        self.script = _script(folder / engine.kind, engine)
        self._sheltered: list[Path] = []
        self._short = _short_place() / f"m-{secrets.token_hex(6)}"
        self._shelter(self._short)

    @abstractmethod
    def command(self, *words: str) -> list[str]:
        """A call of it."""

    @abstractmethod
    def creation(self, name: str, folder: Path, argv: tuple[str, ...], cgroup_parent: str) -> Iterator[str]:
        """The words that have it keep a machine whose bundle is in a folder, but for its limits.

        The program is told for its lists; a cgroup parent that is empty stands for no cgroup.
        """

    @abstractmethod
    def cgroup_of(self, identity: str) -> str:
        """The last part of the cgroup in which it puts a machine that it knows by this identity."""

    def limits(self, resources: Mapping[str, Any]) -> Iterator[str]:
        """Limits in its words, from those of config-linux.md, so that it knows them, too."""
        cpu = resources.get("cpu", {})
        for option, value in (
            ("cpu-quota", cpu.get("quota")),
            ("cpu-period", cpu.get("period")),
            ("cpu-shares", cpu.get("shares")),
            ("cpuset-cpus", cpu.get("cpus")),
        ):
            if value:
                yield f"--{option}={value}"
        if memory := resources.get("memory", {}).get("limit"):
            yield from (f"--memory={memory}", "--memory-swap=-1")

    @abstractmethod
    async def ready(self) -> None:
        """Begin what it needs, once."""

    async def close(self) -> None:
        """End all of it; nothing is left."""
        await asyncio.to_thread(self._remove_all)

    def _shelter(self, folder: Path) -> None:
        """Have a folder with a short path, as sockets need them, that nobody else sees, and that ends with us."""
        outside.make(folder, self._notes)
        mount("none", folder, "tmpfs", options="size=64m,mode=700")
        self._sheltered.append(folder)

    def _remove_all(self) -> None:
        for folder in _mounts_below(self._folder, self._short):
            with contextlib.suppress(OSError):
                unmount(folder)
        while self._sheltered:
            sheltered = self._sheltered.pop()
            with contextlib.suppress(OSError):
                unmount(sheltered)
            with contextlib.suppress(OSError):
                sheltered.rmdir()  # unless somebody else has something there
        shutil.rmtree(self._folder, ignore_errors=True)


class Podman(Manager):
    """Podman: a program without a daemon; a small one (conmon) stays with each machine."""

    helpers = ("conmon", "podman")
    preparing = "init"

    def __init__(self, found: Found, folder: Path, engine: Engine, notes: Path) -> None:
        super().__init__(found, folder, engine, notes)
        self._settings = folder / "containers.conf"
        self._settings.write_text(
            '[engine]\ncgroup_manager="cgroupfs"\nevents_logger="none"\nlock_type="file"\n'
            f'runtime="{engine.kind}"\n[engine.runtimes]\n{engine.kind}=["{self.script}"]\n'
        )

    def command(self, *words: str) -> list[str]:
        """A call of podman."""
        names = {"root": "all", "runroot": "run", "tmpdir": "tmp"}  # podman takes no longer path than 50 characters
        folders = [f"--{option}={self._short / name}" for option, name in names.items()]
        # What it starts writes files to where it was called.
        own = (f"--chdir={self._folder}", f"CONTAINERS_CONF={self._settings}")
        return ["/usr/bin/env", *own, self._programs["podman"], *folders, "--storage-driver=vfs", *words]

    def creation(self, name: str, folder: Path, argv: tuple[str, ...], cgroup_parent: str) -> Iterator[str]:
        """`podman create` of a container without an image."""
        yield from ("create", f"--name={name}", f"--env={FOLDER}={folder}", "--network=none", "--log-driver=none")
        yield from (
            ("--cgroups=no-conmon", f"--cgroup-parent={cgroup_parent}") if cgroup_parent else ("--cgroups=disabled",)
        )
        yield from (f"--cidfile={folder / 'name'}", "--rootfs", str(self._folder / _EMPTY), *argv)

    async def ready(self) -> None:
        """It has no daemon that would have to run."""

    def cgroup_of(self, identity: str) -> str:
        """As podman names them."""
        return f"libpod-{identity}"


class Docker(Manager):
    """Docker: a daemon of our own, in our namespaces, with a containerd of its own; they end with us."""

    helpers = ("containerd-shim",)

    def __init__(self, found: Found, folder: Path, engine: Engine, notes: Path) -> None:
        super().__init__(found, folder, engine, notes)
        self._daemons: list[subprocess.Popen[bytes]] = []
        self._begun: asyncio.Task[None] | None = None

    def command(self, *words: str) -> list[str]:
        """A call of docker."""
        own = (f"--host=unix://{self._short / 'docker'}", f"--config={self._folder}")
        return [self._programs["docker"], *own, *words]

    def creation(self, name: str, folder: Path, argv: tuple[str, ...], cgroup_parent: str) -> Iterator[str]:
        """`docker create` of a container of the empty image."""
        yield from ("create", f"--name={name}", f"--env={FOLDER}={folder}", "--network=none")
        yield from (f"--cgroup-parent={cgroup_parent}",) if cgroup_parent else ()
        yield from (f"--cidfile={folder / 'name'}", _EMPTY, *argv)

    def cgroup_of(self, identity: str) -> str:
        """As docker names them."""
        return identity

    def limits(self, resources: Mapping[str, Any]) -> Iterator[str]:
        """Docker knows the number of processes, too."""
        yield from super().limits(resources)
        if pids := resources.get("pids", {}).get("limit"):
            yield f"--pids-limit={pids}"

    async def ready(self) -> None:
        """Start the daemons, once.

        Raises:
            AdapterError: they do not start.
        """
        if self._begun is None or (self._begun.done() and self._begun.exception()):
            self._begun = asyncio.create_task(self._begin(), name="docker")
        await asyncio.shield(self._begun)

    async def close(self) -> None:
        """End the daemons and remove what they have left."""
        await asyncio.to_thread(self._end)
        await super().close()

    async def _begin(self) -> None:
        self._end()
        for folder in (
            Path("/run/containerd"),
            Path("/run/docker"),
        ):
            if folder not in self._sheltered:
                self._shelter(folder)
        self._write_settings()
        self._spawn("containerd", f"--config={self._folder / 'containerd.toml'}")
        self._spawn("dockerd", f"--config-file={self._folder / 'daemon.json'}")
        try:
            async with asyncio.timeout(_DAEMON_STARTS_S):
                await self._answering()
        except TimeoutError as error:
            raise self._not_started(f"no answer within {_DAEMON_STARTS_S:.0f} s") from error
        empty = self._folder / "empty.tar"
        with tarfile.open(empty, "w"):
            pass
        if status := await processes.run(self.command("import", str(empty), _EMPTY), self._folder / "import.log"):
            raise self._not_started(f"its empty image cannot be made: exit status {status}")

    async def _answering(self) -> None:
        while await processes.run(self.command("version")):
            if any(daemon.poll() is not None for daemon in self._daemons):
                raise self._not_started("it ended")
            await asyncio.sleep(_POLL_S)

    def _write_settings(self) -> None:
        folder, short = self._folder, self._short
        (folder / "containerd.toml").write_text(
            f'version = 2\nroot = "{folder}/containerd"\nstate = "{short}/state"\n'
            f'disabled_plugins = ["io.containerd.grpc.v1.cri"]\n[grpc]\naddress = "{short}/containerd"\n'
        )
        settings = {
            "data-root": str(folder / "data"),
            "exec-root": str(short / "exec"),
            "pidfile": str(folder / "docker.pid"),
            "hosts": [f"unix://{short / 'docker'}"],
            "containerd": str(short / "containerd"),
            "bridge": "none",
            "iptables": False,
            "ip6tables": False,
            "ip-forward": False,
            "userland-proxy": False,
            "storage-driver": "vfs",
            "log-driver": "none",
            "oom-score-adjust": 0,
            "shutdown-timeout": 1,
            "exec-opts": ["native.cgroupdriver=cgroupfs"],
            "runtimes": {"sonata": {"path": str(self.script)}},
            "default-runtime": "sonata",
        }
        (folder / "daemon.json").write_text(json.dumps(settings))

    def _spawn(self, name: str, *options: str) -> None:
        with open(self._folder / f"{name}.log", "wb") as log:
            daemon = subprocess.Popen(
                [self._programs[name], *options],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                env={"PATH": _SEARCH, "HOME": str(self._folder)},
            )
        self._daemons.append(daemon)

    def _end(self) -> None:
        """End the daemons, the one that needs the other first; idempotent."""
        while self._daemons:
            daemon = self._daemons.pop()
            daemon.send_signal(signal.SIGTERM)
            try:
                daemon.wait(_DAEMON_ENDS_S)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait()

    def _not_started(self, why: str) -> AdapterError:
        log = self._folder / "dockerd.log"
        said = log.read_text(errors="replace").strip().rpartition("\n")[2] if log.exists() else ""
        return AdapterError(f"docker's daemon does not start: {why}", call="dockerd", answer=said, hint=said)


_KINDS: Mapping[str, type[Manager]] = {"podman": Podman, "docker": Docker}
_CONSIST_OF = {
    "podman": ("podman", "conmon"),
    "docker": ("docker", "dockerd", "containerd", "containerd-shim-runc-v2"),
}
_BENEATH = ("crun", "runc")
_PACKAGES = {"podman": "podman", "docker": "docker.io"}

MANAGERS = tuple(_KINDS)
"""All managers."""


def find_manager(name: str) -> Found:
    """A manager that is installed, runs, and has what it needs here.

    Raises:
        Unsupported: it cannot run here; tells why, and how to get what is missing.
    """
    programs = {program: shutil.which(program, path=_SEARCH) for program in _CONSIST_OF[name]}
    if missing := [f"`{program}`" for program, path in programs.items() if path is None]:
        hint = f"as root: apt-get install --no-install-recommends {_PACKAGES[name]}"
        raise Unsupported(f"{name} is not installed, looked for {', '.join(missing)}", hint=hint)
    if name == "docker" and in_user_namespace():
        raise Unsupported("docker's daemon needs the host's root", hint="without root choose `podman` or `crun`")
    found = {program: path for program, path in programs.items() if path}
    # Of docker it is the daemon that counts.
    asked = found.get("dockerd", found[name])
    answer = subprocess.run([asked, "--version"], capture_output=True, text=True, check=False)
    version = answer.stdout.replace(" version", "").partition(",")[0].strip().lower()
    if answer.returncode or not version:
        raise Unsupported(f"{name} does not run: {answer.stderr.strip()}")
    return Found(name, version, found, _BENEATH)


def begun(found: Found, folder: Path, engine: Engine, notes: Path) -> Manager:
    """A manager at work."""
    return _KINDS[found.name](found, folder, engine, notes)


def _short_place() -> Path:
    """Where temporary folders have paths that are short enough for podman, and for sockets in them (unix(7))."""
    usual = tempfile.gettempdir()
    return Path(usual if len(usual) <= _LONGEST_PLACE else "/tmp")  # noqa: S108  # nosec B108 - a random name follows


def _script(path: Path, engine: Engine) -> Path:
    """The OCI engine as managers call it."""
    code = f"import sys; sys.path.insert(0, {str(_SOURCES)!r})\nfrom sonata._lib.handover import main\n"
    call = f"main({engine.program!r}, {str(engine.state)!r})\n"
    path.write_text(f"#!{os.path.realpath(sys.executable)} -IS\n{code}{call}")
    path.chmod(0o700)
    return path


def _mounts_below(*folders: Path) -> list[Path]:
    """Mount points below folders, innermost first."""
    points = (Path(line.split()[1]) for line in Path("/proc/self/mounts").read_text().splitlines())
    return sorted((each for each in points if any(each.is_relative_to(one) for one in folders)), reverse=True)
