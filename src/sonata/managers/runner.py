"""Runs an author's file as a manager: `python -m sonata.managers.runner PATH`.

With `PIPE FOLDER` instead, the file's path in the folder is read from the named pipe, however late it comes: so this
program can be started before it is known whose manager it will be.

Connects to the bus socket named by `SONATA_BUS` (`ws+unix:/run/sonata/bus.sock`), registers, and answers events until
the platform hangs up. It holds no credential: the socket is its identity. Author code that raises fails the event
with the end of its traceback, and the manager lives on.
"""

from __future__ import annotations

import logging
import os
import resource
import sys
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path

from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, unix_connect

from sonata.errors import InvalidInput, ManagerError, SonataError
from sonata.managers.author import ServiceSpecificManager, name_of
from sonata.managers.events import API_VERSION, EVENTS
from sonata.managers.loading import managers_by_role
from sonata.managers.messages import MAX_FRAME_BYTES, Frame, read_frame, write_frame

logger = logging.getLogger(__name__)
TRACEBACK_LINES = 12
SCHEME = "ws+unix:"
MAX_FILE_BYTES = 16 * 1024**2


def socket_path(url: str) -> str:
    """Path of the socket in a bus URL; raises InvalidInput when it is not a `ws+unix:` URL."""
    if not url.startswith(SCHEME + "/"):
        raise InvalidInput(f"SONATA_BUS must look like `{SCHEME}/path/to/socket`, not `{url}`")
    return url.removeprefix(SCHEME)


def entry_path(arguments: Sequence[str]) -> Path:
    """The author's file: given, or told by a pipe that is waited for.

    Raises:
        ManagerError: the platform closed the pipe.
    """
    if len(arguments) == 1:
        return Path(arguments[0])
    pipe, folder = map(Path, arguments)
    with pipe.open() as lines:
        told = lines.readline().strip()
    if not told:
        raise ManagerError("the platform needs no manager")
    return folder / told


def bound_resources() -> None:
    """Bound what author code can take where the host has no cgroups for it: data in memory, and files with the log."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (MAX_FILE_BYTES, MAX_FILE_BYTES))
    memory = int(os.environ.get("SONATA_MEMORY_BYTES", "0"))
    if memory:
        resource.setrlimit(resource.RLIMIT_DATA, (memory, memory))


def answer(managers: Mapping[str, ServiceSpecificManager], frame: Frame) -> str:
    """Answer one request of the platform, whatever the author's code does; returns the frame to send."""
    role = frame.topic.rpartition(".")[2]
    try:
        event = EVENTS[role]
        state = event.read_state(frame.body)
        decision = getattr(managers[role], event.method)(state)
        return write_frame(Frame("reply", id=frame.id, body=event.write_decision(decision)))
    except Exception as error:
        reason = _explain(error)
        logger.error("event failed: %s", reason)  # noqa: TRY400 - the traceback without the kit's frames
        return write_frame(Frame("failure", id=frame.id, error=reason))


def _explain(error: Exception) -> str:
    """What the author needs: the message of a decision not taken, else the end of the traceback of their own code."""
    if isinstance(error, SonataError):
        return str(error)
    told = traceback.TracebackException.from_exception(error)
    told.stack = traceback.StackSummary.from_list(frame for frame in told.stack if not _is_ours(frame.filename))
    lines = "".join(told.format()).strip().splitlines()
    return "\n".join(lines[-TRACEBACK_LINES:])


def _is_ours(filename: str) -> bool:
    return filename.startswith(("<frozen importlib", str(Path(__file__).parent)))


def register(connection: ClientConnection, managers: Mapping[str, ServiceSpecificManager]) -> None:
    """Tell the platform who answers what, after taking its questions on.

    Raises:
        ManagerError: the platform refused.
    """
    prefix = read_frame(connection.recv()).topic
    for number, role in enumerate(managers):
        connection.send(write_frame(Frame("respond", id=f"respond-{number}", topic=f"{prefix}.{role}")))
        _expect(connection, "done")
    names = sorted({name_of(type(manager)) for manager in managers.values()})
    body = {"api": API_VERSION, "names": names, "roles": sorted(managers)}
    connection.send(write_frame(Frame("request", id="register", topic=f"{prefix}.register", body=body)))
    _expect(connection, "reply")
    logger.info("manager registered", extra={"names": names, "roles": sorted(managers)})


def _expect(connection: ClientConnection, kind: str) -> None:
    frame = read_frame(connection.recv())
    if frame.kind != kind:
        raise ManagerError(f"the platform answered `{frame.kind}`: {frame.error}")


def serve(connection: ClientConnection, managers: Mapping[str, ServiceSpecificManager]) -> None:
    """Answer requests, one after another, until the platform closes the connection."""
    try:
        for text in connection:
            frame = read_frame(text)
            if frame.kind == "request":
                connection.send(answer(managers, frame))
    except ConnectionClosed as error:
        logger.info("the platform hung up", extra={"reason": str(error)})


def main() -> int:
    """Run until the platform hangs up; returns 1 when the manager could not be started."""
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s %(message)s")
    try:
        bound_resources()
        path = socket_path(os.environ.get("SONATA_BUS", ""))
        managers = managers_by_role(entry_path(sys.argv[1:]))
        with unix_connect(path, uri="ws://localhost/", max_size=MAX_FRAME_BYTES, compression=None) as connection:
            register(connection, managers)
            serve(connection, managers)
    except Exception as error:
        logger.error("manager cannot run: %s", _explain(error))  # noqa: TRY400 - as above
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
