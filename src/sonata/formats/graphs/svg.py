"""A picture of a topology as SVG, without scripts and without anything from elsewhere; light and dark."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence

from sonata._lib.values import dataclass
from sonata.formats.graphs.documents import escaped
from sonata.formats.graphs.graph import Graph, GraphEdge, GraphNode
from sonata.formats.graphs.layout import Point, placed

_MARGIN = 70.0
_RADIUS = 9.0
_NEAREST = 34.0
"""Pixels between the middles of two PoPs, at least."""
_LETTER = 6.6
_LINE = 13.0
_MAX_MACHINES_DRAWN = 8
_MAX_LABELLED_LINKS = 80
_STYLE = """
  svg { font: 12px system-ui, sans-serif; background: #fff; }
  text { fill: #1d2733; paint-order: stroke; stroke: #fff; stroke-width: 3px; stroke-linejoin: round; }
  .link { stroke: #7a8794; } .access { stroke: #b5bfca; stroke-dasharray: 2 2; }
  .down { stroke: #c62828; stroke-dasharray: 6 4; } .does { font-size: 10px; } .does, .many { fill: #52606d; }
  .pop { fill: #1565c0; } .managed { fill: #6a9bd8; } .endpoint { fill: #2e7d32; } .server { fill: #ef6c00; }
  text.is-down { fill: #c62828; }
  @media (prefers-color-scheme: dark) {
    svg { background: #12181f; } text { fill: #e4e9ee; stroke: #12181f; } .does, .many { fill: #aab4be; }
  }"""


def svg_of(graph: Graph) -> str:
    """The picture: PoPs with their names, machines beside them, links with what they do; more as tooltips."""
    picture = _Picture(graph)
    title = f"{graph.name}: {len(picture.points)} PoPs, {sum(not edge.is_access for edge in graph.edges)} links"
    width, height = picture.size
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}"'
    lines = [f'{head} width="{width:.0f}" height="{height:.0f}" role="img">', f"<title>{escaped(title)}</title>"]
    lines += [f"<style>{_STYLE}</style>", *picture.links(), *picture.machines(), *picture.pops(), *picture.labels()]
    return "\n".join([*lines, "</svg>"]) + "\n"


@dataclass(frozen=True, slots=True)
class _Box:
    left: float
    top: float
    right: float
    bottom: float

    def overlap(self, other: _Box) -> float:
        """Area that both cover."""
        width = min(self.right, other.right) - max(self.left, other.left)
        height = min(self.bottom, other.bottom) - max(self.top, other.top)
        return width * height if width > 0 and height > 0 else 0.0


class _Taken:
    """Boxes that are taken, by the cells of a grid that they touch."""

    _CELL = 60.0

    def __init__(self, boxes: Iterable[_Box]) -> None:
        self._cells: dict[tuple[int, int], list[_Box]] = {}
        for box in boxes:
            self.add(box)

    def add(self, box: _Box) -> None:
        """Take a box."""
        for cell in self._touched(box):
            self._cells.setdefault(cell, []).append(box)

    def covered(self, box: _Box) -> float:
        """Area of what is taken already that a box would cover; counted once for each cell that both touch."""
        return sum(box.overlap(other) for cell in self._touched(box) for other in self._cells.get(cell, ()))

    def _touched(self, box: _Box) -> Iterator[tuple[int, int]]:
        for column in range(int(box.left // self._CELL), int(box.right // self._CELL) + 1):
            for row in range(int(box.top // self._CELL), int(box.bottom // self._CELL) + 1):
                yield column, row


def _around(point: Point, radius: float) -> _Box:
    return _Box(point[0] - radius, point[1] - radius, point[0] + radius, point[1] + radius)


class _Picture:
    """Points of everything, in pixels."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self.points = _spread(_scaled(placed(graph)))
        xs, ys = zip(*self.points.values(), strict=True)
        self.points = {key: (x - min(xs) + _MARGIN * 1.5, y - min(ys) + _MARGIN) for key, (x, y) in self.points.items()}
        self.size = (max(xs) - min(xs) + 3 * _MARGIN, max(ys) - min(ys) + 2 * _MARGIN)
        self._links = [edge for edge in graph.edges if not edge.is_access]
        self._access = {edge.b: edge for edge in graph.edges if edge.is_access}
        self._machines: dict[str, list[str]] = {pop: [] for pop in self.points}
        for machine, edge in self._access.items():
            self._machines[edge.a].append(machine)
        self._satellites = {pop: self._machine_points(pop) for pop in self.points if self._machines[pop]}

    def links(self) -> Iterator[str]:
        """Lines between PoPs."""
        for edge in self._links:
            kind = "down" if edge.is_up is False else "link"
            yield _line(self.points[edge.a], self.points[edge.b], kind, _width(edge), _told(edge))

    def machines(self) -> Iterator[str]:
        """Endpoints and servers around their PoP, or how many there are."""
        for pop, satellites in self._satellites.items():
            for key, point in satellites.items():
                node = self._graph.nodes[key]
                yield _line(self.points[pop], point, "access", 1.0, _told(self._access[key]))
                yield _square(point, node)
            many = len(self._machines[pop])
            if many > len(satellites):
                x, y = self.points[pop]
                yield f'<text class="many" x="{x:.1f}" y="{y + 22:.1f}" text-anchor="middle">+{many}</text>'

    def pops(self) -> Iterator[str]:
        """PoPs as discs."""
        for key, (x, y) in self.points.items():
            node = self._graph.nodes[key]
            kind = "managed" if node.pop and node.pop.managed_by else "pop"
            disc = f'<circle class="{kind}" cx="{x:.1f}" cy="{y:.1f}" r="{_RADIUS}">'
            yield f"{disc}<title>{escaped(_described(node))}</title></circle>"

    def labels(self) -> Iterator[str]:
        """Names, and what links do, each where it covers the least of what is there; the rest are tooltips alone."""
        machines = [point for satellites in self._satellites.values() for point in satellites.values()]
        taken = _Taken(_around(point, _RADIUS) for point in self.points.values())
        for point in machines:
            taken.add(_around(point, 5))
        lines = _Taken(_around(point, 2) for edge in self._links for point in self._stitches(edge))
        is_crowded = len(self.points) > 150
        for key, point in self.points.items():
            box, anchor = _best_place(key, point, taken, lines)
            if is_crowded and taken.covered(box):
                continue
            taken.add(box)
            yield _text(key, box, anchor, "name")
        yield from self._link_labels(taken)

    def _link_labels(self, taken: _Taken) -> Iterator[str]:
        links = [edge for edge in self._links if edge.text]
        for edge in links if len(links) <= _MAX_LABELLED_LINKS else [each for each in links if each.is_up is False]:
            (ax, ay), (bx, by) = self.points[edge.a], self.points[edge.b]
            places = [(ax + (bx - ax) * share, ay + (by - ay) * share) for share in (0.5, 0.4, 0.6, 0.3, 0.7)]
            half = len(edge.text) * _LETTER * 0.42
            off = 8 * abs(bx - ax) / (math.dist((ax, ay), (bx, by)) or 1.0)  # above lines that lie, on those that stand
            boxes = [_Box(x - half, y - off - _LINE / 2, x + half, y - off + _LINE / 2) for x, y in places]
            box = min(boxes, key=taken.covered)
            taken.add(box)
            yield _text(edge.text, box, "middle", "does is-down" if edge.is_up is False else "does")

    def _stitches(self, edge: GraphEdge) -> Iterator[Point]:
        """Points of a link near its ends, where names are."""
        a, b = self.points[edge.a], self.points[edge.b]
        length = math.dist(a, b) or 1.0
        for begin, end in ((a, b), (b, a)):
            for pixels in range(12, min(90, int(length)), 6):
                share = pixels / length
                yield begin[0] + (end[0] - begin[0]) * share, begin[1] + (end[1] - begin[1]) * share

    def _machine_points(self, pop: str) -> dict[str, Point]:
        """Machines on an arc around their PoP, in the widest gap between its links."""
        machines = self._machines[pop]
        if len(machines) > _MAX_MACHINES_DRAWN:
            return {}
        x, y = self.points[pop]
        begin, end = _widest_gap(self._directions(pop))
        step = (end - begin) / (len(machines) + 1)
        angles = [begin + step * (number + 1) for number in range(len(machines))]
        return {
            key: (x + 30 * math.cos(angle), y + 30 * math.sin(angle))
            for key, angle in zip(machines, angles, strict=True)
        }

    def _directions(self, pop: str) -> list[float]:
        x, y = self.points[pop]
        ends = [self.points[edge.b if edge.a == pop else edge.a] for edge in self._links if pop in (edge.a, edge.b)]
        return sorted(math.atan2(other[1] - y, other[0] - x) for other in ends)


def _scaled(points: Mapping[str, Point]) -> dict[str, Point]:
    """Points on a canvas that grows with the square root of their number."""
    xs, ys = zip(*points.values(), strict=True)
    extent = max(max(xs) - min(xs), max(ys) - min(ys)) or 1.0
    side = max(360.0, min(4000.0, 190 * math.sqrt(len(points)))) if len(points) > 1 else 1.0
    return {key: (x * side / extent, y * side / extent) for key, (x, y) in points.items()}


def _spread(points: Mapping[str, Point]) -> dict[str, Point]:
    """The points, moved apart where two are nearer than discs and names need; looks at neighbouring cells alone."""
    moved = dict(points)
    for _ in range(40):
        cells: dict[tuple[int, int], list[str]] = {}
        for key, (x, y) in moved.items():
            cells.setdefault((int(x // _NEAREST), int(y // _NEAREST)), []).append(key)
        pairs = [pair for cell in cells for pair in _near_pairs(cell, cells) if _push(*pair, moved)]
        if not pairs:
            break
    return moved


def _near_pairs(cell: tuple[int, int], cells: Mapping[tuple[int, int], Sequence[str]]) -> Iterator[tuple[str, str]]:
    own = cells[cell]
    for index, key in enumerate(own):
        yield from ((key, other) for other in own[index + 1 :])
        for step in ((1, 0), (0, 1), (1, 1), (1, -1)):
            yield from ((key, other) for other in cells.get((cell[0] + step[0], cell[1] + step[1]), ()))


def _push(a: str, b: str, points: dict[str, Point]) -> bool:
    """Move two points apart; whether they were too near."""
    (ax, ay), (bx, by) = points[a], points[b]
    distance = math.dist((ax, ay), (bx, by))
    if distance >= _NEAREST:
        return False
    angle = math.atan2(by - ay, bx - ax) if distance > 1e-6 else len(points) * 0.7 + len(a)
    off = (_NEAREST - distance) / 2 + 0.1
    points[a] = (ax - off * math.cos(angle), ay - off * math.sin(angle))
    points[b] = (bx + off * math.cos(angle), by + off * math.sin(angle))
    return True


def _widest_gap(angles: Sequence[float]) -> tuple[float, float]:
    if not angles:
        return math.pi / 4, math.pi * 3 / 4
    behind = [*angles[1:], angles[0] + 2 * math.pi]
    return max(zip(angles, behind, strict=True), key=lambda pair: pair[1] - pair[0])


def _best_place(text: str, point: Point, taken: _Taken, lines: _Taken) -> tuple[_Box, str]:
    """Box and anchor of a name beside, above or below a point, where it covers the least; lines are the lesser evil."""
    x, y = point
    off, width, half = _RADIUS + 4, len(text) * _LETTER, _LINE / 2
    places = [
        (_Box(x + off, y - half, x + off + width, y + half), "start"),
        (_Box(x - off - width, y - half, x - off, y + half), "end"),
        (_Box(x - width / 2, y - off - _LINE, x + width / 2, y - off), "middle"),
        (_Box(x - width / 2, y + off, x + width / 2, y + off + _LINE), "middle"),
    ]
    return min(places, key=lambda place: 5 * taken.covered(place[0]) + lines.covered(place[0]))


def _line(a: Point, b: Point, kind: str, width: float, told: str) -> str:
    place = f'x1="{a[0]:.1f}" y1="{a[1]:.1f}" x2="{b[0]:.1f}" y2="{b[1]:.1f}"'
    return f'<line class="{kind}" {place} stroke-width="{width:.1f}"><title>{escaped(told)}</title></line>'


def _square(point: Point, node: GraphNode) -> str:
    place = f'x="{point[0] - 5:.1f}" y="{point[1] - 5:.1f}" width="10" height="10" rx="2"'
    return f'<rect class="{node.kind}" {place}><title>{escaped(_described(node))}</title></rect>'


def _text(text: str, box: _Box, anchor: str, kind: str) -> str:
    x = {"start": box.left, "end": box.right, "middle": (box.left + box.right) / 2}[anchor]
    return f'<text class="{kind}" x="{x:.1f}" y="{box.bottom - 3:.1f}" text-anchor="{anchor}">{escaped(text)}</text>'


def _width(edge: GraphEdge) -> float:
    """Thicker for quicker links: 1.5 pixels at 1 Mbit/s, one more for each factor of ten."""
    rate = edge.impairment.rate_bps
    return 2.0 if rate is None else max(1.5, min(6.0, 1.5 + math.log10(max(rate, 1.0)) - 6))


def _told(edge: GraphEdge) -> str:
    return f"{edge.name}: {edge.text}" if edge.text else edge.name


def _described(node: GraphNode) -> str:
    if node.pop is None:
        return f"{node.kind} {node.name}"
    labels = "".join(f"\n{key}: {value}" for key, value in node.pop.labels.items())
    where = f"\n{node.pop.location[0]:g}, {node.pop.location[1]:g}" if node.pop.location else ""
    managed = f"\nmanaged by {node.pop.managed_by}" if node.pop.managed_by else ""
    return f"{node.name}{where}{managed}{labels}"
