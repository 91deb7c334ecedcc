"""Breaking machines on purpose. Machines are meant by the host-side pid of their first process."""

from __future__ import annotations

from typing import Protocol


class Burden(Protocol):
    """Something that uses a machine's resources up, until it is taken away or the machine ends."""

    async def take_away(self) -> None:
        """End it; at return what it used is free again. Idempotent."""


class Disturber(Protocol):
    """What can be done to machines from outside."""

    async def kill(self, pid: int) -> None:
        """Kill the first process of a machine, as a fault would: nothing of it gets to know.

        Raises:
            NotFound: it has ended already.
        """

    async def burden(self, pid: int, *, cpus: float, memory_bytes: int) -> Burden:
        """Use up so many cores and so much memory within the limits of a machine, beside its own processes.

        Args:
            pid: of the machine's first process.
            cpus: cores kept busy, 0 for none.
            memory_bytes: memory filled; 0 for none. Beyond the machine's limit the kernel chooses whom it kills.

        Raises:
            NotFound: the machine has ended already.
            AdapterError: its cgroups cannot be joined.
        """
