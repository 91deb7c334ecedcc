"""The chain renderers that there are: ours, and those of plug-ins."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib.metadata import EntryPoint, entry_points

from sonata._lib.values import dataclass
from sonata.adapters.fabric_linux.chain_nsh import NshRenderer
from sonata.adapters.fabric_linux.chain_routing import RoutedRenderer
from sonata.adapters.fabric_linux.chain_segments import SegmentRenderer
from sonata.adapters.fabric_linux.chain_steering import SteeringRenderer
from sonata.errors import NotFound, Unsupported
from sonata.ports.chain_rendering import ENTRY_POINTS, ChainRenderer

OURS: Mapping[str, Callable[[], ChainRenderer]] = {
    "steering": SteeringRenderer,
    "routed": RoutedRenderer,
    "srv6": SegmentRenderer,
    "nsh": NshRenderer,
}


def names() -> list[str]:
    """What chains may be rendered by."""
    return [*OURS, *(one.name for one in _plug_ins() if one.name not in OURS)]


def made(name: str) -> ChainRenderer:
    """A new renderer; ours cannot be replaced by plug-ins.

    Raises:
        NotFound: there is none of this name.
        Unsupported: it cannot be loaded, or cannot run here.
    """
    if name in OURS:
        renderer = OURS[name]()
    else:
        found = next((one for one in _plug_ins() if one.name == name), None)
        if found is None:
            raise NotFound(f"no chain renderer `{name}`", hint=f"there are {', '.join(names())}")
        renderer = _loaded(found)
    if reason := renderer.why_not():
        raise Unsupported(
            f"the chain renderer `{name}` cannot run here: {reason}", hint="`sonata doctor` shows them all"
        )
    return renderer


@dataclass(frozen=True, slots=True)
class Candidate:
    """A chain renderer as this machine has it; `why_not` is empty where it can run."""

    name: str
    purpose: str
    why_not: str


def candidates() -> list[Candidate]:
    """All renderers."""
    return [_candidate(name) for name in names()]


def _candidate(name: str) -> Candidate:
    try:
        return Candidate(name, made(name).purpose, "")
    except Unsupported as error:
        return Candidate(name, "", error.message)


def _plug_ins() -> list[EntryPoint]:
    return sorted(entry_points(group=ENTRY_POINTS), key=lambda one: one.name)


def _loaded(found: EntryPoint) -> ChainRenderer:
    try:
        kind = found.load()
    except (ImportError, AttributeError) as error:
        raise Unsupported(
            f"the chain renderer `{found.name}` cannot be loaded: {error}",
            hint=f"its entry point is `{found.value}`; repair or remove the package that has it",
        ) from error
    renderer: ChainRenderer = kind()
    return renderer
