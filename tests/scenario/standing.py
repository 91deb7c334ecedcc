"""What an emulation consists of while it runs, read from the kernel: two moments can be compared."""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from sonata.sdk.emulation_records import EmulationRecord, saved_of

OF_PORTS = re.compile(r"eth\d+|ext|i[0-9a-f]{12}")
"""Names that interfaces of Neutron ports have in servers and routers. What is at their other ends has an address of the
kernel's choice, which may begin as Neutron's do."""
CHANGING = (".json", ".log")
"""Ends of the names of files whose being there says nothing."""


@dataclass(frozen=True)
class Standing:
    """Everything in the kernel that belongs to one emulation, in words.

    Args:
        things: namespaces with interfaces and packet filters, mounts, processes, cgroups, files.
        macs: addresses of the interfaces of Neutron ports, in all namespaces, and what they are in words.
    """

    things: frozenset[str]
    macs: Mapping[str, str]

    @classmethod
    def of(cls, record: EmulationRecord) -> Standing:
        pid = record.process.pid
        spaces = dict(_spaces(pid))
        links = {inode: _links(pid, path) for inode, path in spaces.items()}
        things = {f"namespace {inode}" for inode in spaces}
        things |= {f"interface {link['ifname']} in {inode}" for inode, found in links.items() for link in found}
        things |= {f"filter {name} in {inode}" for inode, path in spaces.items() for name in _filters(pid, path)}
        things |= {f"mount {line.split()[4]}" for line in Path(f"/proc/{pid}/mountinfo").read_text().splitlines()}
        things |= {f"process {one}" for one in _processes(pid)}
        # A PoP's own group is made for its first machine, and stays for the next one.
        things |= {f"cgroup {path}" for path in _cgroups(record.cgroups) if path.suffix != ".group"}
        things |= {f"file {path}" for path in _files(record)}
        of_ports = [
            (inode, link) for inode, found in links.items() for link in found if OF_PORTS.fullmatch(link["ifname"])
        ]
        return cls(frozenset(things), {link["address"]: f"{link['ifname']} in {inode}" for inode, link in of_ports})


def _spaces(pid: int) -> Iterator[tuple[str, str]]:
    """Network namespaces that a process holds: inode and a path to enter it."""
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        try:
            target = os.readlink(descriptor)
        except FileNotFoundError:
            continue
        if target.startswith("net:["):
            yield target, str(descriptor)


def _processes(pid: int) -> Iterator[str]:
    """Descendants of a process by pid and name; those that have ended and are only to be collected do not count."""
    for child in psutil.Process(pid).children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            if child.status() != psutil.STATUS_ZOMBIE:
                yield f"{child.pid} {child.name()}"


def _links(pid: int, space: str) -> list[dict[str, Any]]:
    told = _inside(space, "ip", "-json", "link", "show")
    return [link for link in json.loads(told or "[]") if link["ifname"] != "lo"]


def _filters(pid: int, space: str) -> Iterator[str]:
    for entry in json.loads(_inside(space, "nft", "--json", "list", "ruleset") or "{}").get("nftables", []):
        for kind in ("table", "chain", "set", "map"):
            if kind in entry:
                yield f"{kind} {entry[kind]['family']} {entry[kind].get('table', '')} {entry[kind]['name']}"


def _inside(space: str, *command: str) -> str:
    """What a program prints in a namespace; nothing when the namespace is gone."""
    argv = ["nsenter", f"--net={space}", *command]
    return subprocess.run(argv, capture_output=True, text=True, check=False, timeout=20).stdout


def _cgroups(name: str) -> Iterator[Path]:
    for top in [*Path("/sys/fs/cgroup").glob(f"*/{name}"), *Path("/sys/fs/cgroup").glob(name)]:
        yield from (path for path in top.rglob("*") if path.is_dir())


def _files(record: EmulationRecord) -> Iterator[Path]:
    run = Path(f"/proc/{record.process.pid}/root") / str(saved_of(record.name).parent / "run").lstrip("/")
    for folder in (run, saved_of(record.name)):
        yield from (path for path in folder.rglob("*") if path.suffix not in CHANGING)
