"""What the demonstration found, as values that turn into JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, field
from typing import Any

from sonata._lib.values import dataclass
from sonata.sdk.demonstration import Fetch


@dataclass(frozen=True, slots=True)
class Packets:
    """Packets that a VNF's interfaces counted."""

    received: int
    sent: int

    def since(self, before: Packets) -> Packets:
        """What was counted after an earlier count."""
        return Packets(self.received - before.received, self.sent - before.sent)


@dataclass(frozen=True, slots=True)
class VnfTraffic:
    """What one VNF counted while the objects were fetched, the first time (cold) and the second time (cached)."""

    vnf: str
    pop: str
    cold: Packets
    cached: Packets


@dataclass(frozen=True, slots=True)
class FormReport:
    """The service in one form.

    Args:
        form: how it was described.
        address: where users reached it.
        ready_s: from the first command or request to the last one's end.
        cold: first fetch of each object.
        cached: second fetch of each object.
        traffic: counters, in the order in which requests pass the VNFs.
    """

    form: str
    address: str
    ready_s: float
    cold: tuple[Fetch, ...]
    cached: tuple[Fetch, ...]
    traffic: tuple[VnfTraffic, ...]

    @property
    def cache_hits(self) -> int:
        """Cached fetches that the cache answered."""
        return sum(fetch.cache == "HIT" for fetch in self.cached)


@dataclass(frozen=True, slots=True)
class MultipopReport:
    """The whole demonstration.

    Args:
        kept: what was left running on request: `emulation`, its name, and `data`, the platform's data folder.
    """

    forms: tuple[FormReport, ...]
    took_s: float
    kept: Mapping[str, str] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """A JSON value, with the cache hits added."""
        document = asdict(self)
        for row, form in zip(document["forms"], self.forms, strict=True):
            row["cache_hits"] = form.cache_hits
        return {"apiVersion": "sonata/v1", "kind": "MultipopDemo", **document}
