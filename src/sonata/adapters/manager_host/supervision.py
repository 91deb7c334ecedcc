"""Sandboxes run by another process: `serve_sandboxes` there, `SupervisedSandboxes` in the platform.

The other process lives in a pid namespace of its own, so that all sandboxes die with it, and it ends when its socket
to the platform closes. One JSON object per line; requests carry a number, answers the same number, exits none.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Literal

import msgspec

from sonata._lib.values import dataclass
from sonata.adapters.manager_host.contracts import Sandboxes
from sonata.errors import AdapterError, NotFound, PermanentError, SonataError, TransientError, Unsupported
from sonata.ports.runtime import MachineExit, MachineSpec, OnExit

logger = logging.getLogger(__name__)
MAX_LINE = 4 * 1024 * 1024
READY_TIMEOUT_S = 10.0
ANSWER_TIMEOUT_S = 30.0


class Request(msgspec.Struct, omit_defaults=True):
    """Start a machine or stop one."""

    number: int
    verb: Literal["start", "stop"]
    spec: MachineSpec | None = None
    machine: str = ""
    grace_s: float = 2.0


class Failure(msgspec.Struct):
    """Why a request failed, by the stable code of its error class."""

    code: str
    message: str
    hint: str = ""


class Report(msgspec.Struct, omit_defaults=True):
    """An answer (with a number), an exit, or readiness (number 0)."""

    number: int = -1
    pid: int = 0
    failure: Failure | None = None
    exit: MachineExit | None = None


def _to_line(message: Any) -> bytes:
    return msgspec.json.encode(message, enc_hook=str) + b"\n"


def _path(kind: type, value: Any) -> Any:
    return Path(value) if kind is Path else value


_REQUESTS = msgspec.json.Decoder(Request, dec_hook=_path)
_REPORTS = msgspec.json.Decoder(Report)


async def serve_sandboxes(sandboxes: Sandboxes, platform: socket.socket) -> None:
    """Run sandboxes for the platform until it closes its end of the socket, then end them all."""
    reader, writer = await asyncio.open_connection(sock=platform, limit=MAX_LINE)

    async def report_exit(ended: MachineExit) -> None:
        writer.write(_to_line(Report(exit=ended)))

    async def answer(request: Request) -> None:
        writer.write(_to_line(await _carry_out(sandboxes, request, report_exit)))

    writer.write(_to_line(Report(number=0)))
    async with asyncio.TaskGroup() as tasks:
        with contextlib.suppress(ConnectionError):
            while line := await reader.readline():
                tasks.create_task(answer(_REQUESTS.decode(line)))
    await sandboxes.close()


async def report_failure(platform: socket.socket, error: SonataError) -> None:
    """Tell the platform that there will be no sandboxes, and why."""
    platform.sendall(_to_line(Report(number=0, failure=_failure_of(error))))


async def _carry_out(sandboxes: Sandboxes, request: Request, on_exit: OnExit) -> Report:
    try:
        if request.spec is not None:
            return Report(request.number, pid=await sandboxes.start(request.spec, on_exit))
        await sandboxes.stop(request.machine, grace_s=request.grace_s)
    except SonataError as error:
        return Report(request.number, failure=_failure_of(error))
    except OSError as error:  # one machine's trouble must not end all others
        return Report(request.number, failure=Failure(AdapterError.code, f"the sandbox failed: {error}"))
    return Report(request.number)


def _failure_of(error: SonataError) -> Failure:
    return Failure(error.code, error.message, error.hint)


_CLASSES = {kind.code: kind for kind in (PermanentError, TransientError, AdapterError, NotFound, Unsupported)}


def _error_of(failure: Failure) -> SonataError:
    return _CLASSES.get(failure.code, AdapterError)(failure.message, hint=failure.hint)


@dataclass(frozen=True)
class Supervisor:
    """A supervisor process.

    Args:
        socket: to it.
        process: the process itself.
        log: file with its complaints.
        clean: removes what it leaves on the host when it is killed; called after its end.
    """

    socket: socket.socket
    process: asyncio.subprocess.Process
    log: Path
    clean: Callable[[], None]


class SupervisedSandboxes:
    """Implements `contracts.Sandboxes` by asking a supervisor.

    The supervisor is started at the first use, and again at the next one when it has died.
    """

    def __init__(self, spawn: Callable[[], Awaitable[Supervisor]]) -> None:
        self._spawn = spawn
        self._starting = asyncio.Lock()
        self._numbers = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[Report]] = {}
        self._on_exit: dict[str, OnExit] = {}
        self._notices: set[asyncio.Task[None]] = set()
        self._supervisor: Supervisor | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._listener: asyncio.Task[None] | None = None

    async def connect(self) -> None:
        """Start the supervisor unless it runs, and wait until it is ready.

        Raises:
            Unsupported: this machine cannot run sandboxes, with the reason.
        """
        async with self._starting:
            if self._is_alive():
                return
            self._supervisor = supervisor = await self._spawn()
            reader, self._writer = await asyncio.open_connection(sock=supervisor.socket, limit=MAX_LINE)
            ready = self._expect(0)
            self._listener = asyncio.get_running_loop().create_task(self._listen(reader))
            await self._wait_ready(ready, supervisor)

    async def _wait_ready(self, ready: asyncio.Future[Report], supervisor: Supervisor) -> None:
        try:
            async with asyncio.timeout(READY_TIMEOUT_S):
                await self._result(ready)
        except (TimeoutError, AdapterError) as error:
            log = await asyncio.to_thread(supervisor.log.read_text, errors="replace")
            reason = (log.strip().splitlines() or [str(error) or f"not ready within {READY_TIMEOUT_S:g} s"])[-1]
            raise Unsupported(
                f"managers cannot be run in sandboxes here: {reason}",
                hint="run as root or allow user namespaces, and install crun; `sonata doctor` tells more",
            ) from error

    def _is_alive(self) -> bool:
        return self._listener is not None and not self._listener.done()

    async def start(self, spec: MachineSpec, on_exit: OnExit | None = None) -> int:
        """Start a machine; see `ports.runtime.Runtime`."""
        await self.connect()
        if on_exit is not None:
            self._on_exit[spec.id] = on_exit
        report = await self._ask(Request(next(self._numbers), "start", spec=spec))
        return report.pid

    async def stop(self, machine_id: str, *, grace_s: float = 2.0) -> None:
        """End a machine. Idempotent, also when the supervisor has ended and the machine with it."""
        self._on_exit.pop(machine_id, None)
        if not self._is_alive():
            return
        try:
            await self._ask(Request(next(self._numbers), "stop", machine=machine_id, grace_s=grace_s))
        except AdapterError:
            if self._is_alive():
                raise

    async def close(self) -> None:
        """Hang up; the supervisor then ends all machines and itself."""
        if self._supervisor is None or self._writer is None or self._listener is None:
            return
        if self._is_alive():
            with contextlib.suppress(OSError):  # it is dying already
                self._writer.write_eof()
        await asyncio.wait({self._listener}, timeout=READY_TIMEOUT_S)
        self._writer.close()
        await self._supervisor.process.wait()
        await asyncio.to_thread(self._supervisor.clean)

    async def _ask(self, request: Request) -> Report:
        if self._writer is None or not self._is_alive():
            raise TransientError("the supervisor of managers has ended")
        answer = self._expect(request.number)
        self._writer.write(_to_line(request))
        try:
            async with asyncio.timeout(ANSWER_TIMEOUT_S):
                return await self._result(answer)
        except TimeoutError:
            message = f"the supervisor of managers did not answer within {ANSWER_TIMEOUT_S:g} s"
            raise TransientError(message, call=request.verb) from None

    def _expect(self, number: int) -> asyncio.Future[Report]:
        self._waiting[number] = asyncio.get_running_loop().create_future()
        return self._waiting[number]

    async def _result(self, answer: asyncio.Future[Report]) -> Report:
        report = await answer
        if report.failure is not None:
            raise _error_of(report.failure)
        return report

    async def _listen(self, reader: asyncio.StreamReader) -> None:
        try:
            while line := await reader.readline():
                self._take(_REPORTS.decode(line))
        except (ConnectionError, msgspec.DecodeError) as error:
            logger.exception("supervisor of managers lost", extra={"reason": str(error)})
        finally:
            self._give_up()

    def _take(self, report: Report) -> None:
        if report.exit is not None:
            self._note(report.exit)
        elif (answer := self._waiting.pop(report.number, None)) is not None and not answer.done():
            answer.set_result(report)

    def _give_up(self) -> None:
        """Nothing comes any more: fail who waits, and tell that every machine has ended."""
        reason = "the supervisor of managers has ended"
        for answer in self._waiting.values():
            if not answer.done():
                answer.set_result(Report(failure=Failure(AdapterError.code, reason)))
        self._waiting.clear()
        for machine in tuple(self._on_exit):
            self._note(MachineExit(machine, -1, reason))

    def _note(self, ended: MachineExit) -> None:
        on_exit = self._on_exit.pop(ended.machine, None)
        if on_exit is not None:
            task = asyncio.ensure_future(on_exit(ended))
            self._notices.add(task)
            task.add_done_callback(self._notices.discard)
