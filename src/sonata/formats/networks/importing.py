"""From a network of somebody else to a topology of ours: names, delays, rates, one link per pair of PoPs."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from sonata._lib.quantities import format_rate
from sonata._lib.values import dataclass
from sonata.errors import InvalidInput, NotFound
from sonata.formats.findings import raise_errors
from sonata.formats.networks.graphml import read_graphml
from sonata.formats.networks.naming import slug, unique_names
from sonata.formats.networks.network import Edge, Findings, Network, Node
from sonata.formats.networks.node_link import read_node_link
from sonata.formats.networks.sndlib import NATIVE_HEAD, read_sndlib_native, read_sndlib_xml
from sonata.formats.networks.xml_tree import parse_xml
from sonata.formats.topology_rules import RESERVED_POPS, check_topology
from sonata.model.geography import fibre_delay_s, great_circle_km
from sonata.model.topology import Impairment, Link, Pop, Topology

MAX_BYTES = 16 * 1024**2
_FORMATS = "GraphML, SNDlib (XML or native) and node-link JSON are read"


@dataclass(frozen=True, slots=True)
class ImportOptions:
    """What a file does not tell.

    Args:
        name: of the topology; by default the file's own.
        detour: length of fibres as a multiple of the distance between their ends, at least 1.
        delay_s: of links whose length is unknown.
        rate_bps: of links whose rate is unknown; None for unlimited.
        unit_bps: what an SNDlib capacity of 1 means.
        keeps_external: whether nodes of other networks (`Internal` 0 in the Topology Zoo) become PoPs, too.
    """

    name: str = ""
    detour: float = 1.0
    delay_s: float = 0.0
    rate_bps: float | None = None
    unit_bps: float = 1e6
    keeps_external: bool = True


DEFAULTS = ImportOptions()


@dataclass(frozen=True, slots=True)
class Imported:
    """A topology, and in words what of the file is not in it or was not in the file."""

    topology: Topology
    notes: tuple[str, ...]


def read_network_file(path: Path, options: ImportOptions = DEFAULTS) -> Imported:
    """Import a file.

    Raises:
        NotFound: there is no such file.
        InvalidInput: with all findings, each with its line and column.
    """
    try:
        with path.open("rb") as stream:
            content = stream.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise NotFound(f"there is no file `{path}`") from None
    except OSError as error:
        raise InvalidInput(f"cannot read `{path}`: {error.strerror}") from error
    return import_topology(content, str(path), options)


def import_topology(content: bytes, file: str, options: ImportOptions = DEFAULTS) -> Imported:
    """Import what a file holds; `file` names it in findings, and the topology where nothing else does.

    Raises:
        InvalidInput: with all findings, each with its line and column.
    """
    if options.detour < 1:
        raise InvalidInput(f"a detour of {options.detour:g} is shorter than the straight way", hint="give at least 1.0")
    findings = Findings(file)
    network = _read(content, findings, options)
    if not network.nodes:
        findings.add("NET-0004", "there is no node in the document")
    findings.raise_all()
    imported = _Import(network, options, Path(file).stem).result()
    flaws = check_topology(imported.topology)
    raise_errors(f"topology `{imported.topology.name}`", flaws)
    return replace(imported, notes=(*imported.notes, *(flaw.summary for flaw in flaws)))


def _read(content: bytes, findings: Findings, options: ImportOptions) -> Network:
    if len(content) > MAX_BYTES:
        raise findings.fail("NET-0008", f"the file is bigger than {MAX_BYTES // 1024**2} MiB")
    beginning = content.lstrip(b"\xef\xbb\xbf \t\r\n")[:100]
    if beginning.startswith(NATIVE_HEAD.encode()):
        return read_sndlib_native(_decoded(content, findings), findings, unit_bps=options.unit_bps)
    if beginning.startswith(b"{"):
        return read_node_link(_decoded(content, findings), findings)
    if beginning.startswith((b"<", b"\xff\xfe", b"\xfe\xff")):
        root = parse_xml(content, findings)
        if root.name == "graphml":
            return read_graphml(root, findings)
        if root.name == "network":
            return read_sndlib_xml(root, findings, unit_bps=options.unit_bps)
        raise findings.fail("NET-0003", f"`{root.name}` is the root of no known format", root.place, _FORMATS)
    raise findings.fail("NET-0003", "the file is of no known format", (1, 1), _FORMATS)


def _decoded(content: bytes, findings: Findings) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise findings.fail("NET-0001", f"byte {error.start} is not UTF-8 text", (line, 0)) from None


class _Import:
    """One import; collects notes on the way."""

    def __init__(self, network: Network, options: ImportOptions, fallback: str) -> None:
        self._network = network
        self._options = options
        self._fallback = fallback
        self._notes = list(network.notes)

    def result(self) -> Imported:
        """The topology and the notes."""
        nodes = self._kept_nodes()
        wanted = [slug(node.label) or slug(f"node-{node.key}") or "node" for node in nodes]
        names = unique_names(wanted, RESERVED_POPS)
        self._note(sum(a != b for a, b in zip(wanted, names, strict=True)), "PoPs got a number, since names were taken")
        pops = {name: _pop(name, node) for name, node in zip(names, nodes, strict=True)}
        self._note(sum(pop.location is None for pop in pops.values()), "PoPs have no location")
        links = tuple(self._links(dict(zip((node.key for node in nodes), names, strict=True)), pops))
        return Imported(Topology(self._name(), pops, links), tuple(self._notes))

    def _kept_nodes(self) -> list[Node]:
        nodes = list(self._network.nodes)
        if self._options.keeps_external:
            return nodes
        kept = [node for node in nodes if node.labels.get("role") != "external"]
        self._note(len(nodes) - len(kept), "external nodes left out, with their links")
        return kept

    def _name(self) -> str:
        """A name that an emulation can have, too."""
        told = (self._options.name, self._network.name, self._fallback)
        name = next((found for text in told if (found := slug(text).lower())), "network")
        return name[:40].rstrip("-")

    def _links(self, names: Mapping[str, str], pops: Mapping[str, Pop]) -> Iterator[Link]:
        """One link for each pair of PoPs that some link of the file joins, in the order of the file."""
        pairs: dict[tuple[str, str], list[Edge]] = {}
        loops = merged = 0
        for edge in self._network.edges:
            if edge.a not in names or edge.b not in names:
                continue  # of an external node that was left out
            a, b = names[edge.a], names[edge.b]
            loops += a == b
            if a != b:
                together = pairs.setdefault((b, a) if (b, a) in pairs else (a, b), [])
                merged += bool(together) and not self._is_way_back(edge, together)
                together.append(edge)
        self._note(loops, "links from a node to itself left out")
        self._note(merged, "parallel links merged: the sum of their rates, the least of their delays")
        titles = unique_names(self._title(pair, together) for pair, together in pairs.items())
        for title, ((a, b), together) in zip(titles, pairs.items(), strict=True):
            there = [edge for edge in together if names[edge.a] == a or not self._network.is_directed]
            back = [edge for edge in together if edge not in there]
            yield self._link(title, pops[a], pops[b], there, back)
        self._note_unknowns(together for together in pairs.values())

    def _is_way_back(self, edge: Edge, together: Sequence[Edge]) -> bool:
        return self._network.is_directed and (edge.a, edge.b) != (together[0].a, together[0].b)

    def _title(self, pair: tuple[str, str], together: Sequence[Edge]) -> str:
        return slug(together[0].name) or slug("-".join(pair))

    def _link(self, title: str, a: Pop, b: Pop, there: Sequence[Edge], back: Sequence[Edge]) -> Link:
        """A link of all that lead there, and of those that lead back where directions are told apart."""
        impairment = self._impairment(there, a, b)
        reverse = self._impairment(back, a, b) if back else there[0].reverse
        return Link(title, a.name, b.name, impairment, None if reverse == impairment else reverse)

    def _impairment(self, together: Sequence[Edge], a: Pop, b: Pop) -> Impairment:
        """Of parallel links: what the quickest does, and the sum of their rates."""
        quickest = min((self._does(edge, a, b) for edge in together), key=lambda does: does.delay_s)
        rates = [edge.rate_bps for edge in together]
        known = [rate for rate in rates if rate is not None]
        return replace(quickest, rate_bps=sum(known) if len(known) == len(rates) else self._options.rate_bps)

    def _does(self, edge: Edge, a: Pop, b: Pop) -> Impairment:
        """As the file has it, or as long as light takes for its length, or for the distance of its ends."""
        if edge.does is not None:
            return edge.does
        if edge.length_km is not None:
            return Impairment(fibre_delay_s(edge.length_km, self._options.detour))
        if a.location and b.location:
            return Impairment(fibre_delay_s(great_circle_km(a.location, b.location), self._options.detour))
        return Impairment(self._options.delay_s)

    def _note_unknowns(self, links: Iterable[Sequence[Edge]]) -> None:
        without = sum(all(edge.rate_bps is None for edge in together) for together in links)
        rate = self._options.rate_bps
        self._note(without, "links have no rate in the file: " + ("unlimited" if rate is None else format_rate(rate)))

    def _note(self, count: int, what: str) -> None:
        if count:
            self._notes.append(f"{count} {what}")


def _pop(name: str, node: Node) -> Pop:
    default = Pop(name)
    labels = {key: value for key, value in node.labels.items() if value}
    if re.sub(r"\s+", " ", node.label) not in (name, node.key):
        labels = {"name": node.label, **labels}
    return Pop(
        name,
        node.location,
        cpus=node.cpus or default.cpus,
        memory_bytes=node.memory_bytes or default.memory_bytes,
        disk_bytes=node.disk_bytes or default.disk_bytes,
        labels=labels,
    )
