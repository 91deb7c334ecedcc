"""The flows of a PoP's service function forwarder (SFF), in the words of ovs-ofctl(8): text in, text out.

Frames come from the PoP and go back to it over one port. Their destination addresses, which are nobody's, tell what is
to be done: the classifier's rules in the PoP write `entry`, the switch writes `arrival` or `departure`, and what a
function that knows NSH gives back has the `sender` of its port. Between PoPs packets are in VXLAN-GPE.

Table 0 takes packets in, table 1 forwards by service path and index, table 2 hands plain frames to the PoP, table 3
has what functions give back.

Source: RFC 8300; draft-ietf-nvo3-vxlan-gpe; ovs-actions(7), encap and decap; ovs-fields(7), NSH fields.
"""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv4Address

from sonata.adapters.fabric_linux.nsh_paths import Waypoint
from sonata.adapters.fabric_linux.requests import VXLAN_GPE_PORT
from sonata.ports.chain_rendering import Flow

ETHERTYPE = 0x894F
HATCH = "nsh"
"""Name of the PoP's interface behind which its switch is."""
HATCH_MAC, SWITCH_MAC = "0e:00:00:00:00:01", "0e:00:00:00:00:02"
POP_PORT, TUNNEL_PORT = 1, 2
ENCAPSULATION = 38
"""Bytes that a frame for a function that knows NSH has more: an Ethernet header and the NSH of type 1."""
TUNNEL_OVERHEAD = 74
"""Bytes that a packet has more between PoPs: Ethernet, NSH, VXLAN-GPE, UDP and IP headers."""
_ENTRY, _ARRIVAL, _DEPARTURE, _SENDER = 1, 2, 3, 4
_TTL = 63
_IS_NSH = f"packet_type=(1,{ETHERTYPE:#x})"


def entry(to: Waypoint) -> str:
    """Destination address of frames that are to enter a path there."""
    return _address(_ENTRY, _key(to))


def arrival(at: Waypoint) -> str:
    """Destination address of frames for the function there."""
    return _address(_ARRIVAL, _key(at))


def departure(behind: Waypoint) -> str:
    """Destination address of plain frames that a function which knows NSH gave back; they are looked at again."""
    return _address(_DEPARTURE, _key(behind))


def sender(port: int) -> str:
    """Destination address of frames with NSH that come from the function's port of this number."""
    return _address(_SENDER, port)


def base() -> Iterator[str]:
    """What each switch does, whatever chains there are."""
    yield f"table=0,priority=10,in_port=LOCAL,actions=output:{POP_PORT}"
    yield f"table=0,priority=10,in_port={POP_PORT},udp,udp_dst={VXLAN_GPE_PORT},actions=output:LOCAL"
    yield f"table=0,priority=10,in_port={POP_PORT},arp,actions=output:LOCAL"
    yield f"table=0,priority=20,in_port={TUNNEL_PORT},{_IS_NSH},actions=dec_nsh_ttl,resubmit(,1)"
    yield (
        "table=2,priority=20,packet_type=(0,0),actions=load:0->NXM_OF_IN_PORT[],set_field:0e:00:00:00:00:00->eth_dst,"
        "move:NXM_NX_REG1[0..7]->NXM_OF_ETH_DST[32..39],move:NXM_NX_REG0[]->NXM_OF_ETH_DST[0..31],"
        f"output:{POP_PORT}"
    )


def entering(pop: str, to: Waypoint) -> Flow:
    """Wrap what the classifier hands over."""
    header = f"set_field:{to.path}->nsh_spi,set_field:{to.index}->nsh_si,set_field:{_TTL}->nsh_ttl"
    return Flow(
        pop,
        f"table=0,priority=20,in_port={POP_PORT},dl_dst={entry(to)}",
        f"encap(nsh(md_type=1)),{header},resubmit(,1)",
    )


def unwrapping(pop: str, at: Waypoint) -> Flow:
    """The proxy of a function that knows no NSH: it gets plain frames."""
    return Flow(pop, _forwarding(at), _plain(_ARRIVAL, at))


def passing(pop: str, at: Waypoint) -> Flow:
    """A function that knows NSH gets it."""
    header = f"set_field:{SWITCH_MAC}->eth_src,set_field:{arrival(at)}->eth_dst"
    return Flow(pop, _forwarding(at), f"encap(ethernet),{header},load:0->NXM_OF_IN_PORT[],output:{POP_PORT}")


def crossing(pop: str, at: Waypoint, router: IPv4Address) -> Flow:
    """A function in another PoP: the switch there knows it."""
    return Flow(pop, _forwarding(at), f"set_field:{router}->tun_dst,output:{TUNNEL_PORT}")


def returning(pop: str, port: int) -> Flow:
    """What a function that knows NSH gives back at a port comes to table 3."""
    match = f"table=0,priority=20,in_port={POP_PORT},dl_type={ETHERTYPE:#x},dl_dst={sender(port)}"
    return Flow(pop, match, f"set_field:{port}->reg2,decap(),resubmit(,3)")


def going_on(pop: str, port: int, behind: Waypoint, to: Waypoint) -> Flow:
    """From a function that knows NSH straight to the next one, its metadata included."""
    return Flow(pop, _returned(port, behind), f"dec_nsh_ttl,set_field:{to.path}->nsh_spi,resubmit(,1)")


def leaving(pop: str, port: int, behind: Waypoint) -> Flow:
    """From a function that knows NSH to where plain frames are looked at again."""
    return Flow(pop, _returned(port, behind), _plain(_DEPARTURE, behind))


def _forwarding(at: Waypoint) -> str:
    return f"table=1,priority=20,{_IS_NSH},nsh_spi={at.path},nsh_si={at.index}"


def _returned(port: int, behind: Waypoint) -> str:
    return f"table=3,priority=20,{_IS_NSH},reg2={port},nsh_spi={behind.path},nsh_si={behind.index}"


def _plain(kind: int, at: Waypoint) -> str:
    return f"set_field:{_key(at):#x}->reg0,set_field:{kind}->reg1,decap(),resubmit(,2)"


def _key(at: Waypoint) -> int:
    return at.path << 8 | at.index


def _address(kind: int, key: int) -> str:
    return ":".join(f"{byte:02x}" for byte in (0x0E, kind, *key.to_bytes(4, "big")))
