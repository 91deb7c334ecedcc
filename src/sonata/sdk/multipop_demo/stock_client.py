"""The stock OpenStack command line client, run as its users run it: commands on its standard input."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from sonata.errors import NotFound, PermanentError
from sonata.sdk.demonstration import Say
from sonata.sdk.emulation_records import EmulationRecord

PROGRAM = "openstack"
HOW_TO_GET_IT = "install it: pip install 'sonata-nfv[clients]', or in a source tree pip install -e '.[clients]'"
_UNKNOWN = "is not an openstack command"
_PATIENCE_S = 300.0


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
class _Running:
    """A client at work: what it was told to do, and where its output goes."""

    pop: str
    process: subprocess.Popen[bytes]
    out: IO[bytes]
    err: IO[bytes]


@dataclass(frozen=True, slots=True)
class StockClient:
    """Runs commands at the PoPs of an emulation.

    Args:
        program: path of the client.
        folder: where it runs; files in commands are named from there.
    """

    program: str
    folder: Path
    emulation: EmulationRecord
    say: Say

    def run(self, commands: Mapping[str, str]) -> dict[str, str]:
        """Run lines of commands, by PoP, at all PoPs at the same time; returns what was printed, by PoP.

        Raises:
            PermanentError: a command failed; told with what the client said.
        """
        for pop, lines in commands.items():
            for line in lines.strip().splitlines():
                self.say(f"  {pop}: openstack {line}")
        with ExitStack() as running:
            started = [running.enter_context(self._started(pop, lines)) for pop, lines in commands.items()]
            deadline = time.monotonic() + _PATIENCE_S
            return {each.pop: _output_of(each, deadline) for each in started}

    @contextmanager
    def _started(self, pop: str, lines: str) -> Iterator[_Running]:
        with tempfile.TemporaryFile() as told, tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            told.write(lines.strip().encode() + b"\n")
            told.seek(0)
            process = subprocess.Popen(
                [self.program], stdin=told, stdout=out, stderr=err, cwd=self.folder, env=self._environment(pop)
            )
            try:
                yield _Running(pop, process, out, err)
            finally:
                if process.poll() is None:
                    process.kill()
                process.wait()

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


def _output_of(client: _Running, deadline: float) -> str:
    """What the client printed, once it has ended.

    Its status tells nothing: clients of different versions end a batch with 0 or with 1, whatever happened in it. What
    it could not do it says on standard error, and of commands that it does not have it says so between the answers.
    """
    try:
        client.process.wait(max(0.0, deadline - time.monotonic()))
    except subprocess.TimeoutExpired:
        raise PermanentError(f"`{PROGRAM}` at `{client.pop}` took more than {_PATIENCE_S:.0f} s") from None
    out = _text(client.out)
    unknown = [line for line in out.splitlines() if _UNKNOWN in line]
    told = "\n".join([_text(client.err).strip(), *unknown]).strip()
    if told:
        hint = HOW_TO_GET_IT if unknown else ""
        raise PermanentError(f"`{PROGRAM}` at `{client.pop}` failed: {told[-1000:]}", hint=hint)
    return out


def _text(stream: IO[bytes]) -> str:
    stream.seek(0)
    return stream.read().decode(errors="replace")
