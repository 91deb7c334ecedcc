"""Keeps tenant networks away from the IP layers of the PoPs that carry them, whatever stations know or guess of these.

A bridge hands to the PoP what is sent to the bridge's own MAC address. By itself nothing of that is led anywhere, and
the PoP answers no ARP there. Where there are chains the PoP has to lead what they mark, and rules stop the rest;
where there are tunnels, rules stop what is made to look as if it came from one.
"""

from __future__ import annotations

from collections.abc import Iterable

from sonata.adapters.fabric_linux.nftables import Nftables
from sonata.adapters.fabric_linux.requests import VXLAN_GPE_PORT, VXLAN_PORT
from sonata.adapters.fabric_linux.world import EXTERNAL_IFNAME, NETWORK_PREFIX, Bridge, Pop, World
from sonata.ports.fabric import EXTERNAL

_UNLED = f'iifname "{NETWORK_PREFIX}*" meta mark & 0x30000000 == 0'
_NO_RULES = "add table ip guard\ndelete table ip guard\n"
_RULES = f"""{_NO_RULES}table ip guard {{
chain tunnels {{ type filter hook prerouting priority raw; policy accept;
iifname "{EXTERNAL_IFNAME}" udp dport {{ {VXLAN_PORT}, {VXLAN_GPE_PORT} }} ip daddr & 255.192.0.255 == 100.64.0.1 drop
}}
chain own {{ type filter hook input priority filter; policy accept;
{_UNLED} drop
}}
chain ways {{ type filter hook forward priority filter; policy accept;
{_UNLED} oifname != "{NETWORK_PREFIX}*" drop
}}
}}
"""
"""Tunnels end at the PoPs' routers and begin there: what comes for one from an external network is forged. From a
tenant network comes what a chain leads through the PoP's IP layer (its mark tells), and nothing else. What is bridged
may pass the hook `forward`, too, from a bridge to itself."""


class Guards:
    """Keeps the tenant networks of PoPs away from these."""

    def __init__(self, world: World, nftables: Nftables) -> None:
        self._world = world
        self._nftables = nftables

    def keep_apart(self, bridges: Iterable[Bridge]) -> None:
        """Have PoPs take nothing from new networks, but what chains mark."""
        for bridge in bridges:
            pop = self._world.pop(bridge.spec.pop)
            pop.netspace.stay_apart(bridge.ifname, forwarding=pop.leads)

    def lead_chains(self, name: str) -> None:
        """Have a PoP lead from its networks what chains mark; idempotent."""
        pop = self._world.pop(name)
        if pop.leads:
            return
        pop.leads = True
        if not pop.guarded:
            self._nftables.load(pop.netspace, _RULES)
        self._forward(pop, wanted=True)

    def lead_nothing(self, name: str) -> None:
        """Have a PoP in which there is no chain any more lead nothing from its networks; idempotent."""
        pop = self._world.pop(name)
        pop.leads = False
        self._forward(pop, wanted=False)
        if not pop.guarded:
            self._nftables.load(pop.netspace, _NO_RULES)

    def refuse_forged(self) -> None:
        """Have all PoPs refuse what only looks as if it came out of a tunnel; idempotent."""
        for pop in self._world.pops.values():
            if not pop.guarded:
                self._nftables.load(pop.netspace, _RULES)
                pop.guarded = True

    def _forward(self, pop: Pop, *, wanted: bool) -> None:
        tenants = [bridge.ifname for name, bridge in pop.bridges.items() if name != EXTERNAL]
        pop.netspace.forward_from(tenants, wanted=wanted)
