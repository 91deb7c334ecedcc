"""The process above all managers: the platform starts it, it starts sandboxes, and both ends of that are sure.

It is the first process of a pid namespace and has its mounts to itself (and a user namespace, where the platform is no
root), made by `unshare` of util-linux before Python starts. When it dies, the kernel kills every manager; when the
platform dies, its socket closes and it ends. Run as `python -m sonata.daemon.manager_supervisor SOCKET_FD FOLDER`.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
import shutil
import socket
import sys
from pathlib import Path
from typing import BinaryIO

from sonata.adapters.manager_host import (
    PythonLaunch,
    SandboxedManagers,
    SupervisedSandboxes,
    Supervisor,
    report_failure,
    serve_sandboxes,
)
from sonata.adapters.manager_host.contracts import ServingBus
from sonata.adapters.runtime_oci import OciRuntime, hide_hybrid_cgroup, remove_cgroups
from sonata.adapters.runtime_oci.python_root import python_argv, python_binds, python_env
from sonata.errors import SonataError, Unsupported

RUNNER = "sonata.managers.runner"
LOG = "supervisor.log"
NAMESPACES = ("--mount", "--pid", "--fork", "--kill-child", "--mount-proc")


def sandboxed_managers(bus: ServingBus, folder: Path) -> SandboxedManagers:
    """The manager host of a platform.

    Args:
        bus: the platform's.
        folder: for sockets, manager files and logs; made, and entered by the platform alone.
    """
    python = PythonLaunch(python_argv(RUNNER), python_binds(), python_env())
    sandboxes = SupervisedSandboxes(lambda: spawn_supervisor(folder / "supervisor"))
    return SandboxedManagers(bus, sandboxes, folder / "run", python)


async def spawn_supervisor(folder: Path) -> Supervisor:
    """Start a supervisor; it is not ready yet.

    Raises:
        Unsupported: `unshare` is not installed.
    """
    unshare = shutil.which("unshare")
    if unshare is None:
        raise Unsupported("managers need `unshare` for their sandboxes", hint="install the package util-linux")
    complaints = await asyncio.to_thread(_open_log, folder)
    ours, theirs = socket.socketpair()
    with theirs, complaints:
        process = await asyncio.create_subprocess_exec(
            *(unshare, *NAMESPACES, *_user_namespace(), "--", sys.executable, "-m", __spec__.name),
            *(str(theirs.fileno()), str(folder)),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=complaints,
            stderr=complaints,
            pass_fds=[theirs.fileno()],
            start_new_session=True,
        )
    return Supervisor(ours, process, folder / LOG, lambda: remove_cgroups(cgroup_prefix(folder)))


def cgroup_prefix(folder: Path) -> str:
    """Below which the managers of a supervisor have their cgroups."""
    return "sonata-managers-" + hashlib.sha256(os.fsencode(folder)).hexdigest()[:12]


def _open_log(folder: Path) -> BinaryIO:
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    return (folder / LOG).open("wb")


def _user_namespace() -> tuple[str, ...]:
    """For a platform without root: root in a user namespace, with subordinate ids where they can be had."""
    if os.geteuid() == 0:
        return ()
    with_subordinates = shutil.which("newuidmap") and _has_subordinate_ids()
    return ("--user", "--map-root-user", *(("--map-auto",) if with_subordinates else ()))


def _has_subordinate_ids() -> bool:
    owners = {str(os.getuid()), os.environ.get("USER", "")} - {""}
    try:
        lines = Path("/etc/subuid").read_text().splitlines()
    except OSError:
        return False
    return any(line.partition(":")[0] in owners for line in lines)


def main() -> None:
    """Serve the platform until it hangs up."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s %(message)s")
    platform, folder = socket.socket(fileno=int(sys.argv[1])), Path(sys.argv[2])
    asyncio.run(_supervise(platform, folder))


async def _supervise(platform: socket.socket, folder: Path) -> None:
    try:
        runtime = _make_runtime(folder)
    except SonataError as error:
        await report_failure(platform, error)
        return
    await serve_sandboxes(runtime, platform)


def _make_runtime(folder: Path) -> OciRuntime:
    """A runtime with cgroups and a folder of its own, both emptied of what a killed predecessor left there.

    Its mounts and processes went with its namespaces.
    """
    hide_hybrid_cgroup()
    prefix = cgroup_prefix(folder)
    remove_cgroups(prefix)
    machines = folder / "machines"
    shutil.rmtree(machines, ignore_errors=True)
    return OciRuntime(machines, prefix)


if __name__ == "__main__":
    main()
