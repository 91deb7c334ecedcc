"""What a descriptor must mean, beyond its keys and types: one rule, one function, all findings at once.

Rules look at documents, so that findings keep their place in the file. They come in two levels after syntax:
integrity (names are unique, references resolve) and topology (the graph of connection points makes sense). They
follow the validators of SONATA (son-validate) and 5GTANGO (tng-sdk-validation) and add what those left open: E-Tree
roots, manager code and roles, classifiers.

Codes, after `NSD-` or `VNFD-`:
0010 not supported, 0011 nothing to deploy, 0012 family unclear, 0013 key that the family demands, 0020 id given
twice, 0021 unknown connection point, 0022 unused connection point (warning), 0023 wrong number of ends, 0024 E-Tree
without root, 0025 end given twice, 0026 VNF not found, 0030 unit or VNF without a link (warning), 0031 link from a
unit to itself, 0032 not connected (warning), 0040 manager code missing, 0041 unknown role, 0042 manager cannot run
here (warning), 0043 no role (warning), 0050 unknown point on a path, 0051 position given twice (warning), 0052 odd
number of points (warning), 0053 path disrupted, 0054 path stays inside of a VNF, 0055 policy not understood, 0056
paths differ in policy, 0057 no forwarding graph (warning), 0058 constituent that the service does not have (warning).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import field
from itertools import chain, islice
from pathlib import PurePosixPath
from typing import Literal

from sonata._lib.values import dataclass
from sonata.formats.descriptor_documents import (
    ConnectionPointDocument,
    DescriptorDocument,
    ForwardingPathDocument,
    ManagerDocument,
    NsdDocument,
    VirtualLinkDocument,
    VnfdDocument,
)
from sonata.formats.descriptor_policy import Policy, parse_policy
from sonata.formats.findings import Finding, one_of, repeated
from sonata.formats.suggestions import suggestion
from sonata.formats.yaml_nodes import MAX_FINDINGS

Level = Literal["syntax", "integrity", "topology"]

SERVICE_ROLES = ("placement", "task", "configure", "monitor", "state", "scale", "migrate")
FUNCTION_ROLES = ("start", "stop", "configure", "scale", "state", "task", "monitor")
PACKAGE_PREFIX = "package:"


@dataclass(frozen=True, slots=True)
class NsdSubject:
    """A network service descriptor and what surrounds it.

    Args:
        functions: VNFD by `vnf_id`; None where VNFDs were not looked for.
        files: paths inside of the package; None where there is no package.
    """

    document: NsdDocument
    functions: Mapping[str, VnfdDocument] | None = None
    files: Collection[str] | None = None
    prefix: str = field(default="NSD", init=False)


@dataclass(frozen=True, slots=True)
class VnfdSubject:
    """A VNF descriptor and what surrounds it; `files` as in `NsdSubject`."""

    document: VnfdDocument
    files: Collection[str] | None = None
    prefix: str = field(default="VNFD", init=False)


Subject = NsdSubject | VnfdSubject
NsdRule = Callable[[NsdSubject], Iterator[Finding]]
VnfdRule = Callable[[VnfdSubject], Iterator[Finding]]


def nsd_findings(subject: NsdSubject, level: Level = "topology") -> list[Finding]:
    """The findings in a network service descriptor up to a level, at most `MAX_FINDINGS`."""
    rules = [*_NSD_INTEGRITY, *(_NSD_TOPOLOGY if level == "topology" else ())] if level != "syntax" else []
    return list(islice(chain.from_iterable(rule(subject) for rule in (_family, *rules)), MAX_FINDINGS))


def vnfd_findings(subject: VnfdSubject, level: Level = "topology") -> list[Finding]:
    """The findings in a VNF descriptor up to a level, at most `MAX_FINDINGS`."""
    rules = [*_VNFD_INTEGRITY, *(_VNFD_TOPOLOGY if level == "topology" else ())] if level != "syntax" else []
    return list(islice(chain.from_iterable(rule(subject) for rule in (_family, *rules)), MAX_FINDINGS))


def _family(subject: Subject) -> Iterator[Finding]:
    document = subject.document
    if (document.descriptor_version is None) == (document.descriptor_schema is None):
        summary = "one of `descriptor_schema` (5GTANGO) and `descriptor_version` (SONATA) must be given"
        yield Finding(f"{subject.prefix}-0012", (), summary, is_tolerable=True)
    elif document.is_sonata:
        yield from _sonata_demands(subject)


def _sonata_demands(subject: Subject) -> Iterator[Finding]:
    for path, points in _all_points(subject):
        for index, point in enumerate(points):
            for key in ("interface", "type"):
                if getattr(point, key) is None:
                    summary = f"connection point `{point.id}` lacks `{key}`, which SONATA descriptors must give"
                    yield Finding(f"{subject.prefix}-0013", (*path, index), summary, is_tolerable=True)


def _all_points(subject: Subject) -> Iterator[tuple[tuple[str | int, ...], Sequence[ConnectionPointDocument]]]:
    yield ("connection_points",), subject.document.connection_points
    if isinstance(subject, VnfdSubject):
        for index, unit in enumerate(subject.document.virtual_deployment_units):
            yield ("virtual_deployment_units", index, "connection_points"), unit.connection_points


def _ids_unique(subject: Subject) -> Iterator[Finding]:
    for path, points in _all_points(subject):
        yield from _unique(subject, path, "id", [point.id for point in points])
    document = subject.document
    yield from _unique(subject, ("virtual_links",), "id", [link.id for link in document.virtual_links])
    key, managers = _managers(document)
    yield from _unique(subject, (key,), "id", [manager.id for manager in managers])
    if isinstance(document, NsdDocument):
        functions = [function.vnf_id for function in document.network_functions]
        yield from _unique(subject, ("network_functions",), "vnf_id", functions)
        graphs = [graph.fg_id for graph in document.forwarding_graphs]
        yield from _unique(subject, ("forwarding_graphs",), "fg_id", graphs)
    elif isinstance(document, VnfdDocument):
        units = [unit.id for unit in document.virtual_deployment_units]
        yield from _unique(subject, ("virtual_deployment_units",), "id", units)


def _unique(subject: Subject, path: tuple[str | int, ...], key: str, ids: Sequence[str]) -> Iterator[Finding]:
    for index, value in repeated(ids):
        yield Finding(f"{subject.prefix}-0020", (*path, index, key), f"`{value}` is given twice")


def _managers(document: DescriptorDocument) -> tuple[str, Sequence[ManagerDocument]]:
    if isinstance(document, NsdDocument):
        return "service_specific_managers", document.service_specific_managers
    if isinstance(document, VnfdDocument):
        return "function_specific_managers", document.function_specific_managers
    return "", ()


def _service_supported(subject: NsdSubject) -> Iterator[Finding]:
    if subject.document.network_services:
        yield Finding(
            "NSD-0010", ("network_services",), "network services inside of a network service are not supported"
        )
    elif not subject.document.network_functions:
        yield Finding("NSD-0011", (), "the service has no `network_functions`", is_tolerable=True)


def _units_supported(subject: VnfdSubject) -> Iterator[Finding]:
    document = subject.document
    for key, noun in (("cloudnative_deployment_units", "cloud-native"), ("physical_deployment_units", "physical")):
        if getattr(document, key):
            hint = "describe the VNF with `virtual_deployment_units`"
            yield Finding("VNFD-0010", (key,), f"{noun} deployment units are not supported", hint)
    others = document.cloudnative_deployment_units or document.physical_deployment_units or document.deployment_flavours
    if not document.virtual_deployment_units and not others:
        yield Finding("VNFD-0011", (), "the VNF has no `virtual_deployment_units`")


def _units_have_image(subject: VnfdSubject) -> Iterator[Finding]:
    for index, unit in enumerate(subject.document.virtual_deployment_units):
        if not unit.vm_image:
            path = ("virtual_deployment_units", index)
            yield Finding("VNFD-0011", path, f"unit `{unit.id}` has no `vm_image`", "name an image of the VIM")


def _link_ends_known(subject: Subject) -> Iterator[Finding]:
    known = _known_points(subject)
    for path, reference in _link_ends(subject.document.virtual_links):
        yield from _unknown_point(f"{subject.prefix}-0021", path, reference, known)


def _known_points(subject: Subject) -> Mapping[str, Collection[str] | None]:
    """Names of connection points by unit or VNF, "" for the descriptor itself; None where they are not known."""
    own: dict[str, Collection[str] | None] = {"": _ids(subject.document.connection_points)}
    if isinstance(subject, VnfdSubject):
        for unit in subject.document.virtual_deployment_units:
            own[unit.id] = _ids(unit.connection_points)
        document = subject.document
        others = (document.cloudnative_deployment_units or []) + (document.physical_deployment_units or [])
        return own | _unread(others, "id")
    for function in subject.document.network_functions:
        vnfd = (subject.functions or {}).get(function.vnf_id)
        own[function.vnf_id] = _ids(vnfd.connection_points) if vnfd else None
    return own | _unread(subject.document.network_services or (), "ns_id")


def _ids(points: Sequence[ConnectionPointDocument]) -> Collection[str]:
    """Ids in their order, quick to look up."""
    return dict.fromkeys(point.id for point in points)


def _unread(items: Iterable[object], key: str) -> dict[str, Collection[str] | None]:
    """Parts that are not supported, which is reported once, and not again for each reference to them."""
    return {str(item[key]): None for item in items if isinstance(item, dict) and key in item}


def _link_ends(links: Sequence[VirtualLinkDocument]) -> Iterator[tuple[tuple[str | int, ...], str]]:
    for index, link in enumerate(links):
        for end, reference in enumerate(link.connection_points_reference):
            yield ("virtual_links", index, "connection_points_reference", end), reference


def split_reference(reference: str) -> tuple[str, str]:
    """Unit and connection point of `unit:cp`; the unit is empty for a connection point of the descriptor itself."""
    unit, _, point = reference.rpartition(":")
    return unit, point


def _unknown_point(
    code: str, path: tuple[str | int, ...], reference: str, known: Mapping[str, Collection[str] | None]
) -> Iterator[Finding]:
    unit, point = split_reference(reference)
    if unit not in known:
        units = [name for name in known if name]
        hint = suggestion(unit, units) or (f"there are {one_of(units)}" if units else "")
        yield Finding(code, path, f"`{reference}`: there is no `{unit}`", hint)
        return
    points = known[unit]
    if points is not None and point not in points:
        owner = f"`{unit}`" if unit else "this descriptor"
        hint = suggestion(point, points) or (f"it has {one_of(points)}" if points else "it has none")
        yield Finding(code, path, f"`{reference}`: {owner} has no connection point `{point}`", hint)


def _points_used(subject: Subject) -> Iterator[Finding]:
    used = {reference for _, reference in _link_ends(subject.document.virtual_links)}
    for index, point in enumerate(subject.document.connection_points):
        if point.id not in used:
            summary = f"connection point `{point.id}` is on no virtual link"
            yield Finding(f"{subject.prefix}-0022", ("connection_points", index), summary, is_warning=True)
    if isinstance(subject, VnfdSubject):
        yield from _unit_points_used(subject.document, used)


def _unit_points_used(document: VnfdDocument, used: Collection[str]) -> Iterator[Finding]:
    for index, unit in enumerate(document.virtual_deployment_units):
        for number, point in enumerate(unit.connection_points):
            if f"{unit.id}:{point.id}" not in used:
                path = ("virtual_deployment_units", index, "connection_points", number)
                summary = f"connection point `{unit.id}:{point.id}` is on no virtual link"
                yield Finding("VNFD-0022", path, summary, is_warning=True)


def _link_shapes(subject: Subject) -> Iterator[Finding]:
    for index, link in enumerate(subject.document.virtual_links):
        path = ("virtual_links", index)
        ends = link.connection_points_reference
        if link.connectivity_type == "E-Line" and len(ends) != 2:
            summary = f"E-Line `{link.id}` has {len(ends)} ends, not 2"
            yield Finding(f"{subject.prefix}-0023", path, summary, "an E-LAN may have any number")
        if link.connectivity_type == "E-Tree" and link.root_requirement is None:
            summary = f"E-Tree `{link.id}` does not say which end is its root"
            hint = "give `root_requirement`, or make it an E-LAN"
            yield Finding(f"{subject.prefix}-0024", path, summary, hint, is_tolerable=True)
        for number, end in repeated(ends):
            where = (*path, "connection_points_reference", number)
            yield Finding(f"{subject.prefix}-0025", where, f"`{end}` is on link `{link.id}` twice", is_tolerable=True)


def _functions_found(subject: NsdSubject) -> Iterator[Finding]:
    if subject.functions is None:
        return
    for index, function in enumerate(subject.document.network_functions):
        if function.vnf_id not in subject.functions:
            wanted = f"{function.vnf_vendor}/{function.vnf_name}/{function.vnf_version}"
            summary = f"VNF `{function.vnf_id}`: there is no VNFD `{wanted}` in the package"
            hint = "vendor, name and version must all match"
            yield Finding("NSD-0026", ("network_functions", index), summary, hint)


def _managers_sound(subject: Subject) -> Iterator[Finding]:
    key, managers = _managers(subject.document)
    roles = SERVICE_ROLES if isinstance(subject, NsdSubject) else FUNCTION_ROLES
    paths = _package_paths(subject.files) if subject.files is not None else None
    for index, manager in enumerate(managers):
        yield from _manager_code(subject.prefix, (key, index), manager, paths)
        yield from _manager_roles(subject, (key, index), manager, roles)


def _package_paths(files: Collection[str]) -> Collection[str]:
    """Files of a package and the folders that they are in."""
    folders = {str(folder) for name in files for folder in PurePosixPath(name).parents}
    return {**dict.fromkeys(files), **dict.fromkeys(folders)}


def _manager_code(
    prefix: str, path: tuple[str | int, ...], manager: ManagerDocument, known: Collection[str] | None
) -> Iterator[Finding]:
    if not manager.image.startswith(PACKAGE_PREFIX):
        summary = f"manager `{manager.id}`: image `{manager.image}` is not in the package and cannot be run"
        hint = "ship its code and name it as `package:PATH`"
        yield Finding(f"{prefix}-0042", (*path, "image"), summary, hint, is_warning=True)
        return
    code = manager.image.removeprefix(PACKAGE_PREFIX).strip("/")
    if known is not None and code not in known:
        summary = f"manager `{manager.id}`: the package has no file `{code}`"
        hint = suggestion(code, known) or "list it among the `files` of the project"
        yield Finding(f"{prefix}-0040", (*path, "image"), summary, hint)


def _manager_roles(
    subject: Subject, path: tuple[str | int, ...], manager: ManagerDocument, known: Sequence[str]
) -> Iterator[Finding]:
    roles = [(index, option.value) for index, option in enumerate(manager.options) if option.key == "type"]
    for index, role in roles:
        if role not in known:
            summary = f"manager `{manager.id}`: there is no role `{role}`"
            hint = suggestion(role, known) or f"roles are {one_of(known)}"
            where = (*path, "options", index, "value")
            yield Finding(f"{subject.prefix}-0041", where, summary, hint, is_tolerable=True)
    if not roles:
        summary = f"manager `{manager.id}` has no role and will never be asked"
        hint = f"give an option with key `type` and one of {one_of(known)}"
        yield Finding(f"{subject.prefix}-0043", path, summary, hint, is_warning=True)


def _units_linked(subject: Subject) -> Iterator[Finding]:
    linked = {split_reference(reference)[0] for _, reference in _link_ends(subject.document.virtual_links)}
    for path, unit in _units(subject):
        if unit not in linked:
            yield Finding(f"{subject.prefix}-0030", path, f"`{unit}` is on no virtual link", is_warning=True)


def _units(subject: Subject) -> Iterator[tuple[tuple[str | int, ...], str]]:
    if isinstance(subject, NsdSubject):
        for index, function in enumerate(subject.document.network_functions):
            yield ("network_functions", index), function.vnf_id
    else:
        for index, unit in enumerate(subject.document.virtual_deployment_units):
            yield ("virtual_deployment_units", index), unit.id


def _no_loops(subject: Subject) -> Iterator[Finding]:
    for index, link in enumerate(subject.document.virtual_links):
        units = [split_reference(reference)[0] for reference in link.connection_points_reference]
        for unit in sorted({unit for _, unit in repeated(units) if unit}):
            summary = f"link `{link.id}` joins `{unit}` with itself"
            yield Finding(f"{subject.prefix}-0031", ("virtual_links", index), summary)


def _graph_connected(subject: Subject) -> Iterator[Finding]:
    parts = _parts(subject.document.virtual_links)
    if len(parts) > 1:
        shown = "; ".join(", ".join(part[:5]) for part in parts[:5])
        summary = f"the virtual links fall into {len(parts)} parts that do not meet: {shown}"
        yield Finding(f"{subject.prefix}-0032", ("virtual_links",), summary, is_warning=True)


def _parts(links: Sequence[VirtualLinkDocument]) -> list[list[str]]:
    """Units and connection points, grouped by whether links lead from one to the other.

    A unit forwards between its own connection points; a connection point of the descriptor stands for itself.
    """
    neighbours: dict[str, set[str]] = {}
    for link in links:
        nodes = [split_reference(end)[0] or end for end in link.connection_points_reference]
        for node in nodes:
            neighbours.setdefault(node, set()).add(nodes[0])
            neighbours[nodes[0]].add(node)
    parts = []
    while neighbours:
        part, pending = [], [next(iter(neighbours))]
        while pending:
            node = pending.pop()
            if node in neighbours:
                part.append(node)
                pending.extend(neighbours.pop(node))
        parts.append(sorted(part))
    return parts


def _has_graph(subject: NsdSubject) -> Iterator[Finding]:
    if not subject.document.forwarding_graphs:
        yield Finding("NSD-0057", (), "the service has no `forwarding_graphs`: traffic is not steered", is_warning=True)


def _constituents_known(subject: NsdSubject) -> Iterator[Finding]:
    document = subject.document
    links = dict.fromkeys(link.id for link in document.virtual_links)
    vnfs = dict.fromkeys(function.vnf_id for function in document.network_functions)
    for number, graph in enumerate(document.forwarding_graphs):
        for key, known in (("constituent_virtual_links", links), ("constituent_vnfs", vnfs)):
            for index, name in enumerate(getattr(graph, key) or ()):
                if name not in known:
                    path = ("forwarding_graphs", number, key, index)
                    summary = f"graph `{graph.fg_id}` counts on `{name}`, which the service does not have"
                    yield Finding("NSD-0058", path, summary, suggestion(name, known), is_warning=True)


def _policies_understood(subject: NsdSubject) -> Iterator[Finding]:
    for number, graph in enumerate(subject.document.forwarding_graphs):
        first: Policy | None = None
        for index, route in enumerate(graph.network_forwarding_paths):
            path = ("forwarding_graphs", number, "network_forwarding_paths", index, "policy")
            try:
                policy = parse_policy(route.policy)
            except ValueError as error:
                yield Finding("NSD-0055", path, str(error), is_tolerable=True)
                continue
            first = first or policy
            if policy != first:
                summary = f"the paths of graph `{graph.fg_id}` differ in their policy"
                yield Finding("NSD-0056", path, summary, "describe each in a graph of its own")
                break


def _paths_sound(subject: NsdSubject) -> Iterator[Finding]:
    known = _known_points(subject)
    links = _links_by_end(subject.document.virtual_links)
    for number, graph in enumerate(subject.document.forwarding_graphs):
        for index, route in enumerate(graph.network_forwarding_paths):
            path = ("forwarding_graphs", number, "network_forwarding_paths", index)
            unknown = list(_route_points_known(route, path, known))
            yield from unknown
            yield from _route_positions(route, path)
            if not unknown:
                yield from _route_linked(route, path, links)


def _links_by_end(links: Sequence[VirtualLinkDocument]) -> Mapping[str, set[int]]:
    ends: dict[str, set[int]] = {}
    for index, link in enumerate(links):
        for end in link.connection_points_reference:
            ends.setdefault(end, set()).add(index)
    return ends


def _route_points_known(
    route: ForwardingPathDocument, path: tuple[str | int, ...], known: Mapping[str, Collection[str] | None]
) -> Iterator[Finding]:
    for index, point in enumerate(route.connection_points):
        where = (*path, "connection_points", index, "connection_point_ref")
        yield from _unknown_point("NSD-0050", where, point.connection_point_ref, known)


def _route_positions(route: ForwardingPathDocument, path: tuple[str | int, ...]) -> Iterator[Finding]:
    positions = [point.position for point in route.connection_points]
    for index, position in repeated(positions):
        where = (*path, "connection_points", index, "position")
        yield Finding("NSD-0051", where, f"position {position} is given twice", is_warning=True)
    if len(positions) % 2:
        summary = f"the path has {len(positions)} connection points; links have two ends"
        yield Finding("NSD-0052", path, summary, is_warning=True)


def _route_linked(
    route: ForwardingPathDocument, path: tuple[str | int, ...], links: Mapping[str, set[int]]
) -> Iterator[Finding]:
    """Points come in pairs: a link leads from the first to the second, the VNF from there to the next pair."""
    points = [point.connection_point_ref for point in sorted(route.connection_points, key=lambda p: p.position)]
    for start, end in zip(points[0::2], points[1::2], strict=False):
        if split_reference(start)[0] and split_reference(start)[0] == split_reference(end)[0]:
            summary = f"`{start}` and `{end}` are of the same VNF, where a link should lead to another"
            yield Finding("NSD-0054", path, summary)
        elif not links.get(start, set()) & links.get(end, set()):
            yield Finding("NSD-0053", path, f"no virtual link joins `{start}` and `{end}`")
    for end, start in zip(points[1::2], points[2::2], strict=False):
        if split_reference(end)[0] != split_reference(start)[0]:
            summary = f"the path arrives at `{end}` but goes on from `{start}`, which is elsewhere"
            yield Finding("NSD-0053", path, summary)


_VNFD_INTEGRITY: tuple[VnfdRule, ...] = (
    _units_supported,
    _units_have_image,
    _ids_unique,
    _link_ends_known,
    _points_used,
    _link_shapes,
    _managers_sound,
)
_VNFD_TOPOLOGY: tuple[VnfdRule, ...] = (_units_linked, _no_loops)
_NSD_INTEGRITY: tuple[NsdRule, ...] = (
    _service_supported,
    _functions_found,
    _ids_unique,
    _link_ends_known,
    _points_used,
    _link_shapes,
    _managers_sound,
    _policies_understood,
)
_NSD_TOPOLOGY: tuple[NsdRule, ...] = (
    _units_linked,
    _no_loops,
    _graph_connected,
    _has_graph,
    _constituents_known,
    _paths_sound,
)
