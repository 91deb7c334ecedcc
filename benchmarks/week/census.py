"""What an emulation takes of its machine at one moment: memory by process, and counts of all that can be too many."""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import psutil
from tests.inside import Inside

from sonata.sdk.emulation_records import EmulationRecord, folder_of

KIB = 1024.0
BLOCKS = "blocks of memory"


@dataclass(frozen=True)
class Census:
    """One count.

    Args:
        memory: KiB that are of a process alone or of it and its likes (`Pss_Anon`), the keeper's and its helpers', by
            what they are; files that programs of the machine share come and go with these.
        pss: KiB of the same with files, of all processes.
        told: what is counted in bytes or may differ a little between two counts of the same state.
        counts: what must be the same number at the same state, by kind.
        inside: what the counts are of.
        objects: of the keeper, by type, and its blocks of memory.
    """

    memory: Mapping[str, float]
    pss: float
    told: Mapping[str, float]
    counts: Mapping[str, int]
    inside: Inside
    objects: Counter[str]

    @classmethod
    def of(cls, record: EmulationRecord, objects: Counter[str]) -> Census:
        """Count a running emulation whose keeper has these objects."""
        memory, pss = defaultdict[str, float](float), 0.0
        processes = _processes(record.process.pid)
        for process in processes:
            sizes = _sizes(process.pid)
            memory[_what(process, record.process.pid)] += sizes["Pss_Anon"]
            pss += sizes["Pss"]
        inside = Inside.of(record)
        files = dict(_files(record))
        own = len(os.listdir(f"/proc/{record.process.pid}/task"))
        counts = {
            "descriptors of the keeper": sum(inside.descriptors.values()),
            "sockets of the keeper": inside.descriptors["socket:"],
            "descriptors of its helpers": sum(_descriptors(one.pid) for one in processes[1:]),
            "processes": sum(inside.processes.values()),
            "namespaces": inside.namespaces,
            "interfaces": sum(inside.interfaces.values()),
            "lines of packet filters": sum(inside.rules.values()),
            "mounts": sum(inside.mounts.values()),
            "cgroups": sum(inside.cgroups.values()),
            "files": len(files),
        }
        told = {"keeper's threads": own, "KiB of files": sum(files.values()) / KIB, "slab KiB": _slab_kib()}
        return cls(dict(memory), pss, told, counts, inside, objects)

    def __str__(self) -> str:
        mib = " + ".join(f"{name} {size / KIB:.1f}" for name, size in sorted(self.memory.items()))
        counted = ", ".join(f"{count} {name}" for name, count in self.counts.items())
        told = ", ".join(f"{value:.0f} {name}" for name, value in self.told.items())
        return f"MiB {mib}; {self.objects[BLOCKS]} blocks; {counted}; {told}"


def _processes(keeper: int) -> list[psutil.Process]:
    first = psutil.Process(keeper)
    return [first, *(one for one in first.children(recursive=True) if one.status() != psutil.STATUS_ZOMBIE)]


def _what(process: psutil.Process, keeper: int) -> str:
    if process.pid == keeper:
        return "keeper"
    return " ".join(Path(word).name for word in process.cmdline() if word.endswith(".py")) or process.name()


def _sizes(pid: int) -> dict[str, float]:
    """What a process takes, in KiB; nothing when it has ended."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
    except (FileNotFoundError, ProcessLookupError):
        return {"Pss": 0.0, "Pss_Anon": 0.0}
    return {words[0].rstrip(":"): float(words[1]) for words in map(str.split, lines)}


def _descriptors(pid: int) -> int:
    try:
        return len(os.listdir(f"/proc/{pid}/fd"))
    except (FileNotFoundError, ProcessLookupError):
        return 0


def _files(record: EmulationRecord) -> Iterator[tuple[str, int]]:
    """All files of an emulation with their sizes, as its keeper sees them."""
    below = Path(f"/proc/{record.process.pid}/root") / str(folder_of(record.name)).lstrip("/")
    for folder, _, names in os.walk(below):
        for name in names:
            try:
                yield f"{folder}/{name}", os.lstat(f"{folder}/{name}").st_size
            except FileNotFoundError:
                continue


def _slab_kib() -> float:
    lines = (line.split() for line in Path("/proc/meminfo").read_text().splitlines())
    return next(float(words[1]) for words in lines if words[0] == "SUnreclaim:")


def differences(before: Census, after: Census) -> list[str]:
    """What one count has more of than another, in words."""
    more = after.inside.more_than(before.inside)
    more += [f"{name}: {count - before.counts[name]}" for name, count in after.counts.items()]
    return [line for line in more if not line.endswith(": 0")]
