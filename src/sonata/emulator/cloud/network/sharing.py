"""How the functions of a port pair group share the flows: by hash, by memory, or as a pool of Octavia tells."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from sonata._lib.ip import Address
from sonata.emulator.cloud.entities.chaining import PortPair, PortPairGroup
from sonata.emulator.cloud.entities.load_balancing import Member, Operating, Provisioning
from sonata.emulator.cloud.tables import Tables
from sonata.errors import InvalidInput
from sonata.ports.fabric import Hop

Parameters = Mapping[str, object]
HASHED = {
    "ip_src": "ip_src",
    "ip_dst": "ip_dst",
    "tcp_src": "sport",
    "udp_src": "sport",
    "tcp_dst": "dport",
    "udp_dst": "dport",
}
"""What the data plane calls the fields of `lb_fields`."""
KNOWN = ("lb_fields", "lb_pool_id", "sticky")
HEAVIEST = 255


def check_parameters(parameters: Parameters) -> None:
    """Refuse parameters of a group that mean nothing here.

    Raises:
        InvalidInput: one is not known, or has a value that cannot be.
    """
    if unknown := sorted(name for name, value in parameters.items() if name not in KNOWN and value):
        raise InvalidInput(f"port pair group parameter '{unknown[0]}' means nothing here: use {', '.join(KNOWN)}")
    hash_fields(parameters)
    pool_of(parameters)
    if not isinstance(parameters.get("sticky", False), bool):
        raise InvalidInput(f"sticky '{parameters['sticky']}' is neither true nor false")


def hash_fields(parameters: Parameters) -> tuple[str, ...]:
    """What tells flows apart in a group: its `lb_fields`, written `ip_src & ip_dst`, also as a list.

    Raises:
        InvalidInput: a field cannot be looked at.
    """
    asked = parameters.get("lb_fields") or []
    texts = [asked] if isinstance(asked, str) else asked
    if not isinstance(texts, list | tuple):
        raise InvalidInput(f"lb_fields '{asked}' is not a list of fields")
    names = [name.strip() for text in texts for name in str(text).split("&")]
    if unknown := [name for name in names if name not in HASHED]:
        raise InvalidInput(f"lb_fields: '{unknown[0]}' cannot be hashed here: use some of {', '.join(HASHED)}")
    return tuple(dict.fromkeys(HASHED[name] for name in names))


def weight_of(parameters: Parameters) -> int:
    """A function's share of the flows in its group: its `weight`, 1 when it has none.

    Raises:
        InvalidInput: it is no whole number from 1 to 255.
    """
    asked = parameters.get("weight", 1)
    if not str(asked).isdigit() or not 1 <= int(str(asked)) <= HEAVIEST:
        raise InvalidInput(f"weight '{asked}' of a port pair is not a whole number from 1 to {HEAVIEST}")
    return int(str(asked))


def pool_of(parameters: Parameters) -> str:
    """The pool of Octavia whose members serve; empty when every function that runs does.

    Raises:
        InvalidInput: it is no id.
    """
    asked = parameters.get("lb_pool_id") or ""
    if not isinstance(asked, str):
        raise InvalidInput(f"lb_pool_id '{asked}' is not the id of a pool")
    return asked


def shared_place(tables: Tables, group: PortPairGroup, running: Sequence[tuple[PortPair, Hop]]) -> Hop | None:
    """One place of a chain out of the functions of a group that run; None when none does."""
    hops = _as_pool_tells(tables, group, running) if pool_of(group.parameters) else [hop for _pair, hop in running]
    if not hops:
        return None
    first, *others = hops
    return replace(first, alternatives=tuple(others), hash_by=hash_fields(group.parameters), sticky=_memory(group))


def is_sticky(group: PortPairGroup) -> bool:
    """Whether flows stay with the functions of a group."""
    return bool(group.parameters.get("sticky", bool(pool_of(group.parameters))))


def _memory(group: PortPairGroup) -> str:
    """The name under which a group's flows are remembered; empty where a hash alone decides."""
    return group.id.replace("-", "") if is_sticky(group) else ""


def _as_pool_tells(tables: Tables, group: PortPairGroup, running: Sequence[tuple[PortPair, Hop]]) -> list[Hop]:
    """The functions that are well, with their members' weights.

    When none is, all that run are left with weight 0: nothing new gets past, since nobody looks at it.
    """
    members = _members(tables, pool_of(group.parameters))
    serving = []
    for pair, hop in running:
        port = tables.ports.get(pair.ingress)
        member = next((members[fixed.address] for fixed in port.fixed_ips if fixed.address in members), None)
        if member and member.admin_state_up and member.operating_status != Operating.ERROR:
            serving.append(replace(hop, weight=member.weight))
    return serving or [replace(hop, weight=0) for _pair, hop in running]


def _members(tables: Tables, pool_id: str) -> dict[Address, Member]:
    mine = (one for one in tables.members if one.pool_id == pool_id)
    return {one.address: one for one in mine if one.provisioning_status != Provisioning.PENDING_DELETE}
