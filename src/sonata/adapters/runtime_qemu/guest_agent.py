"""The first process of a virtual machine: runs the machine's program, and commands, at the word of the host.

It runs there by the Python of the host's `/usr`, with the standard library alone and `frames` beside it. The program's
output goes to the console, that of commands back to the host, through a port of virtio-serial.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import pty
import selectors
import signal
import struct
import sys
import termios
import tty
from pathlib import Path
from typing import Any

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from frames import (  # type: ignore[import-not-found]
    CREDIT,
    DROP,
    ENDED,
    ERRORS,
    FAILED,
    HELLO,
    INPUT,
    INPUT_END,
    LONGEST,
    OUTPUT,
    RESIZE,
    RUN,
    SIGNAL,
    STARTED,
    WINDOW,
    Frames,
    frame,
)

ROOT = "/machine"
CONSOLE = "/dev/hvc0"
PORTS = Path("/sys/class/virtio-ports")
_LATE_CHUNKS = 16  # a pipe holds at most 1 MiB (pipe(7)): all that the program itself has written


class Command:
    """A process that the host has asked for.

    Args:
        number: the host's name for it.
        pid: of its first process.
        outputs: descriptor of each of its streams, by kind of frame.
        typed: where its input goes, -1 for nowhere.
    """

    def __init__(self, number: int, pid: int, outputs: dict[int, int], typed: int) -> None:
        self.number = number
        self.pid = pid
        self.outputs = outputs
        self.typed = typed
        self.waiting = b""
        self.input_ends = False
        self.credit = WINDOW
        self.status: int | None = None


class Agent:
    """Serves one port for ever."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._frames = Frames()
        self._commands: dict[int, Command] = {}
        self._selector = selectors.DefaultSelector()
        self._woken, wake = os.pipe()
        for end in (self._woken, wake):
            os.set_blocking(end, False)
        signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        self._selector.register(port, selectors.EVENT_READ, self._hear)
        self._selector.register(self._woken, selectors.EVENT_READ, self._collect)

    def serve(self) -> None:
        """Tell the host that we are here, and do what it says."""
        self._tell(0, HELLO)
        while True:
            for key, _ in self._selector.select():
                if key.fd in self._selector.get_map():
                    key.data()

    def _hear(self) -> None:
        piece = os.read(self._port, LONGEST)
        for number, kind, payload in self._frames.take(piece):
            if kind == RUN:
                self._run(number, json.loads(payload))
            elif command := self._commands.get(number):
                self._obey(command, kind, payload)

    def _obey(self, command: Command, kind: int, payload: bytes) -> None:
        if kind in (INPUT, INPUT_END):
            command.waiting += payload
            command.input_ends |= kind == INPUT_END
            self._type(command)
        elif kind == SIGNAL:
            _send(command.pid, payload[0])
        elif kind == RESIZE:
            fcntl.ioctl(command.typed, termios.TIOCSWINSZ, payload)
        elif kind == CREDIT:
            command.credit += struct.unpack(">I", payload)[0]
            self._listen(command)
            self._finish(command)
        elif kind == DROP:
            _send(command.pid, signal.SIGKILL)
            command.credit = 1 << 62

    def _run(self, number: int, wanted: dict[str, Any]) -> None:
        try:
            command = _spawn(number, wanted)
        except OSError as error:
            self._tell(number, FAILED, f"{wanted['argv'][0]}: {error.strerror}".encode())
            return
        self._commands[number] = command
        self._tell(number, STARTED)
        self._listen(command)
        self._collect()

    def _listen(self, command: Command) -> None:
        """Hear its outputs as long as the host has room for them."""
        for kind, output in command.outputs.items():
            heard = output in self._selector.get_map()
            if command.credit > 0 and not heard:
                self._selector.register(output, selectors.EVENT_READ, lambda kind=kind: self._pass_on(command, kind))
            elif command.credit <= 0 and heard:
                self._selector.unregister(output)

    def _pass_on(self, command: Command, kind: int) -> bool:
        """Send what a command printed; whether there was anything."""
        output = command.outputs[kind]
        try:
            said = os.read(output, min(LONGEST, command.credit))
        except BlockingIOError:
            return False
        except OSError:  # EIO: nobody has the terminal open any more
            said = b""
        if not said:
            self._shut(command, kind)
            return False
        command.credit -= len(said)
        self._tell(command.number, kind, said)
        self._listen(command)
        return True

    def _shut(self, command: Command, kind: int) -> None:
        output = command.outputs.pop(kind)
        if output in self._selector.get_map():
            self._selector.unregister(output)
        if output != command.typed:
            os.close(output)

    def _type(self, command: Command) -> None:
        """Give a command what was typed for it, as far as it takes it now."""
        typed = command.typed
        if typed < 0:
            return
        try:
            while command.waiting:
                command.waiting = command.waiting[os.write(typed, command.waiting) :]
        except BlockingIOError:
            if typed not in command.outputs.values() and typed not in self._selector.get_map():
                self._selector.register(typed, selectors.EVENT_WRITE, lambda: self._type(command))
            return
        except OSError:  # nobody reads it
            command.waiting = b""
        if command.input_ends and typed not in command.outputs.values():
            self._close_input(command)

    def _close_input(self, command: Command) -> None:
        if command.typed in self._selector.get_map():
            self._selector.unregister(command.typed)
        os.close(command.typed)
        command.typed = -1

    def _collect(self) -> None:
        """Collect all processes that have ended, the orphans too."""
        try:
            while os.read(self._woken, 4096):
                pass
        except BlockingIOError:
            pass
        by_pid = {command.pid: command for command in self._commands.values()}
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if not pid:
                return
            if command := by_pid.get(pid):
                code = os.waitstatus_to_exitcode(status)
                command.status = code if code >= 0 else 128 - code
                self._finish(command)

    def _finish(self, command: Command) -> None:
        """Tell the end of a command, once all that it has printed itself is on its way."""
        if command.status is None:
            return
        for kind in tuple(command.outputs):
            for _ in range(_LATE_CHUNKS):
                if command.credit <= 0:
                    return  # the host's next credit brings us here again
                if not self._pass_on(command, kind):
                    break
        for kind in tuple(command.outputs):
            self._shut(command, kind)
        if command.typed >= 0:
            self._close_input(command)
        self._commands.pop(command.number, None)
        self._tell(command.number, ENDED, bytes([command.status, _was_out_of_memory()]))

    def _tell(self, number: int, kind: int, payload: bytes = b"") -> None:
        message = frame(number, kind, payload)
        while message:
            message = message[os.write(self._port, message) :]


