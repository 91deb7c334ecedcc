"""The rules of nftables for a plan: a pure function.

Connections are translated to a member and to the balancer's own address, so that answers come back through it. Rules
are replaced as one transaction; connections that stand keep their member (conntrack).

Source: nft(8), statements `dnat`, `numgen`, `jhash`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

from sonata.ports.load_balancing import Backend, Frontend, Plan, Target

TABLE = "ip balancer"
ALGORITHMS = frozenset(("ROUND_ROBIN", "SOURCE_IP", "SOURCE_IP_PORT"))
FINENESS = 512
"""Most slots of a spread."""

Health = Mapping[tuple[str, str], str]


def render(plan: Plan, health: Health) -> str:
    """The whole transaction; members that are ERROR get nothing new."""
    backends = {backend.id: backend for backend in plan.backends}
    frontends = plan.frontends if plan.enabled else ()
    lines = [
        f"add table {TABLE}",
        f"add chain {TABLE} guard {{ type filter hook prerouting priority mangle; }}",
        f"add chain {TABLE} spread {{ type nat hook prerouting priority dstnat; }}",
        f"add chain {TABLE} leave {{ type nat hook postrouting priority srcnat; }}",
        f"add chain {TABLE} answer {{ type filter hook postrouting priority srcnat + 50; }}",
    ]
    lines += [f"add counter {TABLE} {counter(one, what)}" for one in frontends for what in ("new", "in", "out")]
    lines.append(f"flush table {TABLE}")
    for frontend in frontends:
        lines += _frontend(plan, frontend, backends.get(frontend.backend), health)
    lines.append(f"add rule {TABLE} leave ct status dnat masquerade")
    return "\n".join(lines) + "\n"


def counter(frontend: Frontend, what: str) -> str:
    """The name of one of a frontend's counters: `new` connections, packets `in` and `out`."""
    return f"{what}-{frontend.id}"


def transport(protocol: str) -> str:
    """The protocol below."""
    return "udp" if protocol == "UDP" else "tcp"


def _frontend(plan: Plan, frontend: Frontend, backend: Backend | None, health: Health) -> Iterator[str]:
    below = transport(frontend.protocol)
    to = f"ip daddr {plan.vip} {below} dport {frontend.port}"
    if frontend.allowed:
        networks = ", ".join(map(str, frontend.allowed))
        yield f"add rule {TABLE} guard {to} ip saddr != {{ {networks} }} drop"
    yield f'add rule {TABLE} guard {to} counter name "{counter(frontend, "in")}"'
    back = f"ip saddr {plan.vip} {below} sport {frontend.port}"
    yield f'add rule {TABLE} answer {back} counter name "{counter(frontend, "out")}"'
    slots = spread(eligible(backend, health)) if backend else []
    if backend and slots:
        new = f'counter name "{counter(frontend, "new")}"'
        choice = f"{_chooser(backend, below)} mod {len(slots)} map {_map(slots)}"
        yield f"add rule {TABLE} spread {to} {new} dnat ip to {choice}"


def eligible(backend: Backend, health: Health) -> list[Target]:
    """The members that get connections: healthy ones, backups only when there is no other."""
    up = [
        target
        for target in backend.targets
        if target.enabled and target.weight and health.get((backend.id, target.id)) != "ERROR"
    ]
    return [target for target in up if not target.backup] or up


def spread(targets: Sequence[Target]) -> list[Target]:
    """Slots in proportion to weights, spread evenly so that no member gets long runs (smooth weighted round robin)."""
    if not targets:
        return []
    weights = [target.weight for target in targets]
    divisor = math.gcd(*weights)
    weights = [weight // divisor for weight in weights]
    if sum(weights) > FINENESS:
        weights = [max(1, weight * FINENESS // sum(weights)) for weight in weights]
    total, credit, slots = sum(weights), [0] * len(weights), []
    for _ in range(total):
        credit = [have + weight for have, weight in zip(credit, weights, strict=True)]
        richest = credit.index(max(credit))
        credit[richest] -= total
        slots.append(targets[richest])
    return slots


def _chooser(backend: Backend, below: str) -> str:
    sticky = backend.persistence is not None
    if sticky or backend.algorithm == "SOURCE_IP":
        return "jhash ip saddr"
    if backend.algorithm == "SOURCE_IP_PORT":
        return f"jhash ip saddr . {below} sport"
    return "numgen inc"


def _map(slots: Sequence[Target]) -> str:
    entries = (f"{number} : {target.address} . {target.port}" for number, target in enumerate(slots))
    return f"{{ {', '.join(entries)} }}"
