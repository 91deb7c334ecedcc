"""The emulator's own API as Python calls, for the command line and for scripts."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import Any
from urllib.parse import quote

import httpx

from sonata import errors
from sonata.sdk.emulation_records import EmulationRecord

_TIMEOUT = httpx.Timeout(30.0, read=None)  # a command may run for as long as it likes


Document = Mapping[str, Any]
Rows = Sequence[Document]


class EmulatorClient:
    """One running emulation over HTTP. Raises the same errors as the emulation itself."""

    def __init__(self, url: str, token: str) -> None:
        self._http = httpx.Client(
            base_url=f"{url}/emulator/v1",
            headers={"Authorization": f"Bearer {token}"},
            timeout=_TIMEOUT,
            trust_env=False,
            verify=url.startswith("https:"),  # certificates take long to read, and are for TLS alone
        )

    @classmethod
    def of(cls, record: EmulationRecord) -> EmulatorClient:
        """A client of a recorded emulation."""
        return cls(record.url, record.token)

    def __enter__(self) -> EmulatorClient:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._http.close()

    def status(self) -> Document:
        """What runs."""
        answer: Document = self._json("GET", "/status")
        return answer

    def links(self) -> Rows:
        """Links as they are."""
        answer: Rows = self._json("GET", "/links")
        return answer

    def change_link(self, name: str, changes: Mapping[str, Any]) -> None:
        """Change `delay_s`, `jitter_s`, `loss`, `rate_bps`, `up` of a link; others stay."""
        self._call("PATCH", f"/links/{quote(name, safe='')}", json=dict(changes))

    def capture(self, name: str, seconds: float | None = None) -> Iterator[bytes]:
        """A link's packets as pcap, piece by piece."""
        params = {} if seconds is None else {"seconds": str(seconds)}
        with self._stream("GET", f"/links/{quote(name, safe='')}/capture", params=params) as response:
            yield from response.iter_raw()

    def endpoints(self) -> Rows:
        """Hosts outside of the PoPs."""
        answer: Rows = self._json("GET", "/endpoints")
        return answer

    def machines(self) -> Rows:
        """Endpoints and servers."""
        answer: Rows = self._json("GET", "/machines")
        return answer

    def counters(self, machine: str) -> Document:
        """Counters of a machine's ports."""
        answer: Document = self._json("GET", f"/machines/{quote(machine)}/counters")
        return answer

    def exec(self, machine: str, argv: Sequence[str], stdin: bytes = b"") -> tuple[int, bytes, bytes]:
        """Run a command in an endpoint or server; returns exit status, stdout and stderr."""
        kept = {"stdout": bytearray(), "stderr": bytearray()}
        status = self.follow(machine, argv, lambda stream, chunk: kept[stream].extend(chunk), stdin)
        return status, bytes(kept["stdout"]), bytes(kept["stderr"])

    def follow(self, machine: str, argv: Sequence[str], tell: Callable[[str, bytes], None], stdin: bytes = b"") -> int:
        """Run a command in an endpoint or server and tell its output as it comes; returns the exit status.

        The command ends when the caller goes away, e.g. by `KeyboardInterrupt`.

        Args:
            machine: an endpoint, or POP/SERVER.
            argv: the command and its arguments.
            tell: takes `stdout` or `stderr`, and what the command wrote there.
            stdin: what it reads.
        """
        body = {"name": machine, "argv": list(argv), "stdin": base64.b64encode(stdin).decode(), "stream": True}
        with self._stream("POST", "/exec", json=body) as response:
            for line in response.iter_lines():
                ((kind, value),) = json.loads(line).items()
                if kind == "status":
                    return int(value)
                if kind == "error":
                    raise _error_of(value)
                tell(kind, base64.b64decode(value))
        raise errors.TransientError(
            f"the emulator ended while the command ran in `{machine}`", hint="see `sonata emu ls`"
        )

    def events(self, kinds: Sequence[str] = (), *, after: int = 0) -> Rows:
        """The events that are kept, oldest first.

        Args:
            kinds: how the kind of an event may begin, as `link.`; none for all.
            after: number of the last event that is known already.
        """
        answer: Rows = self._json("GET", "/events", params={"after": after, "kind": list(kinds)})
        return answer

    def follow_events(self, kinds: Sequence[str] = (), *, after: int = 0) -> Iterator[Document]:
        """The events that are kept, then each as it happens, until the emulation ends."""
        params = {"after": after, "kind": list(kinds)}
        with self._stream("GET", "/events/stream", params=params) as response:
            yield from map(json.loads, response.iter_lines())

    def wan_graph(self) -> Document:
        """The wide area as an orchestrator sees it."""
        answer: Document = self._json("GET", "/wan/graph")
        return answer

    def wan_connections(self, tag_prefix: str = "") -> Rows:
        """Connections whose tag begins so."""
        answer: Rows = self._json("GET", "/wan/connections", params={"tag_prefix": tag_prefix})
        return answer

    @contextmanager
    def _stream(self, method: str, path: str, **options: Any) -> Iterator[httpx.Response]:
        with _reached(method, path), self._http.stream(method, path, **options) as response:
            if response.is_error:
                response.read()
                raise as_error(response)
            yield response

    def _json(self, method: str, path: str, **options: Any) -> Any:
        return self._call(method, path, **options).json()

    def _call(self, method: str, path: str, **options: Any) -> httpx.Response:
        with _reached(method, path):
            response = self._http.request(method, path, **options)
        if response.is_error:
            raise as_error(response)
        return response


@contextmanager
def _reached(method: str, path: str) -> Iterator[None]:
    try:
        yield
    except httpx.TransportError as error:
        raise errors.TransientError(
            f"the emulator does not answer: {error}", call=f"{method} {path}", hint="see `sonata emu ls`"
        ) from error


def as_error(response: httpx.Response) -> errors.SonataError:
    """The problem document of an answer, as an exception of the class that the emulator raised."""
    try:
        return _error_of(response.json())
    except (ValueError, KeyError):
        call = f"{response.request.method} {response.request.url.path}"
        return errors.PermanentError(f"the emulator answered {response.status_code}", call=call, answer=response.text)


def _error_of(problem: Mapping[str, Any]) -> errors.SonataError:
    return errors.error_class(problem["code"])(problem["detail"], hint=problem["hint"])
