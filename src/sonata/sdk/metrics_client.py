"""Metrics of an emulation as Python calls."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sonata.sdk.emulation_records import EmulationRecord
from sonata.sdk.emulator_http import EmulatorHttp

Document = Mapping[str, Any]


class MetricsClient(EmulatorHttp):
    """What is seen of one running emulation, over HTTP."""

    @classmethod
    def of(cls, record: EmulationRecord) -> MetricsClient:
        """A client of a recorded emulation."""
        return cls(record.url, record.token)

    def exposition(self) -> str:
        """All metrics as they are now, as text that Prometheus reads."""
        return self._call("GET", "/metrics")

    def metrics(self) -> Sequence[Document]:
        """All families with their series as they are now."""
        answer: Sequence[Document] = self._json("GET", "/metrics", headers={"Accept": "application/json"})
        return answer

    def query(self, text: str, at: float | None = None) -> Document:
        """What an expression comes to: `type`, and `result` with numbers as text."""
        params: dict[str, str | float] = {"query": text, **({} if at is None else {"time": at})}
        answer: Document = self._json("GET", "/query", params=params)
        return answer

    def rules(self) -> Sequence[Document]:
        """The recording rules, each with what went wrong at its last evaluation."""
        answer: Sequence[Document] = self._json("GET", "/rules", headers={"Accept": "application/json"})
        return answer

    def replace_rules(self, text: str) -> None:
        """Make these the rules, as text that Prometheus loads; none for an empty one."""
        self._call("PUT", "/rules", content=text.encode())

    def watch_links(self, every_s: float | None) -> None:
        """Measure all links in the background at even times; None stops it."""
        self._call("PUT", "/watch", json={"every_s": every_s})
