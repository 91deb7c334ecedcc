"""The stock OpenStack command line client, run as its users run it: one command after another."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO

from sonata._lib.values import dataclass
from sonata.errors import NotFound, PermanentError
from sonata.sdk.demonstration import Say
from sonata.sdk.emulation_records import EmulationRecord

PROGRAM = "openstack"
HOW_TO_GET_IT = "install it: pip install 'sonata-nfv[clients]', or in a source tree pip install -e '.[clients]'"
_UNKNOWN = "is not an openstack command"
_PATIENCE_S, _PAUSE_S = 300.0, 0.02


def find_client() -> str:
    """Path of the client, from the environment in which Sonata is installed or from `PATH`.

    Raises:
        NotFound: it is in neither.
    """
    beside = os.fspath(Path(sys.executable).parent)
    found = shutil.which(PROGRAM, path=os.pathsep.join((beside, os.environ.get("PATH", os.defpath))))
    if found is None:
        raise NotFound(f"this demonstration needs the stock OpenStack client, `{PROGRAM}`", hint=HOW_TO_GET_IT)
    return found


@dataclass(frozen=True, slots=True)
class StockClient:
    """Runs commands at the PoPs of an emulation.

    Args:
        program: path of the client.
        folder: where it runs; files in commands are named from there.
        say: told each command when it begins.
    """

    program: str
    folder: Path
    emulation: EmulationRecord
    say: Say

    def run(self, commands: Mapping[str, str]) -> dict[str, str]:
        """Run lines of commands, by PoP, at all PoPs at the same time; returns what was printed, by PoP.

        Raises:
            PermanentError: a command ended with a status other than 0; told with what the client said.
        """
        with ExitStack() as running:
            lanes = [_Lane(self, pop, lines) for pop, lines in commands.items()]
            for lane in lanes:
                running.callback(lane.close)
            while [lane for lane in lanes if lane.go_on()]:
                time.sleep(_PAUSE_S)
            return {lane.pop: lane.printed for lane in lanes}

    def begin(self, pop: str, line: str, out: IO[bytes], err: IO[bytes]) -> subprocess.Popen[bytes]:
        """Tell and start one command at a PoP."""
        self.say(f"  {pop}: {PROGRAM} {line}")
        return subprocess.Popen(
            [self.program, *shlex.split(line)],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
            cwd=self.folder,
            env=self._environment(pop),
            start_new_session=True,  # Ctrl-C is for us, who then end it
        )

    def _environment(self, pop: str) -> dict[str, str]:
        """The variables that `sonata emu openrc` prints, and nothing that points to another cloud."""
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("OS_")}
        return {
            **inherited,
            "PYTHONWARNINGS": "ignore",
            "OS_AUTH_URL": f"{self.emulation.url}/{pop}/identity/v3",
            "OS_IDENTITY_API_VERSION": "3",
            "OS_USERNAME": "admin",
            "OS_PASSWORD": self.emulation.admin_password,
            "OS_USER_DOMAIN_NAME": "Default",
            "OS_PROJECT_NAME": "admin",
            "OS_PROJECT_DOMAIN_NAME": "Default",
            "OS_REGION_NAME": "RegionOne",
        }


class _Lane:
    """The commands of one PoP, one after another."""

    def __init__(self, client: StockClient, pop: str, lines: str) -> None:
        self.pop = pop
        self.printed = ""
        self._client = client
        self._lines = deque(lines.strip().splitlines())
        self._running: _Command | None = None

    def go_on(self) -> bool:
        """Take note of a command that has ended, and begin the next one; whether there is more to do."""
        if self._running and self._running.has_ended():
            self.printed += self._running.output()
            self.close()
        if self._running is None and self._lines:
            with _uninterrupted():  # a command that nobody knows could not be ended
                self._running = _Command(self._client, self.pop, self._lines.popleft())
        return self._running is not None

    def close(self) -> None:
        """End the command that goes on, if any."""
        if self._running:
            self._running.close()
            self._running = None


class _Command:
    """One command that goes on."""

    def __init__(self, client: StockClient, pop: str, line: str) -> None:
        self._what = f"`{PROGRAM} {line}` at `{pop}`"
        with ExitStack() as files:
            self._out, self._err = (files.enter_context(tempfile.TemporaryFile()) for _ in range(2))
            self._process = client.begin(pop, line, self._out, self._err)
            self._files = files.pop_all()
        self._deadline = time.monotonic() + _PATIENCE_S

    def has_ended(self) -> bool:
        """Whether it has ended.

        Raises:
            PermanentError: not for minutes.
        """
        if self._process.poll() is None and time.monotonic() > self._deadline:
            raise PermanentError(f"{self._what} took more than {_PATIENCE_S:.0f} s")
        return self._process.returncode is not None

    def output(self) -> str:
        """What it printed.

        Raises:
            PermanentError: it ended with another status than 0; words on standard error alone are no failure.
        """
        out = _text(self._out)
        if status := self._process.returncode:
            told = f"{out}{_text(self._err)}".strip()
            hint = HOW_TO_GET_IT if _UNKNOWN in told else ""
            raise PermanentError(f"{self._what} ended with status {status}: {told[-1000:]}", hint=hint)
        return out

    def close(self) -> None:
        """End it if it goes on."""
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        self._files.close()


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """Put Ctrl-C off until the end of the block."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _text(stream: IO[bytes]) -> str:
    stream.seek(0)
    return stream.read().decode(errors="replace")
