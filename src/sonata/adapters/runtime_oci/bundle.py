"""The `config.json` of a machine: OCI runtime specification 1.0, config.md and config-linux.md."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import sonata.adapters.runtime_oci.host_root as host_root
import sonata.adapters.runtime_oci.seccomp as seccomp
from sonata._lib.values import dataclass
from sonata.adapters.runtime_oci.mounts import is_mapped
from sonata.ports.runtime import Bind, Limits, MachineSpec

PAUSE = ("sleep", "infinity")
"""What an idle machine runs while somebody works in it; every root with a shell has it (coreutils, busybox)."""

_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_TTY_GROUP = 5
_FEW_FILES, _MANY_FILES = "nr_inodes=1k", "nr_inodes=16k"
"""How many files a machine may have in memory: empty ones have no size, and cost the kernel memory all the same."""

# The usual set of container engines without MKNOD, so that a machine has the devices it is given and no others.
_CAPABILITIES = tuple(
    f"CAP_{name}"
    for name in (
        "AUDIT_WRITE", "CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "NET_ADMIN", "NET_BIND_SERVICE", "NET_RAW",
        "SETFCAP", "SETGID", "SETPCAP", "SETUID", "SYS_CHROOT",
    )
)  # fmt: skip
_MASKED = [
    "/proc/acpi", "/proc/asound", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/sched_debug",
    "/proc/scsi", "/proc/timer_list", "/proc/timer_stats", "/sys/devices/virtual/powercap", "/sys/firmware",
]  # fmt: skip
_READ_ONLY = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sysrq-trigger"]


@dataclass(frozen=True, slots=True)
class Confinement:
    """What this host allows.

    Args:
        cgroup: path of the machine's cgroup, None where none can be made.
        enforced: limits that its controllers keep: `cpu`, `memory`, `pids`.
    """

    cgroup: str | None
    enforced: frozenset[str]


def config(spec: MachineSpec, rootfs: Path, confinement: Confinement) -> dict[str, Any]:
    """The whole document."""
    return {
        "ociVersion": "1.0.2",
        "hostname": spec.hostname,
        "root": {"path": str(rootfs), "readonly": False},
        "process": process(spec, spec.argv or PAUSE),
        "mounts": [*_system_mounts(spec), *_attached(spec, rootfs), *_host_mounts(spec), *map(_bind, spec.binds)],
        "linux": _linux(spec, confinement),
    }


def process(spec: MachineSpec, argv: Sequence[str], *, terminal: bool = False) -> dict[str, Any]:
    """A process of the machine, with the machine's user, environment and rights."""
    capabilities = list(_CAPABILITIES) if spec.network_admin else []
    uid = spec.uid if is_mapped(spec.uid) else 0
    return {
        "terminal": terminal,
        "user": {"uid": uid, "gid": uid},
        "args": list(argv),
        "env": [f"{name}={value}" for name, value in ({"PATH": _PATH, "HOME": "/root"} | dict(spec.env)).items()],
        "cwd": spec.cwd,
        "noNewPrivileges": True,
        "capabilities": dict.fromkeys(("bounding", "effective", "permitted"), capabilities),
    }


def _linux(spec: MachineSpec, confinement: Confinement) -> dict[str, Any]:
    linux: dict[str, Any] = {
        "namespaces": [
            *({"type": kind} for kind in ("mount", "pid", "uts", "ipc")),
            {"type": "network", "path": spec.netns} if spec.netns else {"type": "network"},
        ],
        "maskedPaths": _MASKED,
        "readonlyPaths": [*_READ_ONLY, *_read_only_settings(spec)],
        "resources": {},
    }
    if spec.network_admin and os.path.exists("/dev/net/tun"):
        linux["devices"] = [{"path": "/dev/net/tun", "type": "c", "major": 10, "minor": 200, "fileMode": 0o666}]
    if confinement.cgroup:
        linux["cgroupsPath"] = confinement.cgroup
        linux["resources"] = {**_DEVICES, **resources(spec.limits, confinement.enforced)}
    if (profile := seccomp.profile()) is not None:
        linux["seccomp"] = profile
    return linux


