"""Open vSwitch's programs, run for one bridge in user space with a database, sockets and logs of their own.

Nothing is shared with an Open vSwitch that the machine may run besides: all files lie in a folder of ours.

Source: ovs-vswitchd(8), ovsdb-server(1), ovs-vsctl(8), ovs-ofctl(8), ovs-appctl(8).
"""

from __future__ import annotations

import logging
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from sonata.adapters.fabric_linux.netspace import Netspace
from sonata.errors import PermanentError, Unsupported

logger = logging.getLogger(__name__)

PROGRAMS = ("ovsdb-server", "ovs-vswitchd", "ovsdb-tool", "ovs-vsctl", "ovs-ofctl", "ovs-appctl")
_SEARCH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_SCHEMAS = ("/usr/local/share/openvswitch/vswitch.ovsschema", "/usr/share/openvswitch/vswitch.ovsschema")
_PATIENCE_S = 10
_LOOK_S = 0.005


def missing_programs() -> list[str]:
    """Which of its programs are not installed; and its schema."""
    missing = [name for name in PROGRAMS if not shutil.which(name, path=_SEARCH)]
    return missing if _schema() else [*missing, "vswitch.ovsschema"]


class OpenVSwitch:
    """A database and a switch, in a network namespace.

    Args:
        name: of the PoP, for messages.
        folder: for their files; made by `start`.
    """

    def __init__(self, name: str, netspace: Netspace, folder: Path) -> None:
        self.name = name
        self._netspace = netspace
        self._folder = folder
        self._processes: list[subprocess.Popen[bytes]] = []

    @property
    def pids(self) -> list[int]:
        """The database, then the switch."""
        return [process.pid for process in self._processes]

    @property
    def failure(self) -> str:
        """What has become of those that ended by themselves; empty while both run."""
        if not self._processes:
            return "it could not be started"
        ended = [process for process in self._processes if process.poll() is not None]
        return ", ".join(f"{_name(process)} {_end_of(process)}" for process in ended)

    def start(self) -> None:
        """Start both with an empty database.

        Raises:
            PermanentError: one cannot be started.
            Unsupported: they are not installed.
        """
        shutil.rmtree(self._folder, ignore_errors=True)
        self._folder.mkdir(parents=True, mode=0o700)
        database, server = self._folder / "conf.db", self._folder / "db.sock"
        self._run("ovsdb-tool", "create", str(database), _schema())
        self._launch("ovsdb-server", str(database), f"--remote=punix:{server}", f"--unixctl={self._folder}/db.ctl")
        self.wait_until(lambda: _listens(server), "its database takes no connections")
        self._launch("ovs-vswitchd", f"unix:{server}", f"--unixctl={self._folder}/switch.ctl")
        logger.info("Open vSwitch started", extra={"pop": self.name, "pids": self.pids})

    def end(self) -> None:
        """End both, at once."""
        for process in reversed(self._processes):
            process.kill()
        for process in self._processes:
            process.wait()
        self._processes.clear()

    def close(self) -> None:
        """End both, and leave no file."""
        self.end()
        shutil.rmtree(self._folder, ignore_errors=True)

    def configure(self, *words: str) -> None:
        """Change the database by a command of ovs-vsctl; at return the switch follows it."""
        self._run("ovs-vsctl", f"--db=unix:{self._folder}/db.sock", f"--timeout={_PATIENCE_S}", *words)

    def change_flows(self, bridge: str, changes: Sequence[str]) -> None:
        """Change flows of a bridge, as one transaction."""
        if changes:
            target = f"unix:{self._folder}/{bridge}.mgmt"
            self._run("ovs-ofctl", "-OOpenFlow13", "--bundle", "add-flows", target, "-", told="\n".join(changes))

    def control(self, *words: str) -> str:
        """What the running switch answers to a command of ovs-appctl."""
        return self._run("ovs-appctl", f"--target={self._folder}/switch.ctl", *words)

    def wait_until(self, is_so: Callable[[], bool], otherwise: str) -> None:
        """Wait for something that the processes do by themselves.

        Raises:
            PermanentError: it did not come to that, or one of them has ended.
        """
        deadline = time.monotonic() + _PATIENCE_S
        while not is_so():
            if time.monotonic() > deadline or any(process.poll() is not None for process in self._processes):
                raise self._refusal(otherwise, "ovs-vswitchd")
            time.sleep(_LOOK_S)

    def _launch(self, name: str, *words: str) -> None:
        """Start a process in the namespace; it ends with the thread that started it."""
        log = f"--log-file={self._folder}/{name}.log"
        command = ["setpriv", "--pdeathsig=KILL", _program(name), *words, log, "-vconsole:off", "-vsyslog:off"]
        with self._netspace.entered():
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env=self._environment,
                cwd="/",
            )
        self._processes.append(process)

    def _run(self, name: str, *words: str, told: str = "") -> str:
        try:
            result = subprocess.run(
                [_program(name), *words],
                input=told,
                capture_output=True,
                text=True,
                env=self._environment,
                timeout=_PATIENCE_S + 1,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise self._refusal(f"{name}: {error}", name) from error
        if result.returncode:
            raise self._refusal(result.stderr.strip() or f"{name}: status {result.returncode}", name)
        return result.stdout

    def _refusal(self, answer: str, call: str) -> PermanentError:
        return PermanentError(
            f"Open vSwitch of PoP `{self.name}` failed: {answer.splitlines()[0]}",
            hint=f"its logs are in {self._folder}; chains of the renderer `nsh` pass nothing there meanwhile",
            call=call,
            answer=answer,
        )

    @property
    def _environment(self) -> dict[str, str]:
        """Nothing of what the machine's own Open vSwitch has is touched."""
        folder = str(self._folder)
        own = dict.fromkeys(("OVS_RUNDIR", "OVS_LOGDIR", "OVS_DBDIR", "OVS_SYSCONFDIR"), folder)
        return {"PATH": _SEARCH, **own}


def _listens(path: Path) -> bool:
    """Whether somebody takes connections at a socket; its file is there a moment earlier."""
    folder = os.open(path.parent, os.O_PATH | os.O_CLOEXEC)  # the whole path may be too long for an address
    try:
        with socket.socket(socket.AF_UNIX) as trial:
            return trial.connect_ex(f"/proc/self/fd/{folder}/{path.name}") == 0
    finally:
        os.close(folder)


def _schema() -> str:
    return next((path for path in _SCHEMAS if os.path.exists(path)), "")


def _program(name: str) -> str:
    found = shutil.which(name, path=_SEARCH)
    if not found:
        raise Unsupported(
            f"chains of the renderer `nsh` need Open vSwitch: no program `{name}`",
            hint="install the package `openvswitch-switch`",
        )
    return found


def _name(process: subprocess.Popen[bytes]) -> str:
    return os.path.basename(str(process.args[2]))  # type: ignore[index]


def _end_of(process: subprocess.Popen[bytes]) -> str:
    status = process.returncode
    return f"was killed by signal {-status}" if status < 0 else f"ended with status {status}"