def _spawn(number: int, wanted: dict[str, Any]) -> Command:
    """Start a command.

    Raises:
        OSError: it cannot be executed.
    """
    if wanted.get("terminal"):
        return _spawn_on_terminal(number, wanted)
    if wanted.get("console"):
        console, nothing = _console(), os.open(os.devnull, os.O_RDONLY)
        try:
            return Command(number, _execute(wanted, (nothing, console, console)), {}, -1)
        finally:
            os.close(nothing)
            os.close(console)
    theirs_in, typed = os.pipe()
    output, theirs_out = os.pipe()
    errors, theirs_err = os.pipe()
    try:
        pid = _execute(wanted, (theirs_in, theirs_out, theirs_err))
    except OSError:
        for own in (typed, output, errors):
            os.close(own)
        raise
    finally:
        for theirs in (theirs_in, theirs_out, theirs_err):
            os.close(theirs)
    for own in (typed, output, errors):
        os.set_blocking(own, False)
    return Command(number, pid, {OUTPUT: output, ERRORS: errors}, typed)


def _spawn_on_terminal(number: int, wanted: dict[str, Any]) -> Command:
    master, slave = pty.openpty()
    fcntl.ioctl(master, termios.TIOCSWINSZ, struct.pack("HHHH", *wanted["terminal"], 0, 0))
    try:
        pid = _execute(wanted, (slave, slave, slave))
    except OSError:
        os.close(master)
        raise
    finally:
        os.close(slave)
    os.set_blocking(master, False)
    return Command(number, pid, {OUTPUT: master}, master)


def _execute(wanted: dict[str, Any], streams: tuple[int, int, int]) -> int:
    """Fork and become the program; returns its pid once it is executed."""
    told, tells = os.pipe()
    pid = os.fork()
    if pid:
        os.close(tells)
        with os.fdopen(told, "rb") as why:
            number = why.read()
        if number:
            os.waitpid(pid, 0)
            raise OSError(int(number), os.strerror(int(number)))
        return pid
    try:
        _become(wanted, streams)
    except OSError as error:
        os.write(tells, str(error.errno).encode())
    finally:
        os._exit(127)


def _become(wanted: dict[str, Any], streams: tuple[int, int, int]) -> None:
    os.setsid()
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
    if wanted.get("terminal"):
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)
    for number in (signal.SIGPIPE, signal.SIGCHLD, signal.SIGINT):
        signal.signal(number, signal.SIG_DFL)
    if not wanted.get("outside"):
        os.chroot(ROOT)
    os.chdir(wanted["cwd"])
    if uid := wanted["uid"]:
        os.setgroups([])
        os.setgid(uid)
        os.setuid(uid)
    os.execvpe(wanted["argv"][0], wanted["argv"], wanted["env"])  # noqa: S606  # nosec B606


def _console() -> int:
    console = os.open(CONSOLE, os.O_RDWR | os.O_NOCTTY)
    tty.setraw(console)
    return console


def _was_out_of_memory() -> bool:
    """Whether the kernel has killed a process for want of memory."""
    counts = dict(line.split() for line in Path("/proc/vmstat").read_text().splitlines())
    return counts.get("oom_kill", "0") != "0"


def _send(pid: int, number: int) -> None:
    with contextlib.suppress(OSError):
        os.killpg(pid, number)


def _agents_port() -> str:
    for port in PORTS.iterdir():
        if (port / "name").read_text().strip() == "sonata.agent":
            return f"/dev/{port.name}"
    raise SystemExit("this machine has no port for its agent")


if __name__ == "__main__":
    Agent(os.open(_agents_port(), os.O_RDWR)).serve()