def _read_only_settings(spec: MachineSpec) -> Iterable[str]:
    """Kernel settings that stay read-only; those of its network namespace are a VNF's own."""
    if not spec.network_admin:
        return ["/proc/sys"]
    return sorted(f"/proc/sys/{name}" for name in os.listdir("/proc/sys") if name != "net")


_DEVICES: dict[str, Any] = {
    "devices": [
        {"allow": False, "access": "rwm"},
        {"allow": True, "type": "c", "major": 10, "minor": 200, "access": "rw"},
    ]
}


def resources(limits: Limits, enforced: frozenset[str]) -> dict[str, Any]:
    """Limits in the words of config-linux.md, as far as they are enforced."""
    found: dict[str, Any] = {}
    cpu: dict[str, Any] = {**_bandwidth(limits), **_weight(limits)} if "cpu" in enforced else {}
    if limits.cores and "cpuset" in enforced:
        cpu["cpus"] = ",".join(map(str, limits.cores))
    if cpu:
        found["cpu"] = cpu
    if limits.memory_bytes is not None and "memory" in enforced:
        found["memory"] = {"limit": limits.memory_bytes}
    if limits.pids is not None and "pids" in enforced:
        found["pids"] = {"limit": limits.pids}
    return found


def _bandwidth(limits: Limits) -> dict[str, int]:
    if limits.cpus is None:
        return {}
    return {"quota": max(1000, int(limits.cpus * limits.cpu_period_us)), "period": limits.cpu_period_us}


def _weight(limits: Limits) -> dict[str, int]:
    return {} if limits.cpu_shares is None else {"shares": limits.cpu_shares}


def _system_mounts(spec: MachineSpec) -> list[dict[str, Any]]:
    tty = [f"gid={_TTY_GROUP}"] if is_mapped(_TTY_GROUP) else []
    mounts = [
        _mount("/proc", "proc", "proc", "nosuid", "noexec", "nodev"),
        _mount("/dev", "tmpfs", "tmpfs", "nosuid", "strictatime", "mode=755", "size=64k", _FEW_FILES),
        _mount("/dev/pts", "devpts", "devpts", "nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", *tty),
        _mount("/dev/shm", "tmpfs", "shm", "nosuid", "noexec", "nodev", "mode=1777", "size=64m", _MANY_FILES),  # noqa: S108  # nosec B108
    ]
    if pages := spec.huge_pages:
        # min_size takes the pages at once: the mount fails where there are not enough.
        sizes = (f"pagesize={pages.page_bytes}", f"size={pages.total_bytes}", f"min_size={pages.total_bytes}")
        mounts.append(_mount("/dev/hugepages", "hugetlbfs", "hugetlbfs", "nosuid", "nodev", "mode=1777", *sizes))
    if spec.network_admin:  # for /sys/class/net
        mounts.append(_mount("/sys", "sysfs", "sysfs", "nosuid", "noexec", "nodev", "ro"))
    return mounts


def _host_mounts(spec: MachineSpec) -> list[dict[str, Any]]:
    own = [_bind(Bind(Path(folder), folder)) for folder in host_root.host_binds()] if spec.root.needs_host else []
    for one in spec.attached:
        if one.root.needs_host:
            own += [_bind(Bind(Path(folder), f"{one.target}{folder}")) for folder in host_root.host_binds()]
    return own


def _attached(spec: MachineSpec, rootfs: Path) -> list[dict[str, Any]]:
    mounted = attached_roots(spec, rootfs.parent)
    return [_bind(Bind(path, one.target, read_only=False)) for one, path in zip(spec.attached, mounted, strict=True)]


def attached_roots(spec: MachineSpec, folder: Path) -> list[Path]:
    """Where the further root file systems of a machine are mounted for it, in its folder."""
    return [folder / f"attached{number}" for number in range(len(spec.attached))]


def _bind(bind: Bind) -> dict[str, Any]:
    access = "ro" if bind.read_only else "rw"
    return _mount(bind.target, "bind", str(bind.source), "rbind", "rprivate", access, "nosuid", "nodev")


def _mount(target: str, kind: str, source: str, *options: str) -> dict[str, Any]:
    return {"destination": target, "type": kind, "source": source, "options": list(options)}
