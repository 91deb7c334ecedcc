"""The provider `nftables`: layer 4 balancing in the kernel, in an appliance's network namespace.

The appliance runs `prober.py`, which tells which members are well; the rules are made anew when that changes. A member
that fails loses its connections, so that their clients reach another one; those of the others stay.
"""

from __future__ import annotations

import importlib.resources
import json
import shutil
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import field
from pathlib import Path
from typing import Any

from sonata._lib.values import dataclass
from sonata.emulator.cloud.appliances import Appliance, Appliances
from sonata.emulator.cloud.load_balancing.haproxy_config import expected_codes
from sonata.emulator.cloud.load_balancing.nftables_rules import ALGORITHMS, counter, render
from sonata.errors import PermanentError, Unsupported
from sonata.ports.load_balancing import Backend, Frontend, Plan, Report, Statistics, Target
from sonata.ports.runtime import Bind, MachineExit

FOLDER = "/run/balancer"
PATH = "/usr/sbin:/usr/bin:/sbin:/bin"
PROTOCOLS = frozenset(("TCP", "HTTPS", "UDP"))
CHECKS = frozenset(("HTTP", "HTTPS", "PING", "TCP", "TLS-HELLO", "UDP-CONNECT"))
USUAL = Frontend(id="", protocol="", port=0)
FORWARD = "echo 1 >/proc/sys/net/ipv4/ip_forward"

Died = Callable[[str], Awaitable[None]]


@dataclass(slots=True)
class _State:
    """What serves now: the plan and the health that its rules were made for."""

    plan: Plan
    health: dict[tuple[str, str], str] = field(default_factory=dict)


class NftablesDriver:
    """Implements `ports.load_balancing.Driver` for TCP and UDP."""

    name = "nftables"
    flavor_capabilities: Mapping[str, str] = {}

    def __init__(self, appliances: Appliances, on_death: Died) -> None:
        self._appliances = appliances
        self._on_death = on_death
        self._states: dict[str, _State] = {}

    @property
    def description(self) -> str:
        """What it is, and what is missing."""
        text = "nftables in a network namespace of its own for each load balancer: TCP, HTTPS passthrough and UDP."
        return f"{text} Not available: install {' and '.join(missing)}." if (missing := _missing()) else text

    def check(self, plan: Plan) -> None:
        """Refuse what layer 4 does not do."""
        if missing := _missing():
            raise _unsupported(f"it is not available here; install {' and '.join(missing)}")
        for frontend in plan.frontends:
            _check_frontend(frontend)
        for backend in plan.backends:
            _check_backend(backend)

    async def deploy(self, plan: Plan) -> None:
        """Bring rules and probes to the plan; connections that stand keep their member where it is still there."""
        folder = self._appliances.folder(plan.id)
        program = importlib.resources.files(__package__).joinpath("prober.py").read_text()
        (folder / "prober.py").write_text(program)
        _replace(folder / "targets.json", json.dumps(dict(_probes(plan))))
        fresh = not self._appliances.is_running(plan.id)
        await self._appliances.start(self._appliance(plan), self._watch(plan.id))
        if fresh:
            await self._run(plan.id, ("/bin/sh", "-c", FORWARD))
        state = self._states.get(plan.id)
        known = {_key(backend, target) for backend in plan.backends if backend.check for target in backend.targets}
        health = {key: value for key, value in (state.health if state else {}).items() if key in known}
        await self._load(_State(plan, health))
        if state:
            await self._forget(_places(state.plan) - _places(plan), plan.id)

    async def remove(self, load_balancer_id: str) -> None:
        """Drop the namespace with all that is in it."""
        await self._appliances.remove(load_balancer_id)
        self._states.pop(load_balancer_id, None)

    async def read(self, load_balancer_id: str) -> Report | None:
        """What the prober has found; where health has changed the rules follow."""
        state = self._states.get(load_balancer_id)
        if state is None or not self._appliances.is_running(load_balancer_id):
            return None
        try:
            found = json.loads((self._appliances.folder(load_balancer_id) / "health.json").read_text())
        except (OSError, ValueError):
            found = {}
        health = {_parse(name): status for name, status in found.get("health", {}).items()}
        if health != state.health:
            await self._follow_health(state, health)
        return Report(_frontends(state.plan, found), dict(_targets(state.plan, health)))

    async def _follow_health(self, state: _State, health: dict[tuple[str, str], str]) -> None:
        await self._load(_State(state.plan, health))
        dead = {
            (str(target.address), target.port)
            for backend in state.plan.backends
            for target in backend.targets
            if health.get(_key(backend, target)) == "ERROR" != state.health.get(_key(backend, target))
        }
        await self._forget(dead, state.plan.id)

    async def _load(self, state: _State) -> None:
        await self._run(state.plan.id, ("nft", "-f", "-"), render(state.plan, state.health).encode())
        self._states[state.plan.id] = state

    async def _forget(self, places: set[tuple[str, int]], load_balancer_id: str) -> None:
        for address, port in sorted(places):
            await self._run(load_balancer_id, ("python3", f"{FOLDER}/prober.py", "forget", address, str(port)))

    async def _run(self, load_balancer_id: str, argv: tuple[str, ...], stdin: bytes = b"") -> None:
        status, out, err = await self._appliances.exec(load_balancer_id, argv, stdin)
        if status:
            words = (err or out).decode(errors="replace").strip()
            raise PermanentError(
                f"load balancer {load_balancer_id} could not be changed: {words.splitlines()[0] if words else status}",
                call=argv[0],
                answer=words,
            )

    def _appliance(self, plan: Plan) -> Appliance:
        bind = Bind(self._appliances.folder(plan.id), FOLDER, read_only=False)
        argv = ("python3", f"{FOLDER}/prober.py", "watch", FOLDER)
        return Appliance(plan.id, argv=argv, port_ids=plan.port_ids, binds=(bind,))

    def _watch(self, load_balancer_id: str) -> Callable[[MachineExit], Awaitable[None]]:
        async def ended(_how: MachineExit) -> None:
            await self._on_death(load_balancer_id)

        return ended


