"""Tries kernel features in namespaces that end with this process; prints the reason of each failure as JSON.

Run as `python -m sonata.adapters.host_probe.scratch FOLDER`, so that nothing of it can touch the caller. The answer
maps each feature to an empty text when it works.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import struct
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from sonata._lib import loop_devices
from sonata._lib.isolation import (
    CLONE_NEWNET,
    CLONE_NEWNS,
    CLONE_NEWPID,
    CLONE_NEWUSER,
    make_mounts_private,
    mount_overlay,
    mount_tmpfs,
    unshare,
)
from sonata._lib.netlink import NLM_F_CREATE, NLM_F_EXCL, NetlinkSocket, Request, attribute, nested, text, u32
from sonata.adapters.host_probe.findings import PATH

_RTM_NEWLINK, _RTM_NEWQDISC = 16, 36
_IFLA_IFNAME, _IFLA_LINKINFO, _INFO_KIND, _INFO_DATA = 3, 18, 1, 2
_VXLAN_ID, _TCA_KIND, _TCA_OPTIONS, _TC_ROOT = 1, 1, 2, 0xFFFFFFFF
_IFLA_LINK, _VLAN_ID, _UNDER_VLAN = 5, 1, 1000
_TBF_PARMS, _TBF_BURST = 1, 6
_TUNSETIFF, _IFF_TAP, _IFF_NO_PI, _IFF_VNET_HDR = 0x400454CA, 0x2, 0x1000, 0x4000
_LOOPBACK = 1
_NFT_RULES = b"table netdev probe { chain c { type filter hook ingress device lo priority 0; fwd to lo; }; }\n"
_NFT_HASH = (
    b"table netdev probe { chain h { type filter hook ingress device lo priority 0; "
    b"jhash ip saddr . ip daddr mod 2 seed 0x1 0 fwd to lo; }; }\n"
)
_NFT_BRIDGE = b"table bridge probe { chain c { type filter hook forward priority -200; ip protocol tcp drop; }; }\n"
_NFT_ZONES = b"table inet probe { chain c { type filter hook prerouting priority raw; ct zone set 1; }; }\n"
_NFT_NAT = b"table ip probe { chain c { type nat hook postrouting priority 100; masquerade; }; }\n"


def main() -> None:
    """Try everything and print the answers."""
    folder = Path(sys.argv[1])
    answers = {"namespaces": _reason(_enter_namespaces)}
    if not answers["namespaces"]:
        answers |= {name: _reason(trial) for name, trial in _trials(folder).items()}
    json.dump(answers, sys.stdout)


def _trials(folder: Path) -> Mapping[str, Callable[[], None]]:
    return {
        "veth": lambda: _new_link("veth"),
        "bridge": lambda: _new_link("bridge"),
        "vxlan": lambda: _new_link("vxlan", u32(_VXLAN_ID, 1)),
        "tbf": lambda: _new_qdisc("tbf", _tbf_options()),
        "netem": lambda: _new_qdisc("netem", struct.pack("=6I", 0, 1000, 0, 0, 0, 0)),
        "802.1q": _vlan,
        "tun": _open_tap,
        "nft netdev fwd": lambda: _nft(_NFT_RULES),
        "nft netdev hash": lambda: _nft(_NFT_HASH),
        "nft bridge": lambda: _nft(_NFT_BRIDGE),
        "nft ct zones": lambda: _nft(_NFT_ZONES),
        "br_netfilter": _bridge_inspection,
        "nft nat": lambda: _nft(_NFT_NAT),
        "overlay": lambda: _overlay(folder),
        "loop devices": _loop_device,
        "pid namespaces": lambda: unshare(CLONE_NEWPID),  # last: afterwards only one more child can be started
    }


def _reason(trial: Callable[[], None]) -> str:
    try:
        trial()
    except OSError as error:
        return error.strerror or str(error)
    return ""


def _enter_namespaces() -> None:
    namespaces = CLONE_NEWNET | CLONE_NEWNS
    try:
        unshare(namespaces)
    except PermissionError:
        uid, gid = os.getuid(), os.getgid()
        unshare(namespaces | CLONE_NEWUSER)
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"0 {uid} 1\n")
        Path("/proc/self/gid_map").write_text(f"0 {gid} 1\n")
    make_mounts_private()


def _vlan() -> None:
    _new_link("bridge", name="tryunder", index=_UNDER_VLAN)
    _new_link("vlan", attribute(_VLAN_ID, struct.pack("=H", 1)), lower=_UNDER_VLAN)


def _new_link(kind: str, *data: bytes, name: str = "", index: int = 0, lower: int = 0) -> None:
    body = struct.pack("=BxHiII", 0, 0, index, 0, 0) + text(_IFLA_IFNAME, name or f"try{kind}")
    body += u32(_IFLA_LINK, lower) if lower else b""
    body += nested(_IFLA_LINKINFO, text(_INFO_KIND, kind), nested(_INFO_DATA, *data))
    NetlinkSocket().apply([Request(_RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, body, kind)])


def _new_qdisc(kind: str, options: bytes) -> None:
    body = struct.pack("=BxxxiIII", 0, _LOOPBACK, 0x10000, _TC_ROOT, 0)
    body += text(_TCA_KIND, kind) + attribute(_TCA_OPTIONS, options)
    socket = NetlinkSocket()
    socket.apply([Request(_RTM_NEWQDISC, NLM_F_CREATE, body, kind)])


def _tbf_options() -> bytes:
    """1 Mbit/s, see struct tc_tbf_qopt in linux/pkt_sched.h."""
    rate = struct.pack("=BBHhHI", 0, 1, 0, 0, 0, 125_000)
    parameters = rate + struct.pack("=BBHhHI", 0, 0, 0, 0, 0, 0) + struct.pack("=III", 65536, 100_000, 0)
    return attribute(_TBF_PARMS, parameters) + u32(_TBF_BURST, 16384)


def _open_tap() -> None:
    with open("/dev/net/tun", "r+b", buffering=0) as tun:
        fcntl.ioctl(tun, _TUNSETIFF, struct.pack("=16sH22x", b"trytap", _IFF_TAP | _IFF_NO_PI | _IFF_VNET_HDR))


def _nft(rules: bytes) -> None:
    answer = subprocess.run(["nft", "-f", "-"], input=rules, capture_output=True, check=False)
    if answer.returncode:
        raise OSError(0, answer.stderr.decode(errors="replace").partition("\n")[0])


def _bridge_inspection() -> None:
    if not os.path.exists("/proc/sys/net/bridge/bridge-nf-call-iptables"):
        raise OSError(0, "the module is not loaded")


def _overlay(folder: Path) -> None:
    mount_tmpfs(folder)
    layers = [folder / name for name in ("lower", "upper", "work", "merged")]
    for layer in layers:
        layer.mkdir()
    mount_overlay(*layers)


def _loop_device() -> None:
    if not shutil.which("mkfs.ext4", path=PATH):
        raise OSError(0, "`mkfs.ext4` is not installed")
    with os.fdopen(os.memfd_create("trial"), "r+b") as file:
        file.truncate(1024**2)
        _device, descriptor = loop_devices.attach(file.fileno())
        os.close(descriptor)


if __name__ == "__main__":
    main()
