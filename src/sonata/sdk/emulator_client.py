"""The emulator's own API as Python calls, for the command line and for scripts."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping, Sequence
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
        with self._http.stream("GET", f"/links/{quote(name, safe='')}/capture", params=params) as response:
            if response.is_error:
                response.read()
                raise as_error(response)
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
        body = {"name": machine, "argv": list(argv), "stdin": base64.b64encode(stdin).decode()}
        answer = self._json("POST", "/exec", json=body)
        return answer["status"], base64.b64decode(answer["stdout"]), base64.b64decode(answer["stderr"])

    def wan_graph(self) -> Document:
        """The wide area as an orchestrator sees it."""
        answer: Document = self._json("GET", "/wan/graph")
        return answer

    def wan_connections(self, tag_prefix: str = "") -> Rows:
        """Connections whose tag begins so."""
        answer: Rows = self._json("GET", "/wan/connections", params={"tag_prefix": tag_prefix})
        return answer

    def _json(self, method: str, path: str, **options: Any) -> Any:
        return self._call(method, path, **options).json()

    def _call(self, method: str, path: str, **options: Any) -> httpx.Response:
        try:
            response = self._http.request(method, path, **options)
        except httpx.TransportError as error:
            raise errors.TransientError(
                f"the emulator does not answer: {error}", call=f"{method} {path}", hint="see `sonata emu ls`"
            ) from error
        if response.is_error:
            raise as_error(response)
        return response


def as_error(response: httpx.Response) -> errors.SonataError:
    """The problem document of an answer, as an exception of the class that the emulator raised."""
    try:
        problem = response.json()
        kind = errors.error_class(problem["code"])
    except (ValueError, KeyError):
        call = f"{response.request.method} {response.request.url.path}"
        return errors.PermanentError(f"the emulator answered {response.status_code}", call=call, answer=response.text)
    return kind(problem["detail"], hint=problem["hint"])