def _check_frontend(frontend: Frontend) -> None:
    if frontend.protocol not in PROTOCOLS:
        raise _unsupported(f"listeners of protocol {frontend.protocol}; use the provider `haproxy`")
    if frontend.connection_limit:
        raise _unsupported("connection_limit")
    timeouts = (
        frontend.client_timeout_ms,
        frontend.connect_timeout_ms,
        frontend.member_timeout_ms,
        frontend.inspect_ms,
    )
    if timeouts != (USUAL.client_timeout_ms, USUAL.connect_timeout_ms, USUAL.member_timeout_ms, USUAL.inspect_ms):
        raise _unsupported("timeouts of listeners: packets are forwarded, connections are the members' own")


def _check_backend(backend: Backend) -> None:
    if backend.protocol not in PROTOCOLS:
        raise _unsupported(f"pools of protocol {backend.protocol}; use the provider `haproxy`")
    if backend.algorithm not in ALGORITHMS:
        raise _unsupported(f"the algorithm {backend.algorithm}")
    if backend.persistence and backend.persistence.type != "SOURCE_IP":
        raise _unsupported(f"session persistence of type {backend.persistence.type}")
    if backend.persistence and backend.persistence.timeout_s:
        raise _unsupported("persistence_timeout: a source address always meets the same member")
    if backend.check and backend.check.type not in CHECKS:
        raise _unsupported(f"health monitors of type {backend.check.type}")


def _probes(plan: Plan) -> Mapping[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for backend in plan.backends:
        if (check := backend.check) is None:
            continue
        common = {
            "type": check.type,
            "delay": check.delay_s,
            "timeout": check.timeout_s,
            "rise": check.rise,
            "fall": check.fall,
            "method": check.method,
            "path": check.path,
            "codes": expected_codes(check.codes),
            "version": check.version,
            "domain": check.domain,
        }
        for target in backend.targets:
            if target.enabled:
                address, port = target.monitor_address or target.address, target.monitor_port or target.port
                found[f"{backend.id} {target.id}"] = {**common, "address": str(address), "port": port}
    return found


def _frontends(plan: Plan, found: Mapping[str, Any]) -> dict[str, Statistics]:
    counters, connections = found.get("counters", {}), found.get("connections", {})
    return {
        frontend.id: Statistics(
            active_connections=connections.get(f"{plan.vip} {frontend.port}", 0),
            total_connections=counters.get(counter(frontend, "new"), (0, 0))[0],
            bytes_in=counters.get(counter(frontend, "in"), (0, 0))[1],
            bytes_out=counters.get(counter(frontend, "out"), (0, 0))[1],
        )
        for frontend in plan.frontends
    }


def _targets(plan: Plan, health: Mapping[tuple[str, str], str]) -> Mapping[tuple[str, str], str]:
    return {
        _key(backend, target): _target_status(backend, target, health.get(_key(backend, target), "OFFLINE"))
        for backend in plan.backends
        for target in backend.targets
    }


def _target_status(backend: Backend, target: Target, probed: str) -> str:
    if not target.enabled:
        return "OFFLINE"
    if backend.check and probed == "ERROR":
        return "ERROR"
    if not target.weight:
        return "DRAINING"
    return probed if backend.check else "NO_MONITOR"


def _places(plan: Plan) -> set[tuple[str, int]]:
    return {(str(target.address), target.port) for backend in plan.backends for target in backend.targets}


def _key(backend: Backend, target: Target) -> tuple[str, str]:
    return backend.id, target.id


def _parse(name: str) -> tuple[str, str]:
    backend, _, target = name.partition(" ")
    return backend, target


def _replace(path: Path, text: str) -> None:
    scratch = path.with_suffix(".new")
    scratch.write_text(text)
    scratch.replace(path)


def _missing() -> list[str]:
    wanted = {"nft": "the package `nftables`", "python3": "the package `python3`"}
    return [package for program, package in wanted.items() if not shutil.which(program, path=PATH)]


def _unsupported(what: str) -> Unsupported:
    return Unsupported(f"Provider 'nftables' does not support a requested option: {what}")
