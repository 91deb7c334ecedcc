"""A PoP's switch for encapsulated packets: a bridge of Open vSwitch in user space, beside the PoP.

It has a namespace of its own, joined to the PoP's by a veth pair, the hatch. Where tunnels begin and end it has the
address of the PoP's router, too. What it sends leaves over the hatch and is forwarded by the PoP, so links impair it
like everything else.

Source: ovs-vswitchd.conf.db(5); Open vSwitch's documentation, "Native Tunneling in Open vSwitch Userspace".
"""

from __future__ import annotations

import logging
import socket
from collections.abc import Iterable, Sequence
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from pathlib import Path

import sonata.adapters.fabric_linux.nsh_flows as nsh_flows
import sonata.adapters.fabric_linux.requests as requests
from sonata.adapters.fabric_linux.netspace import MACHINE_SETTINGS, Netspace, create
from sonata.adapters.fabric_linux.nsh_flows import HATCH, HATCH_MAC, POP_PORT, SWITCH_MAC, TUNNEL_PORT
from sonata.adapters.fabric_linux.open_vswitch import OpenVSwitch
from sonata.errors import AdapterError, Unsupported
from sonata.ports.chain_rendering import Flow

logger = logging.getLogger(__name__)

_BRIDGE, _POP, _TUNNEL = "sff", "pop", "gpe"
_MTU = 9000
_NEAR, _FAR = IPv4Interface("192.0.0.1/30"), IPv4Interface("192.0.0.2/30")
"""Of the hatch's two sides, known to nobody else (RFC 7335)."""
_ANYWHERE = IPv4Network("0.0.0.0/0")


class FlowSwitch:
    """One switch, from its making to `close`. Its flows are what was added and not removed since.

    Args:
        pop: the namespace of the PoP.
        router: address of the PoP's router.
        indexes: of the two sides of the hatch.
        folder: for its files; made, and removed by `close`.
    """

    def __init__(self, pop: Netspace, router: IPv4Address, indexes: tuple[int, int], folder: Path) -> None:
        self._pop = pop
        self._router = router
        self._near, self._far = indexes
        self._flows: dict[str, Flow] = {}
        self._untold: list[str] = []
        (self._netspace,) = create([f"switch of {pop.name}"], MACHINE_SETTINGS)
        self._switch = OpenVSwitch(pop.name, self._netspace, folder)
        try:
            self._join()
            self._start()
        except (AdapterError, Unsupported, OSError):
            self.close()
            raise

    @property
    def pids(self) -> list[int]:
        """Its processes: the database, then the switch."""
        return self._switch.pids

    @property
    def is_empty(self) -> bool:
        """Whether nobody has flows in it."""
        return not self._flows

    def add(self, flows: Sequence[Flow]) -> None:
        """Have flows, each in place of one that matches the same: all of them or none."""
        self._restart_if_ended()
        new = [flow for flow in flows if self._flows.get(flow.match) != flow]
        self._write(new)
        self._flows.update({flow.match: flow for flow in new})

    def remove(self, flows: Iterable[Flow]) -> None:
        """Drop flows; those that others have taken the place of are gone already."""
        doomed = [flow for flow in flows if self._flows.get(flow.match) == flow]
        for flow in doomed:
            del self._flows[flow.match]
        if self._flows and not self._switch.failure:  # else it is closed, or started again without them
            self._switch.change_flows(_BRIDGE, [f"delete_strict {flow.match}" for flow in doomed])

    def mend(self) -> str:
        """Start its processes again where one has ended; what happened since it was told last, empty for nothing.

        Raises:
            PermanentError: they cannot be started; the next call tries again.
        """
        self._restart_if_ended()
        told, self._untold = "; ".join(self._untold), []
        return told

    def close(self) -> None:
        """End its processes, and leave nothing."""
        self._switch.close()
        if self._pop.descriptor >= 0:
            self._pop.apply(requests.delete_links([self._near]))
        self._netspace.close()

    def _restart_if_ended(self) -> None:
        if failure := self._switch.failure:
            self._switch.end()
            self._start()
            self._write(self._flows.values())
            name, count = self._pop.name, len(self._flows)
            told = f"Open vSwitch of PoP `{name}` is started again, with its {count} flows: {failure}"
            logger.warning(told)
            self._untold.append(told)

    def _join(self) -> None:
        """Lay the hatch. Frames leave it as they are on a wire: whole, and with their checksums."""
        outer = self._netspace.descriptor
        self._pop.apply([requests.veth(self._near, HATCH, self._far, _POP, outer, mtu=_MTU, mac=HATCH_MAC)])
        self._pop.send_finished(HATCH)
        self._pop.accept_own(HATCH)
        self._pop.apply([requests.set_up(self._near, HATCH), requests.address(self._near, HATCH, _NEAR)])
        self._netspace.apply([requests.set_up(self._far, _POP)])
        self._pop.synchronise(HATCH)
        self._netspace.synchronise(_POP)

    def _start(self) -> None:
        """One bridge with two ports, which answers to the address of the PoP's router."""
        try:
            self._switch.start()
            self._switch.configure(*_bridge(), *_hatch(), *_tunnel(self._router))
            self._switch.change_flows(_BRIDGE, [f"add {flow}" for flow in nsh_flows.base()])
            self._lead_out()
        except AdapterError:
            self._switch.end()
            raise

    def _lead_out(self) -> None:
        """The way to other PoPs' switches is over the hatch."""
        with self._netspace.entered():
            index = socket.if_nametoindex(_BRIDGE)
        own = [requests.address(index, _BRIDGE, one) for one in (IPv4Interface(self._router), _FAR)]
        route = requests.device_route(_ANYWHERE, index, gateway=_NEAR.ip)
        self._netspace.apply(
            [*own, requests.set_up(index, _BRIDGE), requests.add_route(route, "way out of the switch")]
        )
        self._switch.wait_until(self._knows_the_way, "it does not see its routes")
        self._switch.control("tnl/neigh/set", _BRIDGE, str(_NEAR.ip), HATCH_MAC)

    def _knows_the_way(self) -> bool:
        shown = self._switch.control("ovs/route/show")
        return f"GW {_NEAR.ip}" in shown and f"{self._router}/32" in shown

    def _write(self, flows: Iterable[Flow]) -> None:
        self._switch.change_flows(_BRIDGE, [f"add {flow.match},actions={flow.actions}" for flow in flows])


def _bridge() -> tuple[str, ...]:
    settings = ("datapath_type=netdev", "fail_mode=secure", "protocols=OpenFlow13", f"other_config:hwaddr={SWITCH_MAC}")
    return "add-br", _BRIDGE, "--", "set", "bridge", _BRIDGE, *settings


def _hatch() -> tuple[str, ...]:
    return "--", "add-port", _BRIDGE, _POP, "--", "set", "interface", _POP, f"ofport_request={POP_PORT}"


def _tunnel(router: IPv4Address) -> tuple[str, ...]:
    """A port of VXLAN-GPE for packets of any type, to and from any PoP."""
    port = requests.VXLAN_GPE_PORT
    options = {"remote_ip": "flow", "local_ip": router, "key": 0, "dst_port": port, "exts": "gpe"}
    settings = [f"options:{name}={value}" for name, value in {**options, "packet_type": "ptap"}.items()]
    added = ("--", "add-port", _BRIDGE, _TUNNEL, "--", "set", "interface", _TUNNEL)
    return *added, "type=vxlan", f"ofport_request={TUNNEL_PORT}", *settings
