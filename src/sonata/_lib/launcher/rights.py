"""What a process of a machine may do: capabilities, its user, system calls."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path
from typing import Any

from sonata._lib.launcher import kernel

# linux/capability.h, in the order of the numbers
_NAMES = """
CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP LINUX_IMMUTABLE NET_BIND_SERVICE
NET_BROADCAST NET_ADMIN NET_RAW IPC_LOCK IPC_OWNER SYS_MODULE SYS_RAWIO SYS_CHROOT SYS_PTRACE SYS_PACCT SYS_ADMIN
SYS_BOOT SYS_NICE SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG MKNOD LEASE AUDIT_WRITE AUDIT_CONTROL SETFCAP
""".split()  # noqa: SIM905, a list of 30 short names reads better as text
_ALLOW, _ERRNO = 0x7FFF0000, 0x00050000
_OPERATORS = {"SCMP_CMP_NE": 1, "SCMP_CMP_EQ": 4, "SCMP_CMP_MASKED_EQ": 7}
LIBRARY = "libseccomp.so.2"


class _Comparison(ctypes.Structure):
    """struct scmp_arg_cmp of seccomp.h."""

    _fields_ = [
        ("arg", ctypes.c_uint),
        ("op", ctypes.c_int),
        ("datum_a", ctypes.c_uint64),
        ("datum_b", ctypes.c_uint64),
    ]


class Filter:
    """A seccomp profile of the OCI specification, compiled by libseccomp; made before the root changes."""

    def __init__(self, profile: dict[str, Any]) -> None:
        self._library = library = ctypes.CDLL(LIBRARY)
        library.seccomp_init.restype = ctypes.c_void_p
        library.seccomp_rule_add_array.argtypes = [
            ctypes.c_void_p, ctypes.c_uint32, ctypes.c_int, ctypes.c_uint, ctypes.c_void_p
        ]  # fmt: skip
        library.seccomp_load.argtypes = [ctypes.c_void_p]
        self._context = library.seccomp_init(_ERRNO | int(profile["defaultErrnoRet"]))
        for rule in profile["syscalls"]:
            self._add(rule)

    def load(self) -> None:
        """Put it on this process, for good."""
        if failed := self._library.seccomp_load(self._context):
            raise OSError(-failed, f"seccomp: {os.strerror(-failed)}")

    def _add(self, rule: dict[str, Any]) -> None:
        action = _ALLOW if rule["action"] == "SCMP_ACT_ALLOW" else _ERRNO | int(rule["errnoRet"])
        wanted = [
            _Comparison(each["index"], _OPERATORS[each["op"]], each["value"], each.get("valueTwo", 0))
            for each in rule.get("args", ())
        ]
        comparisons = (_Comparison * len(wanted))(*wanted)
        for name in rule["names"]:
            number = self._library.seccomp_syscall_resolve_name(name.encode())
            if number != -1:  # __NR_SCMP_ERROR: an older library does not know it, so it stays refused
                failed = self._library.seccomp_rule_add_array(
                    self._context, action, number, len(wanted), ctypes.addressof(comparisons) if wanted else None
                )
                if failed:
                    raise OSError(-failed, f"seccomp rule for {name}: {os.strerror(-failed)}")


def reduce(process: dict[str, Any], calls: Filter | None) -> None:
    """Become the process's user, with its rights and no more, once and for all."""
    wanted = sum(1 << _NAMES.index(name.removeprefix("CAP_")) for name in process["capabilities"]["bounding"])
    for number in range(kernel.last_capability() + 1):
        if not wanted >> number & 1:
            kernel.prctl(kernel.PR_CAPBSET_DROP, number)
    user = process["user"]
    if user["uid"] or user["gid"]:
        kernel.prctl(kernel.PR_SET_KEEPCAPS, 1)
    if Path("/proc/self/setgroups").read_text().strip() == "allow":
        os.setgroups([])
    os.setgid(user["gid"])
    os.setuid(user["uid"])
    kernel.set_capabilities(wanted)
    kernel.prctl(kernel.PR_SET_NO_NEW_PRIVS, 1)
    if calls:
        calls.load()
