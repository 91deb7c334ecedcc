"""The emulator's own API as Python calls, for the command line and for scripts."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import quote

from sonata import errors
from sonata._lib.plain import encode, from_plain
from sonata.model.topology import Topology
from sonata.sdk.emulation_records import EmulationRecord
from sonata.sdk.emulator_http import EmulatorHttp, error_of

Document = Mapping[str, Any]
Rows = Sequence[Document]


class EmulatorClient(EmulatorHttp):
    """One running emulation over HTTP. Raises the same errors as the emulation itself."""

    @classmethod
    def of(cls, record: EmulationRecord) -> EmulatorClient:
        """A client of a recorded emulation."""
        return cls(record.url, record.token)

    def status(self) -> Document:
        """What runs."""
        answer: Document = self._json("GET", "/status")
        return answer

    def apply(self, topology: Topology, *, dry_run: bool = False) -> Document:
        """Make the emulation this topology; returns what was done, or with `dry_run` what would be done.

        Raises:
            Conflict: it cannot be done while the emulation runs, with all reasons; nothing was changed then.
        """
        params = {"dry_run": str(dry_run).lower()}
        answer: Document = self._json("PUT", "/topology", params=params, content=encode(topology))
        return answer

    def definition(self, *, with_servers: bool = False) -> tuple[Topology, Sequence[str]]:
        """The topology as it is now, and what it cannot say of the emulation."""
        answer = self._json("GET", "/definition", params={"servers": str(with_servers).lower()})
        return from_plain(answer["topology"], Topology), answer["left_out"]

    def links(self) -> Rows:
        """Links as they are."""
        answer: Rows = self._json("GET", "/links")
        return answer

    def change_link(self, name: str, changes: Mapping[str, Any]) -> None:
        """Change `delay_s`, `jitter_s`, `loss`, `rate_bps`, `up` of a link; others stay."""
        self._call("PATCH", f"/links/{quote(name, safe='')}", json=dict(changes))

    def check_link(self, name: str, seconds: float) -> Document:
        """Measure a link and compare it with what was declared; takes some times as many seconds."""
        answer: Document = self._json("POST", f"/links/{quote(name, safe='')}/check", json={"seconds": seconds})
        return answer

    def capture_interface(self, machine: str, interface: str, seconds: float | None = None) -> Iterator[bytes]:
        """Packets of an interface of an endpoint or server as pcap, piece by piece."""
        params = {} if seconds is None else {"seconds": str(seconds)}
        path = f"/machines/{quote(machine)}/interfaces/{quote(interface, safe='')}/capture"
        with self._stream("GET", path, params=params) as answer:
            yield from answer.pieces()

    def capture(self, name: str, seconds: float | None = None) -> Iterator[bytes]:
        """A link's packets as pcap, piece by piece."""
        params = {} if seconds is None else {"seconds": str(seconds)}
        with self._stream("GET", f"/links/{quote(name, safe='')}/capture", params=params) as answer:
            yield from answer.pieces()

    def endpoints(self) -> Rows:
        """Hosts outside of the PoPs."""
        answer: Rows = self._json("GET", "/endpoints")
        return answer

    def move_endpoint(self, name: str, to: str) -> None:
        """Attach an endpoint to another cell or PoP."""
        self._call("POST", f"/endpoints/{quote(name, safe='')}/move", json={"to": to})

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
        with self._stream("POST", "/exec", json=body) as answer:
            for line in answer.lines():
                ((kind, value),) = json.loads(line).items()
                if kind == "status":
                    return int(value)
                if kind == "error":
                    raise error_of(value)
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
        with self._stream("GET", "/events/stream", params=params) as answer:
            yield from map(json.loads, answer.lines())

    def wan_graph(self) -> Document:
        """The wide area as an orchestrator sees it."""
        answer: Document = self._json("GET", "/wan/graph")
        return answer

    def wan_connections(self, tag_prefix: str = "") -> Rows:
        """Connections whose tag begins so."""
        answer: Rows = self._json("GET", "/wan/connections", params={"tag_prefix": tag_prefix})
        return answer
