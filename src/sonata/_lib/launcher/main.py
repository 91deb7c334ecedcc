"""The program: verbs of an OCI engine, as far as our runtime calls them."""

from __future__ import annotations

import array
import contextlib
import fcntl
import json
import os
import pty
import signal
import socket
import sys
import termios
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sonata._lib.launcher import groups, kernel, rights, surroundings

NAME = "launcher"
VERSION = "launcher version 1.0"
_NAMESPACES = kernel.NEWNS | kernel.NEWUTS | kernel.NEWIPC | kernel.NEWPID


def main() -> None:
    """Do what the command line says; complaints go to the log."""
    if sys.argv[1:] == ["--version"]:
        sys.stdout.write(f"{VERSION}\n")
        return
    given = Given(sys.argv[1:])
    try:
        status = _VERBS[given.verb](given)
    except OSError as error:
        _complain(given.log, str(error.strerror or error))
        status = 1
    sys.exit(status)


class Given:
    """The command line: options of the engine, a verb with its options, the machine's id."""

    def __init__(self, words: list[str]) -> None:
        options = [word for word in words if word.startswith("--")]
        named = dict(option.removeprefix("--").split("=", 1) for option in options if "=" in option)
        if len(words) > 1 and words[0] == "--root":  # the one option whose value is a word of its own
            named["root"] = words[1]
            words = words[2:]
        rest = [word for word in words if not word.startswith("--")]
        if len(rest) != 2 or rest[0] not in _VERBS or not {"root", "log"} <= named.keys():
            sys.exit(f"{NAME}: wants --root FOLDER --log=FILE {'|'.join(_VERBS)} [OPTIONS] ID")
        self.verb, self.id = rest
        self.state = Path(named["root"]) / self.id
        self.log = Path(named["log"])
        self.detach, self.tty = "--detach" in options, "--tty" in options
        self._named = named

    def path(self, option: str) -> Path:
        """The file or folder that an option names."""
        return Path(self._named[option])


def _run(given: Given) -> int:
    """Make a machine and execute its program."""
    return _create(given) or _start(given)


def _create(given: Given) -> int:
    """Make a machine; its first process waits for `start`."""
    state = given.state
    state.mkdir(parents=True)
    config = json.loads((given.path("bundle") / "config.json").read_bytes())
    linux = config["linux"]
    for pipe in ("start", "result"):
        os.mkfifo(state / pipe, 0o600)
    cgroup = linux.get("cgroupsPath", "")
    if cgroup:
        groups.make(cgroup, linux["resources"])
    (state / "state.json").write_text(json.dumps({"cgroup": cgroup, "seccomp": linux.get("seccomp")}))
    made, tell = os.pipe()
    if (child := os.fork()) == 0:
        os.close(made)
        _in_child(tell, lambda: _become_machine(config, state, cgroup, tell))
    os.close(tell)
    with os.fdopen(made, "rb") as told:
        pid, _, complaint = told.read().decode().partition("\n")
    os.waitpid(child, 0)
    if complaint or not pid:
        _complain(given.log, complaint or "the machine's first process died")
        return 1
    (state / "pid").write_text(pid)
    given.path("pid-file").write_text(pid)
    return 0


def _start(given: Given) -> int:
    """Give the word to execute the program."""
    state = given.state
    result = os.open(state / "result", os.O_RDONLY | os.O_NONBLOCK)
    os.set_blocking(result, True)
    word = os.open(state / "start", os.O_WRONLY)
    os.write(word, b"1")
    with os.fdopen(result, "rb") as told:
        complaint = told.read().decode()
    if complaint:
        _complain(given.log, complaint)
    return int(bool(complaint))


def _become_machine(config: dict[str, Any], state: Path, cgroup: str, tell: int) -> None:
    """In a child: leave the host's namespaces, and fork the first process of the machine."""
    if cgroup:
        groups.enter(cgroup)
    network = next(each for each in config["linux"]["namespaces"] if each["type"] == "network")
    if path := network.get("path"):
        descriptor = os.open(path, os.O_RDONLY)
        kernel.setns(descriptor, kernel.NEWNET)
        os.close(descriptor)
    kernel.unshare(_NAMESPACES | (0 if path else kernel.NEWNET))
    start, result = (os.open(state / pipe, os.O_RDWR | os.O_CLOEXEC) for pipe in ("start", "result"))
    if pid := os.fork():
        os.write(tell, f"{pid}\n".encode())
        os._exit(0)
    _in_child(tell, lambda: _be_first(config, start, result, tell))


