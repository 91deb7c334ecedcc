"""First program of the confined process in which a virtual machine runs: wires its network cards, becomes qemu.

Disks that it boots are made here, too: what strangers have put into an image is read by confined programs alone.

Runs by the Python of the host's `/usr`, in the machine's network namespace. Each interface there gets a TAP beside it;
what comes in at one goes out at the other (mirred(8)). The guest's card has the interface's hardware address, and its
addresses, routes and size of packets are written down for the guest as a script.
"""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_NETWORK_SCRIPT = "network.sh"
_DISKS = "disks.json"
_QEMU_IMG = "/usr/bin/qemu-img"
_KERNELS_OWN = {"kernel", "ra", "redirect"}


def main(folder: Path, command: list[str]) -> None:
    """Wire the cards and become the command, with an option for each of them."""
    cards = interfaces()
    for number, card in enumerate(cards):
        join(card, number)
    (folder / _NETWORK_SCRIPT).write_text("".join(f"{line}\n" for line in guest_commands(cards)))
    options = [option for number, card in enumerate(cards) for option in card_options(card, number)]
    if (plan := folder / _DISKS).exists():
        for disk in json.loads(plan.read_text()):
            make_disk(**disk)
    os.execv(command[0], [*command, *options])  # noqa: S606  # nosec B606


def interfaces() -> list[dict[str, Any]]:
    """The interfaces of this network namespace besides loopback, as ip(8) shows them."""
    return [link for link in _ip("address", "show") if "LOOPBACK" not in link["flags"] and link["link_type"] == "ether"]


def join(card: dict[str, Any], number: int) -> None:
    """Put a TAP beside an interface."""
    name, tap = card["ifname"], f"vm{number}"
    _run("ip", "tuntap", "add", "dev", tap, "mode", "tap", "vnet_hdr")
    Path(f"/proc/sys/net/ipv6/conf/{tap}/disable_ipv6").write_text("1")
    _run("ip", "link", "set", tap, "mtu", str(card["mtu"]), "up")
    _run("ip", "link", "set", name, "up")
    for entry, leave in ((name, tap), (tap, name)):
        _run("tc", "qdisc", "add", "dev", entry, "handle", "ffff:", "ingress")
        match = ("parent", "ffff:", "protocol", "all", "u32", "match", "u32", "0", "0")
        _run("tc", "filter", "add", "dev", entry, *match, "action", "mirred", "egress", "redirect", "dev", leave)


def card_options(card: dict[str, Any], number: int) -> list[str]:
    """A network card as qemu is told of it."""
    device = f"virtio-net-pci,netdev=net{number},mac={card['address']},host_mtu={card['mtu']},romfile="
    return ["-netdev", f"tap,id=net{number},ifname=vm{number},script=no,downscript=no", "-device", device]


def guest_commands(cards: list[dict[str, Any]]) -> Iterator[str]:
    """Commands by which a guest configures its cards as they are here; busybox knows them."""
    yield "$bb ip link set lo up"
    for number, card in enumerate(cards):
        name = card["ifname"]
        if name != f"eth{number}":
            yield f"$bb ip link set eth{number} name {shlex.quote(name)}"
        if not any(known["family"] == "inet6" for known in card["addr_info"]):
            yield f"echo 1 > /proc/sys/net/ipv6/conf/{shlex.quote(name)}/disable_ipv6"
        yield f"$bb ip link set {shlex.quote(name)} mtu {card['mtu']} up"
        for known in card["addr_info"]:
            if known["scope"] != "link":
                yield f"$bb ip address add {known['local']}/{known['prefixlen']} dev {shlex.quote(name)}"
    for family in ("-4", "-6"):
        for route in _ip(family, "route", "show"):
            if route.get("protocol") not in _KERNELS_OWN and route.get("dev") in {card["ifname"] for card in cards}:
                yield _route(family, route)


def make_disk(base: str, base_format: str, file: str, size_bytes: int) -> None:
    """Make the disk on which a guest works, a layer over an image; one that is there already keeps what it has."""
    least = _size_of(base, base_format)
    if size_bytes and size_bytes < least:
        sys.exit(f"a disk of {size_bytes} bytes is too small for an image of {least} bytes")
    if not os.path.exists(file):
        made = f"{file}.new"
        _run(_QEMU_IMG, "create", "-q", "-f", "qcow2", "-F", base_format, "-b", base, made, str(size_bytes or least))
        os.rename(made, file)
    elif size_bytes > _size_of(file, "qcow2"):
        _run(_QEMU_IMG, "resize", "-q", "-f", "qcow2", file, str(size_bytes))


def _size_of(disk: str, form: str) -> int:
    answer = _run(_QEMU_IMG, "info", "--output=json", "-f", form, disk)
    return int(json.loads(answer)["virtual-size"])


def _route(family: str, route: dict[str, Any]) -> str:
    via = f" via {route['gateway']}" if "gateway" in route else ""
    metric = f" metric {route['metric']}" if "metric" in route else ""
    return f"$bb ip {family} route add {route['dst']}{via} dev {shlex.quote(route['dev'])}{metric}"


def _ip(*arguments: str) -> list[dict[str, Any]]:
    answer = subprocess.run(["ip", "-json", *arguments], check=True, capture_output=True)
    found: list[dict[str, Any]] = json.loads(answer.stdout or b"[]")
    return [entry for entry in found if entry]


def _run(*command: str) -> str:
    answer = subprocess.run(command, check=False, capture_output=True, text=True)
    if answer.returncode:
        sys.exit(f"this virtual machine cannot be made: {' '.join(command)}: {answer.stderr.strip()}")
    return answer.stdout


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
