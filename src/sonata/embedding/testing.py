"""What `sonata.pytest_plugin` does once a test asks for an emulation; apart, so that other tests need not import it."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

from sonata.adapters.host_probe import probe
from sonata.embedding.emulator import Emulator, RunningEmulation
from sonata.formats.topology import read_topology
from sonata.model.topology import Topology
from sonata.sdk.engines import engine_findings

SCOPES = ("function", "class", "module", "session")
Source = Topology | str | Path


class Pool:
    """The emulations of one test session; each ends with what it was started for, all of them with the session."""

    def __init__(self) -> None:
        self._running: dict[tuple[str, object], RunningEmulation] = {}
        self._started: list[Emulator] = []

    def emulator(self, topology: Source) -> Emulator:
        """An emulator that is not started yet, with a name of its own; skips the test where none can run."""
        if lacking := what_is_missing():
            pytest.skip(lacking)
        value = topology if isinstance(topology, Topology) else read_topology(Path(topology))
        emulator = Emulator(value, name=_unique(value.name))
        self._started.append(emulator)
        return emulator

    def of(self, request: pytest.FixtureRequest) -> RunningEmulation:
        """The emulation that the nearest marker of a test asks for; started once for each module, or other scope."""
        marker = request.node.get_closest_marker("sonata_topology")
        if marker is None or len(marker.args) != 1 or set(marker.kwargs) - {"scope"}:
            pytest.fail('mark the test with `@pytest.mark.sonata_topology(FILE or Topology, scope="module")`', False)
        scope = marker.kwargs.get("scope", "module")
        if scope not in SCOPES:
            pytest.fail(f"`{scope}` is no scope of `sonata_topology`; there are {', '.join(SCOPES)}", False)
        source = _beside(request.node.path, marker.args[0])
        node = _node_of(request.node, scope)
        key = (node.nodeid, source if isinstance(source, Path) else id(source))
        if key not in self._running:
            self._running[key] = self._start(key, source, node)
        return self._running[key]

    def close(self) -> None:
        """End whatever still runs."""
        for emulator in reversed(self._started):
            emulator.stop()

    def _start(self, key: tuple[str, object], source: Source, node: pytest.Item | pytest.Collector) -> RunningEmulation:
        emulator = self.emulator(source)
        running = emulator.start()
        node.addfinalizer(lambda: self._forget(key, emulator))
        return running

    def _forget(self, key: tuple[str, object], emulator: Emulator) -> None:
        self._running.pop(key, None)
        emulator.stop()


@cache
def what_is_missing() -> str:
    """Why no emulation can run here; empty where one can."""
    missing = [finding for finding in (*probe(), *engine_findings()) if finding.state == "missing"]
    told = "; ".join(f"{finding.name}: {finding.why}" for finding in missing)
    return f"emulations cannot run here (`sonata doctor`): {told}" if missing else ""


def _beside(test: Path, source: Source) -> Source:
    """A file as the test names it: relative to the test's own folder."""
    return source if isinstance(source, Topology) else (test.parent / source).resolve()


def _unique(name: str) -> str:
    """A name that no other test, process or person uses."""
    return f"{name.lower()[:28].rstrip('-')}-{secrets.token_hex(4)}"


_NODES: dict[str, Callable[[pytest.Item], pytest.Item | pytest.Collector | None]] = {
    "function": lambda item: item,
    "class": lambda item: item.getparent(pytest.Class) or item.getparent(pytest.Module),
    "module": lambda item: item.getparent(pytest.Module),
    "session": lambda item: item.session,
}


def _node_of(item: pytest.Item, scope: str) -> pytest.Item | pytest.Collector:
    """The node with whose end a scope ends."""
    return _NODES[scope](item) or item.session
