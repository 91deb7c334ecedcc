"""Asking the emulator's own API: requests, streams, and its refusals as the exceptions that they were.

It listens on this machine and speaks JSON, for which the standard library is enough; a client library for all of the
web would take longer to import than the emulator to answer.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from http.client import HTTPConnection, HTTPException, HTTPResponse
from types import TracebackType
from typing import Any, Self, TypeVar
from urllib.parse import urlencode, urlsplit

from sonata import errors

_REACHED_WITHIN_S = 30.0
_PIECE_BYTES = 65536
_BASE = "/emulator/v1"

T = TypeVar("T")


class EmulatorHttp:
    """One running emulation over HTTP. Raises the same errors as the emulation itself. For several threads at once."""

    def __init__(self, url: str, token: str) -> None:
        where = urlsplit(url)
        self._host, self._port = where.hostname or "", where.port
        self._token = token
        self._open: set[Answer] = set()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Hang up, also on streams that nobody has read to their end."""
        while self._open:
            self._open.pop().close()

    @contextmanager
    def _stream(self, method: str, path: str, **options: Any) -> Iterator[Answer]:
        """Ask, and hand out the answer as soon as it begins.

        Args:
            method: of HTTP.
            path: below the API's own.
            options: `params` for the query, `json` or `content` as body, further `headers`.
        """
        answer = self._ask(method, path, **options)
        self._open.add(answer)
        try:
            if answer.status >= 400:
                raise answer.as_error()
            yield answer
        finally:
            self._open.discard(answer)
            answer.close()

    def _ask(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, Any] | None = None,
        json: object = None,
        content: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        target = f"{_BASE}{path}" + (f"?{urlencode(params, doseq=True)}" if params else "")
        body, described = (_encoded(json), {"Content-Type": "application/json"}) if json is not None else (content, {})
        told = {"Authorization": f"Bearer {self._token}", **described, **(headers or {})}

        connection = HTTPConnection(self._host, self._port, timeout=_REACHED_WITHIN_S)

        def ask() -> HTTPResponse:
            connection.connect()
            connection.request(method, target, body, told)
            connection.sock.settimeout(None)  # a command may run for as long as it likes
            return connection.getresponse()

        with ExitStack() as undo:
            undo.callback(connection.close)
            answer = Answer(f"{method} {path}", _reached(f"{method} {path}", ask), connection)
            undo.pop_all()
        return answer

    def _call(self, method: str, path: str, **options: Any) -> str:
        """Ask, and return the whole answer as text."""
        with self._stream(method, path, **options) as answer:
            return answer.text()

    def _json(self, method: str, path: str, **options: Any) -> Any:
        return json.loads(self._call(method, path, **options))


class Answer:
    """What the emulator says, as it comes."""

    def __init__(self, call: str, response: HTTPResponse, connection: HTTPConnection) -> None:
        self.status = response.status
        self._call = call
        self._response = response
        self._connection = connection

    def text(self) -> str:
        """All of it."""
        return _reached(self._call, self._response.read).decode(errors="replace")

    def pieces(self) -> Iterator[bytes]:
        """Bytes as they come."""
        while piece := _reached(self._call, lambda: self._response.read1(_PIECE_BYTES)):
            yield piece

    def lines(self) -> Iterator[bytes]:
        """Lines as they come."""
        while line := _reached(self._call, self._response.readline):
            yield line

    def close(self) -> None:
        """Hang up; idempotent."""
        self._response.close()
        self._connection.close()

    def as_error(self) -> errors.SonataError:
        """A refusal, as the exception that the emulator raised."""
        return as_error(self._call, self.status, self.text())


def _encoded(value: object) -> bytes:
    return json.dumps(value).encode()


def _reached(call: str, do: Callable[[], T]) -> T:
    try:
        return do()
    except (OSError, HTTPException) as error:
        raise errors.TransientError(
            f"the emulator does not answer: {error}", call=call, hint="see `sonata emu ls`"
        ) from error


def as_error(call: str, status: int, text: str) -> errors.SonataError:
    """The problem document of an answer, as an exception of the class that the emulator raised."""
    try:
        return error_of(json.loads(text))
    except (ValueError, KeyError):
        return errors.PermanentError(f"the emulator answered {status}", call=call, answer=text)


def error_of(problem: Mapping[str, Any]) -> errors.SonataError:
    """A problem document as an exception of the class that the emulator raised."""
    return errors.error_class(problem["code"])(problem["detail"], hint=problem["hint"])
