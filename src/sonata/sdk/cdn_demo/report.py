"""What the demonstration found, as values that turn into JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, field
from typing import Any

from sonata._lib.values import dataclass
from sonata.sdk.demonstration import Fetch


@dataclass(frozen=True, slots=True)
class VnfTraffic:
    """What one VNF's interfaces counted while one object was fetched."""

    vnf: str
    pop: str
    received: Mapping[str, int]
    sent: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class PlacementReport:
    """One run of the service.

    Args:
        placement: `ssm` or `generic`.
        where: PoP by VNF, in chain order.
        decided_by: who decided, from the service's record.
        ready_s: from the request to READY.
        cold: first fetch of each object.
        cached: second fetch of each object.
        path: counters of one cold fetch.
        cache_hits: cached fetches that the cache answered.
    """

    placement: str
    where: Mapping[str, str]
    decided_by: str
    ready_s: float
    cold: tuple[Fetch, ...]
    cached: tuple[Fetch, ...]
    path: tuple[VnfTraffic, ...]
    cache_hits: int


@dataclass(frozen=True, slots=True)
class DemoReport:
    """The whole demonstration.

    Args:
        direct: fetches by the users before there was any service.
        kept: what was left running on request: `emulation`, its name, and `data`, the platform's data folder.
    """

    direct: tuple[Fetch, ...]
    placements: tuple[PlacementReport, ...]
    took_s: float
    kept: Mapping[str, str] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """A JSON value, with the rates added."""
        document = asdict(self)
        for run, values in zip(document["placements"], self.placements, strict=True):
            for kind in ("cold", "cached"):
                for item, fetch in zip(run[kind], getattr(values, kind), strict=True):
                    item["rate_mbps"] = round(fetch.rate_mbps, 2)
        return {"apiVersion": "sonata/v1", "kind": "CdnDemo", **document}