def _be_first(config: dict[str, Any], start: int, result: int, tell: int) -> None:
    """As the machine's first process: move in, wait for the word, become the program."""
    os.setsid()
    kernel.sethostname(config["hostname"])
    calls = _filter(config["linux"].get("seccomp"))
    surroundings.enter(config)
    os.close(tell)
    os.read(start, 1)
    _in_child(result, lambda: _execute(config["process"], calls))


def _execute(process: dict[str, Any], calls: rights.Filter | None) -> None:
    """Become a program."""
    env = dict(each.split("=", 1) for each in process["env"])
    os.chdir(process["cwd"])
    for number in (signal.SIGPIPE, signal.SIGINT):
        signal.signal(number, signal.SIG_DFL)
    rights.reduce(process, calls)
    try:
        os.execvpe(process["args"][0], process["args"], env)  # noqa: S606  # nosec B606
    except OSError as error:
        raise OSError(error.errno, f"{process['args'][0]}: {error.strerror}") from error


def _exec(given: Given) -> int:
    """Run a further process in a machine."""
    state = given.state
    kept = json.loads((state / "state.json").read_text())
    process = json.loads(given.path("process").read_bytes())
    calls = _filter(kept["seccomp"])
    pid_file = os.open(given.path("pid-file"), os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o600)
    console = _connected(given.path("console-socket")) if given.tty else None
    log = os.open(given.log, os.O_CREAT | os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC, 0o600)
    machine = os.pidfd_open(int((state / "pid").read_text()))
    if kept["cgroup"]:
        groups.enter(kept["cgroup"])
    kernel.setns(machine, _NAMESPACES | kernel.NEWNET)
    terminal = _terminal_for(console) if console else -1
    made, tell = os.pipe()
    if (pid := os.fork()) == 0:
        os.close(made)
        _in_child(tell, lambda: _be_another(process, terminal, calls))
    os.write(pid_file, str(pid).encode())
    os.close(tell)
    with os.fdopen(made, "rb") as told:
        complaint = told.read().strip()
    os.write(log, complaint)
    if given.detach and not complaint:
        return 0
    return _status_of(pid)


def _be_another(process: dict[str, Any], terminal: int, calls: rights.Filter | None) -> None:
    if terminal >= 0:
        os.setsid()
        fcntl.ioctl(terminal, termios.TIOCSCTTY, 0)
        for number in range(3):
            os.dup2(terminal, number)
    _execute(process, calls)


def _terminal_for(console: socket.socket) -> int:
    """A terminal in the machine; its master goes over the socket, its other side is ours."""
    master, slave = pty.openpty()
    console.sendmsg([b"pty"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [master]))])
    os.close(master)
    console.close()
    return slave


def _connected(path: Path) -> socket.socket:
    console = socket.socket(socket.AF_UNIX)
    console.connect(str(path))
    return console


def _status_of(pid: int) -> int:
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    return code if code >= 0 else 128 - code


def _pause(given: Given) -> int:
    groups.freeze(_cgroup_of(given), frozen=True)
    return 0


def _resume(given: Given) -> int:
    groups.freeze(_cgroup_of(given), frozen=False)
    return 0


def _update(given: Given) -> int:
    groups.limit(_cgroup_of(given), json.loads(given.path("resources").read_bytes()))
    return 0


def _delete(given: Given) -> int:
    """Kill a machine and forget it; whoever started us collects it and its cgroups."""
    state = given.state
    if (state / "pid").exists():
        with contextlib.suppress(ProcessLookupError):
            os.kill(int((state / "pid").read_text()), signal.SIGKILL)
    for name in os.listdir(state) if state.exists() else ():
        os.unlink(state / name)
    with contextlib.suppress(FileNotFoundError):
        os.rmdir(state)
    return 0


def _cgroup_of(given: Given) -> str:
    return str(json.loads((given.state / "state.json").read_text())["cgroup"])


def _filter(profile: dict[str, Any] | None) -> rights.Filter | None:
    return rights.Filter(profile) if profile else None


def _in_child(tell: int, work: Callable[[], None]) -> None:
    """Do the work of a forked process, tell what went wrong, and never return."""
    try:
        work()
    except OSError as error:
        os.write(tell, f"\n{error.strerror or error}".encode())
    finally:
        os._exit(1)


def _complain(log: Path, complaint: str) -> None:
    with log.open("a") as stream:
        stream.write(f"{complaint.strip()}\n")


_VERBS: dict[str, Callable[[Given], int]] = {
    "run": _run,
    "create": _create,
    "start": _start,
    "exec": _exec,
    "pause": _pause,
    "resume": _resume,
    "update": _update,
    "delete": _delete,
}
