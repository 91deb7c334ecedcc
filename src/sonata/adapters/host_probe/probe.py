"""All findings about this machine: kernel, cgroups, user namespaces, tools."""

from __future__ import annotations

import json
import os
import pwd
import resource
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Literal

from sonata._lib.huge_pages import free_huge_pages
from sonata._lib.values import dataclass
from sonata.adapters.host_probe.findings import PATH, Finding
from sonata.adapters.host_probe.first_boot import first_boot

_CONTROLLERS = ("cpu", "memory", "pids")
_ENOUGH_FILES = 4096


@dataclass(frozen=True, slots=True)
class _Feature:
    """A kernel feature: what it is for, whether the defaults need it, and how to get it."""

    name: str
    purpose: str
    is_needed: bool
    remedy: str


_FEATURES = (
    _Feature("namespaces", "isolation of emulations and machines", True, "allow them, see `user namespaces` below"),
    _Feature("pid namespaces", "ending everything at once", True, "allow them, see `user namespaces` below"),
    _Feature("veth", "links and ports", True, "modprobe veth"),
    _Feature("bridge", "networks", True, "modprobe bridge"),
    _Feature("vxlan", "networks that span sites", True, "modprobe vxlan"),
    _Feature(
        "nft netdev fwd", "service function chains", True, "apt-get install nftables; kernel option NFT_FWD_NETDEV"
    ),
    _Feature(
        "nft netdev hash",
        "sharing flows out over the functions of a group",
        False,
        "kernel options NFT_FWD_NETDEV and NFT_HASH",
    ),
    _Feature(
        "br_netfilter",
        "security groups; without it servers with secured ports become ERROR",
        False,
        "modprobe br_netfilter; echo br_netfilter > /etc/modules-load.d/sonata.conf keeps it",
    ),
    _Feature("nft bridge", "rules of security groups", False, "kernel option NF_TABLES_BRIDGE"),
    _Feature(
        "nft ct zones",
        "security groups of networks with equal addresses",
        False,
        "modprobe nf_conntrack; kernel options NFT_CT and NF_CONNTRACK_ZONES",
    ),
    _Feature("nft nat", "floating addresses", True, "apt-get install nftables; kernel option NFT_MASQ"),
    _Feature("overlay", "root file systems of images", True, "modprobe overlay"),
    _Feature(
        "loop devices",
        "sizes of disks and volumes; without them what is written has no bound but the host's disk",
        False,
        "be root, not in a container; modprobe loop; apt-get install e2fsprogs",
    ),
    _Feature("tun", "delay, jitter and loss of links, in user space", True, "modprobe tun; /dev/net/tun must exist"),
    _Feature("tbf", "rate limits of links", False, "modprobe sch_tbf"),
    _Feature("802.1q", "segmentation ids of layer 2 gateways: VLANs of the world outside", False, "modprobe 8021q"),
    _Feature("netem", "delay by the kernel; without it a user-space wire does it", False, "modprobe sch_netem"),
)


def probe() -> list[Finding]:
    """Everything worth telling, in the order in which it is told."""
    return [*_kernel(), *_users(), _cgroups(), *_tools(), *first_boot(), _huge_pages(), _open_files()]


def _kernel() -> Iterator[Finding]:
    answers = _tried()
    for feature in _FEATURES:
        reason = answers.get(feature.name, "not tried, since namespaces failed")
        if not reason:
            yield Finding("kernel", feature.name, "ok", feature.purpose)
        else:
            state: Literal["limited", "missing"] = "missing" if feature.is_needed else "limited"
            yield Finding("kernel", feature.name, state, f"{feature.purpose}: {reason}", feature.remedy)


def _tried() -> Mapping[str, str]:
    with tempfile.TemporaryDirectory(prefix="sonata-doctor-") as folder:
        answer = subprocess.run(
            [sys.executable, "-m", "sonata.adapters.host_probe.scratch", folder],
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "PATH": PATH},
        )
    if answer.returncode:
        return {"namespaces": answer.stderr.strip().rpartition("\n")[2] or f"exit status {answer.returncode}"}
    tried: Mapping[str, str] = json.loads(answer.stdout)
    return tried


