"""The client's side of a terminal in a machine, by WebSocket."""

from __future__ import annotations

import json
from urllib.parse import quote

from websockets.exceptions import ConnectionClosed, InvalidStatus, WebSocketException
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Subprotocol

from sonata.errors import TransientError
from sonata.sdk.emulation_records import EmulationRecord
from sonata.sdk.emulator_http import as_error

BINARY = Subprotocol("binary")


class RemoteTerminal:
    """A terminal that is far away. Reading and the rest may be done by different threads."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket

    @classmethod
    def of(cls, record: EmulationRecord, machine: str, *, rows: int, columns: int) -> RemoteTerminal:
        """A shell on a terminal in an endpoint or server of a recorded emulation.

        Raises:
            SonataError: whatever the emulation refuses it for.
            TransientError: nobody answers.
        """
        path = f"/emulator/v1/machines/{quote(machine)}/console?rows={rows}&columns={columns}"
        url, headers = record.url.replace("http", "ws", 1) + path, {"Authorization": f"Bearer {record.token}"}
        try:
            return cls(connect(url, additional_headers=headers, subprotocols=[BINARY], proxy=None, max_size=None))
        except InvalidStatus as error:
            refusal = bytes(error.response.body or b"").decode(errors="replace")
            raise as_error("GET /console", error.response.status_code, refusal) from error
        except (OSError, WebSocketException) as error:
            raise TransientError(f"the emulator does not answer: {error}", hint="see `sonata emu ls`") from error

    def read(self) -> bytes:
        """What was printed next; empty at the end."""
        try:
            printed = self._socket.recv()
        except ConnectionClosed:
            return b""
        return printed.encode() if isinstance(printed, str) else printed

    def write(self, typed: bytes) -> bool:
        """Type something; whether anybody is there to take it."""
        return self._send(typed)

    def resize(self, rows: int, columns: int) -> None:
        """Tell how large the window is."""
        self._send(json.dumps({"rows": rows, "columns": columns}))

    def close(self) -> None:
        """Hang up; idempotent."""
        self._socket.close()

    def _send(self, message: bytes | str) -> bool:
        try:
            self._socket.send(message)
        except ConnectionClosed:
            return False
        return True
