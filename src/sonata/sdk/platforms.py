"""Starting and stopping service platforms: each is a process of its own.

A platform that is not let go of ends with the process that started it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import IO

from sonata._lib.paths import private_folder
from sonata._lib.processes import end_process, is_running
from sonata.engine.failure import error_of, failure_from_plain
from sonata.errors import AdapterError, Conflict, NotFound
from sonata.sdk.platform_records import LOG_FILE, PlatformRecord, find, load, remove

DEFAULT_HOST, DEFAULT_PORT = "127.0.0.1", 8900
GRACE_S = 15.0
LET_GO = b"d"
_LOG_TAIL = 2000

Progress = Callable[[str], None]


class RunningPlatform:
    """A platform that this process started and that ends with it, unless it is let go of."""

    def __init__(self, data: Path, record: PlatformRecord, process: subprocess.Popen[bytes], lifeline: int) -> None:
        self.data = data
        self.record = record
        self._process = process
        self._lifeline = lifeline

    def __enter__(self) -> RunningPlatform:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._lifeline >= 0:
            self.stop()

    def let_go(self) -> None:
        """Let the platform outlive this process."""
        os.write(self._lifeline, LET_GO)
        self._hang_up()

    def wait(self) -> int:
        """Wait until the platform has ended; returns its exit status."""
        return self._process.wait()

    def stop(self) -> None:
        """End the platform. Idempotent."""
        if is_running(self.record.process):
            end_process(self.record.process, grace_s=GRACE_S)
        self._process.wait()
        self._hang_up()
        remove(self.data)

    def _hang_up(self) -> None:
        if self._lifeline >= 0:
            os.close(self._lifeline)
            self._lifeline = -1


def start(data: Path, *, listen: tuple[str, int] = (DEFAULT_HOST, DEFAULT_PORT)) -> RunningPlatform:
    """Start a platform and return when it answers.

    Args:
        data: its data folder; made when it does not exist.
        listen: loopback address; port 0 picks a free one.

    Raises:
        Conflict: the data folder or the address is in use; told by whom.
        SonataError: whatever made the start fail.
    """
    private_folder(data)
    lifeline_read, lifeline_write = os.pipe()
    report_read, report_write = os.pipe()
    config = {
        "data": str(data),
        "host": listen[0],
        "port": listen[1],
        "report": report_write,
        "lifeline": lifeline_read,
    }
    with os.fdopen(report_read, "rb") as reports, ExitStack() as undo:
        undo.callback(os.close, lifeline_write)  # which ends the platform
        try:
            process = _spawn(json.dumps(config), data, (report_write, lifeline_read))
        finally:
            os.close(report_write)
            os.close(lifeline_read)
        undo.pop_all()
        undo.callback(_outlive, process)
        undo.callback(os.close, lifeline_write)  # first, since it ends the platform
        _await_ready(reports, data)
        undo.pop_all()
    return RunningPlatform(data, find(data), process, lifeline_write)


def _spawn(config: str, data: Path, inherited: tuple[int, ...]) -> subprocess.Popen[bytes]:
    log = os.open(data / LOG_FILE, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    try:
        return subprocess.Popen(
            [sys.executable, "-m", "sonata.daemon.platform", config],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            pass_fds=inherited,
            # A session of its own: Ctrl-C reaches the starter alone, which then ends the platform in order.
            start_new_session=True,
        )
    finally:
        os.close(log)


def _outlive(process: subprocess.Popen[bytes]) -> None:
    """Wait for the end of a platform whose start was given up; its data folder is in nobody's use then."""
    try:
        process.wait(GRACE_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _await_ready(reports: IO[bytes], data: Path) -> None:
    line = reports.readline()
    if not line:
        log = (data / LOG_FILE).read_text(errors="replace")[-_LOG_TAIL:]
        last = log.strip().rpartition("\n")[2] or "it was killed"
        raise AdapterError(f"the platform died while it started: {last}", answer=log)
    report = json.loads(line)
    if "error" in report:
        raise error_of(failure_from_plain(report["error"]))


def stop(data: Path) -> None:
    """End the platform of a data folder, also one that was started elsewhere, and forget it.

    Raises:
        NotFound: none runs.
    """
    record = load(data)
    runs = record is not None and is_running(record.process)
    if record is not None and runs:
        end_process(record.process, grace_s=GRACE_S)
    remove(data)
    if not runs:
        raise NotFound(f"no platform runs on data folder `{data}`", hint="start one with `sonata up`")


def refuse_running(data: Path) -> None:
    """Raise Conflict when a platform runs on a data folder."""
    record = load(data)
    if record is not None and is_running(record.process):
        raise Conflict(
            f"a platform runs on data folder `{data}`: pid {record.process.pid}, {record.url}",
            hint="stop it with `sonata down`, or choose another folder with `--data`",
        )