def _users() -> Iterator[Finding]:
    if os.geteuid() == 0:
        yield Finding("user", "root", "ok", "emulations need no user namespace")
        return
    limit = int(Path("/proc/sys/user/max_user_namespaces").read_text())
    if limit:
        yield Finding("user", "user namespaces", "ok", f"at most {limit}")
    else:
        remedy = "as root: sysctl user.max_user_namespaces=10000"
        yield Finding("user", "user namespaces", "missing", "switched off on this machine", remedy)
    yield _subordinate_ids()


def _subordinate_ids() -> Finding:
    user = pwd.getpwuid(os.geteuid()).pw_name if _has_name() else str(os.geteuid())
    granted = all(_mentions(Path(file), user) for file in ("/etc/subuid", "/etc/subgid"))
    if granted and shutil.which("newuidmap", path=PATH):
        return Finding("user", "subordinate ids", "ok", "machines have users beside root")
    why = "machines know the user root alone; programs that change their user fail"
    remedy = f"as root: apt-get install uidmap; usermod --add-subuids 100000-165535 --add-subgids 100000-165535 {user}"
    return Finding("user", "subordinate ids", "limited", why, remedy)


def _has_name() -> bool:
    try:
        pwd.getpwuid(os.geteuid())
    except KeyError:
        return False
    return True


def _mentions(file: Path, user: str) -> bool:
    try:
        lines = file.read_text().splitlines()
    except OSError:
        return False
    return any(line.partition(":")[0] in {user, str(os.geteuid())} for line in lines)


def _cgroups() -> Finding:
    mounts = [line.split() for line in Path("/proc/self/mounts").read_text().splitlines()]
    if any(kind == "cgroup2" and folder == "/sys/fs/cgroup" for _, folder, kind, *_ in mounts):
        own = Path("/proc/self/cgroup").read_text().strip().rpartition(":")[2]
        return _delegation("v2", {name: Path(f"/sys/fs/cgroup{own}") for name in _CONTROLLERS})
    v1 = {
        name: Path(folder)
        for _, folder, kind, options, *_ in mounts
        for name in _CONTROLLERS
        if kind == "cgroup" and name in options.split(",")
    }
    return _delegation("v1", v1)


def _delegation(version: str, folders: Mapping[str, Path]) -> Finding:
    writable = [name for name, folder in folders.items() if os.access(folder, os.W_OK)]
    if len(writable) == len(_CONTROLLERS):
        return Finding("cgroups", version, "ok", f"limits of {', '.join(writable)} are enforced")
    lacking = ", ".join(name for name in _CONTROLLERS if name not in writable)
    remedy = "run as root, or under `systemd-run --user --scope -p Delegate=yes` on a host with cgroup v2"
    return Finding("cgroups", version, "limited", f"limits of {lacking} are not enforced", remedy)


def _tools() -> Iterator[Finding]:
    for program, package, purpose in (
        ("mmdebstrap", "mmdebstrap", "building images from Debian packages"),
        ("haproxy", "haproxy", "load balancers of the provider `haproxy`"),
        ("tcpdump", "tcpdump", "reading captures; Wireshark does, too"),
        ("openstack", "python3-openstackclient", "the stock command line client, for trying sites out"),
    ):
        if shutil.which(program, path=f"{Path(sys.executable).parent}:{PATH}"):
            yield Finding("tools", program, "ok", purpose)
        else:
            yield Finding("tools", program, "limited", purpose, f"apt-get install {package}")


def _huge_pages() -> Finding:
    free = {size: count for size, count in sorted(free_huge_pages().items()) if count > 0}
    if free:
        counted = ", ".join(f"{count} of {size} KiB" for size, count in free.items())
        return Finding("memory", "huge pages", "ok", f"free: {counted}; for flavors with `hw:mem_page_size`")
    why = "none free: servers of flavors with `hw:mem_page_size` find no host"
    return Finding("memory", "huge pages", "limited", why, "as root: sysctl vm.nr_hugepages=N")


def _open_files() -> Finding:
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if hard == resource.RLIM_INFINITY or hard >= _ENOUGH_FILES:
        return Finding("limits", "open files", "ok", f"hard limit {hard}; a site takes about 2, a machine 2")
    return Finding("limits", "open files", "limited", f"hard limit {hard}", "as root: raise `nofile` in limits.conf")
