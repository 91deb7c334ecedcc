"""A network as a foreign file describes it, before it has names and units of ours.

Codes: NET-0001 syntax, -0002 entities or references to other files, -0003 unknown format, -0004 no network in it or
several, -0005 node without an id or with one that is taken, -0006 link without two known ends, -0007 no number or one
out of range, -0008 too big or too deep, -0009 something that topologies have no equal of.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import field, replace
from typing import Any

from sonata._lib.values import dataclass
from sonata.errors import Diagnostic, InvalidInput
from sonata.formats.yaml_nodes import MAX_FINDINGS
from sonata.model.topology import Impairment

DRAWING = "coordinates are those of a drawing, not places on earth: no locations, and no delays from distances"

Place = tuple[int, int]
"""Line and column in the file, 1-based; zeros where unknown."""


@dataclass(frozen=True, slots=True)
class Node:
    """A node of the file.

    Args:
        key: by which links refer to it.
        label: its name for people, the key where it has none.
        place: where it is in the file.
        location: latitude and longitude in degrees, None where the file tells none.
        labels: what placement may want to know, e.g. `{"role": "external"}`.
        cpus, memory_bytes, disk_bytes: its capacity, None where the file tells none.
    """

    key: str
    label: str
    place: Place
    location: tuple[float, float] | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    cpus: float | None = None
    memory_bytes: int | None = None
    disk_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class Edge:
    """A link of the file.

    Args:
        a, b: keys of its ends.
        place: where it is in the file.
        name: its name, empty for one made of its ends.
        rate_bps: bits per second, None where the file tells none.
        length_km: its length, None where the file tells none.
        does: what it does to packets, its rate aside; None where the file does not tell, and delay follows from length.
        reverse: the same of the way back, with its rate, where the file has one that differs.
    """

    a: str
    b: str
    place: Place
    name: str = ""
    rate_bps: float | None = None
    length_km: float | None = None
    does: Impairment | None = None
    reverse: Impairment | None = None


@dataclass(frozen=True, slots=True)
class Network:
    """Nodes and links of a file.

    Args:
        name: its name for people, may be empty.
        is_directed: whether a link and one back are the two directions of one.
        notes: what the reader has left out, in words.
    """

    name: str
    nodes: tuple[Node, ...]
    edges: tuple[Edge, ...]
    is_directed: bool = False
    notes: tuple[str, ...] = ()


class Findings:
    """Everything that is wrong with a file, raised at once."""

    def __init__(self, file: str) -> None:
        self.file = file
        self._found: list[Diagnostic] = []

    def add(self, code: str, summary: str, place: Place = (0, 0), hint: str = "") -> None:
        """Note a finding and go on."""
        self._found.append(Diagnostic("error", code, summary, self.file, *place, hint))

    def fail(self, code: str, summary: str, place: Place = (0, 0), hint: str = "") -> InvalidInput:
        """The error that ends reading at once, with all findings so far."""
        self.add(code, summary, place, hint)
        return self._error()

    def raise_all(self) -> None:
        """End with an error if anything was found."""
        if self._found:
            raise self._error()

    def _error(self) -> InvalidInput:
        return InvalidInput(f"`{self.file}` cannot be imported", diagnostics=self._found[:MAX_FINDINGS])

    def number(self, text: str | float | None, what: str, place: Place) -> float | None:
        """A finite number, None where there is none; anything else is a finding."""
        if text is None or text == "":
            return None
        try:
            value = float(text)
        except (ValueError, TypeError, OverflowError):
            value = math.nan
        if math.isfinite(value):
            return value
        self.add("NET-0007", f"{what} `{str(text)[:40]}` is no number", place)
        return None

    def positive(self, text: str | float | None, what: str, place: Place) -> float | None:
        """A number above zero; 0 stands for unknown, as these files have it."""
        value = self.number(text, what, place)
        if value is not None and value < 0:
            self.add("NET-0007", f"{what} {value:g} is negative", place)
        return value if value and value > 0 else None

    def location(
        self, latitude: str | float | None, longitude: str | float | None, place: Place
    ) -> tuple[float, float] | None:
        """A place on earth; None where one of both is missing."""
        lat, lon = self.number(latitude, "latitude", place), self.number(longitude, "longitude", place)
        if lat is None or lon is None:
            return None
        if abs(lat) <= 90 and abs(lon) <= 180:
            return lat, lon
        self.add("NET-0007", f"latitude {lat:g}, longitude {lon:g} is no place on earth", place)
        return None


IMPAIRMENT_KEYS = ("delay_s", "jitter_s", "loss", "duplicate", "reorder", "rate_bps")
REVERSE = "reverse_"
"""Attributes of links in graph files of ours, by the names that `Impairment` has for them; so begin those back."""


def told_impairment(values: Mapping[str, Any], findings: Findings, place: Place, prefix: str = "") -> Impairment | None:
    """What the attributes of a link say of one direction; None where they do not tell its delay."""
    if prefix + IMPAIRMENT_KEYS[0] not in values:
        return None
    told = {key: findings.number(values.get(prefix + key), prefix + key, place) for key in IMPAIRMENT_KEYS}
    rate = told.pop("rate_bps")
    return Impairment(**{key: value or 0.0 for key, value in told.items()}, rate_bps=rate)


def check_references(nodes: tuple[Node, ...], edges: tuple[Edge, ...], findings: Findings) -> None:
    """Note ids that are taken and links whose ends are unknown."""
    seen: dict[str, Node] = {}
    for node in nodes:
        first = seen.setdefault(node.key, node)
        if first is not node:
            findings.add("NET-0005", f"another node has the id `{node.key}`, in line {first.place[0]}", node.place)
    for edge in edges:
        for end in dict.fromkeys((edge.a, edge.b)):
            if end not in seen:
                findings.add("NET-0006", f"a link leads to `{end}`, which is no node of the file", edge.place)


def are_on_earth(nodes: Sequence[Node]) -> bool:
    """Whether the coordinates of all nodes, as they are written, can be latitudes and longitudes."""
    return all(abs(node.location[0]) <= 90 and abs(node.location[1]) <= 180 for node in nodes if node.location)


def located(nodes: Sequence[Node], findings: Findings, *, is_drawing: bool) -> tuple[Node, ...]:
    """The nodes with their coordinates as places on earth, or with none where they are of a drawing."""
    if is_drawing:
        return tuple(replace(node, location=None) for node in nodes)
    return tuple(
        replace(node, location=findings.location(*node.location, node.place)) if node.location else node
        for node in nodes
    )
