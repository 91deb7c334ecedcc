"""Commands in machines that run, by an OCI engine."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

import msgspec

import sonata.adapters.runtime_oci.processes as processes
from sonata.adapters.runtime_oci.bundle import process
from sonata.adapters.runtime_oci.engine import Engine
from sonata.adapters.runtime_oci.launching import first_line
from sonata.adapters.runtime_oci.machine import Machine
from sonata.errors import AdapterError
from sonata.ports.runtime import Tell

_NOT_EXECUTED = 127  # exit status of a shell for a program that does not exist


async def run_command(
    engine: Engine, machine: Machine, argv: Sequence[str], stdin: bytes, scratch: Path, tell: Tell
) -> int:
    """Run a command in a machine, with nothing else in the folder `scratch`; its exit status.

    Raises:
        AdapterError: the engine was killed over it.
    """
    log, pid_file, request = scratch / "log", scratch / "pid", scratch / "process.json"
    request.write_bytes(msgspec.json.encode(process(machine.spec, argv)))
    command = engine.command("exec", f"--process={request}", f"--pid-file={pid_file}", machine.name, log=log)
    try:
        status = await processes.pass_on(command, stdin, tell)
    except asyncio.CancelledError:
        processes.kill_recorded(pid_file)
        processes.reap_soon(engine.kind)
        raise
    if status < 0:
        await _end_orphans(engine, machine, scratch)
        raise AdapterError(
            f"machine `{machine.spec.id}`: `{argv[0]}` was cut off: {processes.told(engine.kind, status)}",
            hint="what it has done until then stays done; run it again if it may be run twice",
            call=f"{engine.kind} exec",
        )
    complaint = first_line(log)
    if not complaint:
        return status
    processes.reap_soon(engine.kind)
    if engine.kind != "crun":  # which has written it to both places
        await tell("stderr", f"{complaint}\n".encode())
    return _NOT_EXECUTED


async def _end_orphans(engine: Engine, machine: Machine, scratch: Path) -> None:
    """Kill what an engine that was killed over a command has left in a machine."""
    called_by = f"{scratch}/"

    def found() -> set[int]:
        return processes.left_behind(engine.kind, called_by) | processes.in_same_machine(machine.pid)

    await processes.end_all(found)
    processes.reap_soon(engine.kind)
