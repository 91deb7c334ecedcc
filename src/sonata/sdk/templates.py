"""A process that the keepers of this one are forked from, so that only the first of them waits for imports.

A script or a test suite which starts many emulations has one, from the first of them to its own end.
"""

from __future__ import annotations

import atexit
import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable

from sonata.sdk.keepers import Ties

_LENGTH = 4


class Template:
    """Forks keepers; its process starts with the first one, and ends with this process."""

    def __init__(self) -> None:
        self._turn = threading.Lock()
        self._owner = 0
        self._channel: socket.socket | None = None
        self._process: subprocess.Popen[bytes] | None = None

    def spawn(self, ties: Ties) -> Callable[[], object]:
        """Fork a keeper, with the environment as it is now; see `keepers.Spawn`."""
        with self._turn:
            try:
                _ask(self._living() or self._start(), ties)
            except (BrokenPipeError, ConnectionResetError):  # it died just now
                _ask(self._start(), ties)
        return lambda: None

    def close(self) -> None:
        """End its process; keepers live on. Idempotent; a fork of the process that started it leaves it alone."""
        if self._channel:
            self._channel.close()
            self._channel = None
        if self._process and self._owner == os.getpid():
            self._process.kill()  # it may be importing still, and holds nothing
            self._process.wait()
        self._process = None

    def _living(self) -> socket.socket | None:
        """The channel to its process; None where this process has none that lives."""
        lives = self._owner == os.getpid() and self._process and self._process.poll() is None
        return self._channel if lives else None

    def _start(self) -> socket.socket:
        """Start its process anew; the channel to it."""
        self.close()
        channel, other = socket.socketpair()
        with other:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "sonata.daemon.template", str(other.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=[other.fileno()],
                cwd="/",
                start_new_session=True,  # Ctrl-C in our terminal is not meant for it
            )
        self._channel, self._owner = channel, os.getpid()
        return channel


def _ask(channel: socket.socket, ties: Ties) -> None:
    body = json.dumps(dict(os.environ)).encode()
    socket.send_fds(channel, [len(body).to_bytes(_LENGTH, "big")], list(ties))
    channel.sendall(body)


TEMPLATE = Template()
"""The one of this process."""
atexit.register(TEMPLATE.close)
