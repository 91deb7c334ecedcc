"""The nftables rules that keep each flow with its function: text in, text out, no kernel.

A map remembers the function of each flow, by the fields that tell flows apart. A flow that it does not know, or whose
function is no longer there, is given to one by hash and remembered; one with weight 0 gets none of these. Returning
packets are looked up with their fields swapped, so that both directions meet in the same entry. The family netdev has
no connection tracking; an entry lives as long as packets come, and a while longer.

When the map is full, further flows go by hash alone.

Source: nft(8), maps, `jhash`, and the statements `add`, `update` and `delete` of the packet path.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from sonata._lib.values import dataclass

SEED = "0x50a7a"
"""The same everywhere, so that each place of a chain tells flows apart alike."""
_IDLE = "30m"
_MOST = 262_144
_NOBODY = "00:00:00:00:00:00"
_CHAINS = re.compile(r"^chain (\w+) \{$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Picker:
    """Leads the packets of one way through a place of a chain.

    Args:
        name: of the place; letters and digits.
        fields: what tells flows apart, in the order of this way.
        functions: MAC address at the ingress, weight, and the action that leads there.
        backward: whether these are returning packets.
    """

    name: str
    fields: tuple[str, ...]
    functions: tuple[tuple[str, int, str], ...]
    backward: bool


def chain_name(place: str, fields: Sequence[str], *, backward: bool) -> str:
    """Name of the rules for one way."""
    return f"{'back' if backward else 'to'}_{_suffix(place, fields)}"


def emptied(table: str, standing: str) -> str:
    """Take all rules out of a table, and leave what it remembers.

    A chain is named before it is deleted, since it may have gone with its interface.
    """
    lines = [f"table netdev {table}", f"flush table netdev {table}"]
    for name in _CHAINS.findall(standing):
        lines += [f"add chain netdev {table} {name}", f"delete chain netdev {table} {name}"]
    return "\n".join(lines)


def render(pickers: Sequence[Picker]) -> list[str]:
    """The maps and the chains of a table."""
    maps = {_map_name(one): one for one in pickers if not one.backward}
    return [line for one in maps.values() for line in _map(one)] + [line for one in pickers for line in _chain(one)]


def _map(picker: Picker) -> Iterator[str]:
    yield f"map {_map_name(picker)} {{"
    yield f"typeof {_key(picker)} : ether daddr"
    yield f"size {_MOST}; flags dynamic,timeout; timeout {_IDLE};"
    yield "}"


def _chain(picker: Picker) -> Iterator[str]:
    """The packet's MAC address is written first, so that it tells whose the flow is."""
    name = chain_name(picker.name, picker.fields, backward=picker.backward)
    key, flows = _key(picker), f"@{_map_name(picker)}"
    for number, (_mac, _weight, action) in enumerate(picker.functions):
        yield from (f"chain {name}_{number} {{", action, "}")
    led = ", ".join(f"{mac} : goto {name}_{number}" for number, (mac, *_) in enumerate(picker.functions))
    yield f"chain {name} {{"
    yield f"ether daddr set {_NOBODY}"
    yield f"ether daddr set {key} map {flows}"
    yield f"ether daddr != {_NOBODY} update {flows} {{ {key} timeout {_IDLE} : ether daddr }}"
    yield f"ether daddr vmap {{ {led} }}"
    yield f"delete {flows} {{ {key} : ether daddr }}"
    if shares := _shares(picker):
        total = sum(weight for _mac, weight, _action in picker.functions)
        yield f"ether daddr set jhash {key} mod {total} seed {SEED} map {{ {', '.join(shares)} }}"
        yield f"add {flows} {{ {key} timeout {_IDLE} : ether daddr }}"
        yield f"ether daddr vmap {{ {led} }}"
    yield from ("drop", "}")


def _shares(picker: Picker) -> list[str]:
    """Which remainders of the hash lead to which function."""
    shares, first = [], 0
    for mac, weight, _action in picker.functions:
        if weight:
            shares.append(f"{first}-{first + weight - 1} : {mac}" if weight > 1 else f"{first} : {mac}")
            first += weight
    return shares


def _key(picker: Picker) -> str:
    return " . ".join(picker.fields)


def _map_name(picker: Picker) -> str:
    return f"flows_{_suffix(picker.name, picker.fields)}"


def _suffix(place: str, fields: Sequence[str]) -> str:
    """The same for both directions: a place, the version of IP, and whether ports count."""
    version = "6" if any(field.startswith("ip6 ") for field in fields) else "4"
    return f"{place}_{version}{'p' if any(field.startswith('th ') for field in fields) else ''}"
