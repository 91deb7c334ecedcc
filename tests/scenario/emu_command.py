"""The command `sonata emu` as a person runs it: exit statuses, output, and the processes that stay."""

from __future__ import annotations

import json
import os
import secrets
import select
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import msgspec
import psutil

from sonata.formats.topology import read_topology
from sonata.sdk import emulations
from sonata.sdk.emulation_records import EmulationRecord
from sonata.sdk.keepers import Keeper
from sonata.sdk.templates import TEMPLATE
from tests.command import sonata_here
from tests.residue import Footprint, Host

PROGRAM = "from sonata.cli.entry import main; main()"

LINE = """
apiVersion: sonata/v1
kind: Topology
name: {name}
pops:
  a: {{}}
  b: {{}}
  c: {{}}
links:
  - {{name: ab, between: [a, b], delay: 10ms}}
  - {{name: bc, between: [b, c], rate: 100Mbit}}
endpoints:
  users: {{attach: a}}
  origin: {{attach: c, delay: 1ms, command: [sleep, infinity]}}
"""
PROCESS = "up"
"""The verb that has a process of its own; all the others are run in this one, where they take a tenth of the time."""
ANY_PORT = ("127.0.0.1", 0)
ORIGIN = "100.64.2.10"
PATH_DELAY_S = 0.011


class Emu:
    """`sonata emu` with a home of its own and a topology `line` of a unique name.

    Args:
        prefix: argv put before the command, e.g. to change the user.
        python: what to run it with.
    """

    def __init__(self, home: Path, prefix: Sequence[str] = (), python: str = sys.executable) -> None:
        self.home = home
        self.name = f"t{secrets.token_hex(4)}"
        self.topology = home / "line.yaml"
        self.topology.write_text(LINE.format(name=self.name))
        self._prefix = list(prefix)
        self._python = python
        self.env = {**os.environ, "SONATA_HOME": str(home), "HOME": str(home)}
        self._host = Host.now()
        self._foreground: list[subprocess.Popen[str]] = []

    def run(self, *args: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        """Run a verb to its end; `up`, which starts emulations, as a process, and the others without one."""
        if args[0] != PROCESS and not self._prefix:
            return self.here(*args, stdin=stdin)
        command = self.command(*args)
        return subprocess.run(
            command, env=self.env, input=stdin, capture_output=True, text=True, timeout=60, check=False
        )

    def here(self, *args: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        """Run a verb to its end in this process."""
        return sonata_here("emu", *args, env=self.env, stdin=stdin)

    def command(self, *args: str) -> list[str]:
        """The argv of a verb."""
        return [*self._prefix, self._python, "-c", PROGRAM, "emu", *args]

    def state_files(self) -> list[Path]:
        """Files that are kept about emulations."""
        return list((self.home / "state" / "emulations").rglob("*"))

    def ok(self, *args: str) -> str:
        """Run a verb that must succeed; returns its standard output."""
        result = self.run(*args)
        assert result.returncode == 0, result.stderr
        return result.stdout

    def json(self, *args: str) -> Any:
        """Run a verb that must succeed; returns its data."""
        return json.loads(self.ok(*args, "-o", "json"))

    def up(self) -> Footprint:
        """Start the line, or bring it back, as `up --detach` does; in this process, by a keeper that need not load."""
        if self._prefix:
            return self.up_by_command()
        with mock.patch.dict(os.environ, self.env, clear=True), Keeper(TEMPLATE.spawn) as keeper:
            emulations.start(read_topology(self.topology), listen=ANY_PORT, keeper=keeper).let_go()
        return self.footprint()

    def up_by_command(self) -> Footprint:
        """The same by the command, as a process, whose keeper sees what this process has mounted meanwhile."""
        self.ok("up", str(self.topology), "--listen", "127.0.0.1:0", "--detach")
        return self.footprint()

    def foreground(self) -> subprocess.Popen[str]:
        """Start the line in the foreground; not waited for."""
        return self.aside("up", str(self.topology), "--listen", "127.0.0.1:0")

    def aside(self, *args: str) -> subprocess.Popen[str]:
        """Start a verb that is not waited for."""
        process = subprocess.Popen(
            self.command(*args), env=self.env, stderr=subprocess.PIPE, text=True, start_new_session=True
        )
        self._foreground.append(process)
        return process

    def record(self) -> EmulationRecord:
        """What is recorded of the line."""
        state = self.home / "state" / "emulations" / self.name / "state.json"
        return msgspec.json.decode(state.read_bytes(), type=EmulationRecord)

    def log(self) -> str:
        """What the keeper of the line has noted."""
        return (self.home / "state" / "emulations" / self.name / "keeper.log").read_text()

    def footprint(self) -> Footprint:
        """What the line consists of now."""
        return Footprint.of(self.record(), self._host, self.home)

    @property
    def foregrounds(self) -> tuple[subprocess.Popen[str], ...]:
        """The processes that were started in the foreground."""
        return tuple(self._foreground)

    def close(self) -> None:
        """End whatever a failed test has left."""
        for process in self._foreground:
            if process.poll() is None:
                process.send_signal(signal.SIGINT)
            process.communicate(timeout=30)
        if self.state_files():
            self.run("down", "--name", self.name)


def wait_for_line(process: subprocess.Popen[str], text: str) -> None:
    """Read a process's talk until it says so."""
    assert process.stderr is not None
    told = []
    for line in process.stderr:
        told.append(line)
        if text in line:
            return
    raise AssertionError(f"ended without `{text}`: {''.join(told)}")


def kill(emu: Emu) -> None:
    """Kill the keeper by the process that is recorded, and see it end."""
    keeper = os.pidfd_open(emu.record().process.pid)
    signal.pidfd_send_signal(keeper, signal.SIGKILL)
    poll = select.poll()
    poll.register(keeper, select.POLLIN)
    try:
        assert poll.poll(30_000)
    finally:
        os.close(keeper)


def settle() -> None:
    """Wait as long as changes may stay unwritten, generously."""
    select.select([], [], [], 0.5)


def left(emu: Emu) -> list[str]:
    """All that there is of an emulation: files, processes, cgroups, mounts."""
    home, found = str(emu.home), [str(path) for path in emu.state_files()]
    commands = [(each.pid, " ".join(each.info["cmdline"] or ())) for each in psutil.process_iter(["cmdline"])]
    found += [f"process {pid}: {text}" for pid, text in commands if pid != os.getpid() and home in text]
    found += [str(path) for where in ("", "*/") for path in Path("/sys/fs/cgroup").glob(f"{where}*{emu.name}*")]
    found += [line for line in Path("/proc/self/mountinfo").read_text().splitlines() if home in line]
    return found
