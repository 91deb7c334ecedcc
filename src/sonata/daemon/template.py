"""A process that keepers are forked from: it has imported what they need, and waits.

Run as `python -m sonata.daemon.template CHANNEL_FD` by `sonata.sdk.templates`. Each message on the channel is one
keeper: the environment, and descriptors for its reports, its lifeline, its orders and its log. It ends with the
channel, that is, with the process which holds the other end. It has one thread, as only so a process may enter a user
namespace.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import signal
import socket
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

gc.disable()  # nothing of what is imported here is garbage

import anyio  # noqa: E402  # after the line before
import uvicorn  # noqa: E402

from sonata._lib.values import write_all  # noqa: E402  # after the line before
from sonata.daemon.emulation import keep  # noqa: E402
from sonata.daemon.keeper import build  # noqa: E402

_DESCRIPTORS = 4
_LENGTH = 4


def main() -> None:
    """Fork keepers until the channel ends."""
    gc.freeze()
    gc.enable()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # who forks us keepers waits for none
    with socket.socket(fileno=int(sys.argv[1])) as channel:
        while order := _next_order(channel):
            environment, descriptors = order
            if os.fork() == 0:
                channel.close()
                _become_keeper(environment, descriptors)
            for descriptor in descriptors:
                os.close(descriptor)
            _do_ahead()


def _do_ahead() -> None:
    """Do what each keeper would do for itself when it is first called: who starts a second one starts many."""
    write_all()
    uvicorn.Config(_answer, log_config=None, lifespan="off").load()
    asyncio.run(_answer({}, None, None))
    gc.freeze()


async def _answer(_scope: Any, _receive: Any, _send: Any) -> None:
    """What any answer in pieces takes."""
    async with anyio.create_task_group():
        pass


def _next_order(channel: socket.socket) -> tuple[dict[str, str], Sequence[int]] | None:
    """The environment and the descriptors of the next keeper; None at the channel's end."""
    head, descriptors, _, _ = socket.recv_fds(channel, _LENGTH, _DESCRIPTORS)
    if not head:
        return None
    with channel.makefile("rb") as stream:
        body = stream.read(int.from_bytes(head, "big"))
    environment: dict[str, str] = json.loads(body)
    return environment, descriptors


def _become_keeper(environment: dict[str, str], descriptors: Sequence[int]) -> NoReturn:
    report, lifeline, orders, log = descriptors
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    os.environ.clear()
    os.environ.update(environment)
    for standard in (sys.stdout, sys.stderr):
        os.dup2(log, standard.fileno())
    os.close(log)
    build(report, lambda: sys.exit(keep(report, lifeline, orders)))
    sys.exit()


if __name__ == "__main__":
    main()
