"""Several engines behind one runtime port: each machine runs in the one that it asks for."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence

from sonata.errors import InvalidInput
from sonata.ports.runtime import (
    Bind,
    Limits,
    MachineSpec,
    OnExit,
    Runtime,
    Tell,
    Terminal,
    Usage,
)


class Engines:
    """`sonata.ports.runtime.Fleet`: machines of several engines.

    Args:
        usual: runs the machines that ask for no engine; closed last, since others may lean on it.
        others: by the name by which machines ask for them; made at their first machine. What such a call raises says
            why the engine cannot run here.
        disk_refusal: why no machine can boot a disk here, see the port.
    """

    def __init__(
        self, usual: Runtime, others: Mapping[str, Callable[[], Runtime]], disk_refusal: Callable[[], str]
    ) -> None:
        self._usual = usual
        self._others = others
        self.disk_refusal = disk_refusal
        self.disk_content = usual.disk_content  # it has the disks of all
        self._made: dict[str, Runtime] = {}
        self._engine_of: dict[str, Runtime] = {}

    @property
    def name(self) -> str:
        """Engine and version of the usual one."""
        return self._usual.name

    @property
    def unenforced(self) -> Mapping[str, str]:
        """Limits that the usual engine cannot enforce, with the reason."""
        return self._usual.unenforced

    async def start(
        self, spec: MachineSpec, on_exit: OnExit | None = None, *, after: Awaitable[object] | None = None
    ) -> int:
        """Start a machine in its engine; see the port.

        Raises:
            InvalidInput: there is no engine of that name.
            Unsupported: its engine cannot run here.
        """
        engine = self._named(spec.engine) if spec.engine else self._usual
        self._engine_of[spec.id] = engine
        return await engine.start(spec, on_exit, after=after)

    def pid_of(self, machine_id: str) -> int:
        """Host-side pid of the first process of a machine; see the port."""
        return self._of(machine_id).pid_of(machine_id)

    async def stop(self, machine_id: str, *, grace_s: float = 2.0) -> None:
        """End a machine; see the port."""
        await self._of(machine_id).stop(machine_id, grace_s=grace_s)
        self._engine_of.pop(machine_id, None)

    async def exec(
        self, machine_id: str, argv: Sequence[str], *, stdin: bytes = b"", tell: Tell | None = None
    ) -> tuple[int, bytes, bytes]:
        """Run a command inside; see the port."""
        return await self._of(machine_id).exec(machine_id, argv, stdin=stdin, tell=tell)

    async def attach_folder(self, machine_id: str, bind: Bind) -> None:
        """Show a folder of the host in a machine; see the port."""
        await self._of(machine_id).attach_folder(machine_id, bind)

    async def detach_folder(self, machine_id: str, target: str) -> None:
        """Take a folder out of a machine; see the port."""
        await self._of(machine_id).detach_folder(machine_id, target)

    async def is_listening(self, machine_id: str, tcp_port: int) -> bool:
        """Whether a process of the machine listens on this TCP port."""
        return await self._of(machine_id).is_listening(machine_id, tcp_port)

    async def pause(self, machine_id: str) -> None:
        """Freeze a machine; see the port."""
        await self._of(machine_id).pause(machine_id)

    async def resume(self, machine_id: str) -> None:
        """Let a frozen machine go on; see the port."""
        await self._of(machine_id).resume(machine_id)

    async def set_limits(self, machine_id: str, limits: Limits) -> None:
        """Change the limits of a machine; see the port."""
        await self._of(machine_id).set_limits(machine_id, limits)

    async def usage(self, machine_id: str) -> Usage:
        """What a machine uses; see the port."""
        return await self._of(machine_id).usage(machine_id)

    async def set_group(self, name: str, limits: Limits) -> None:
        """Limit a group of machines; the others run theirs in the usual engine, see the port."""
        await self._usual.set_group(name, limits)

    async def group_usage(self, name: str) -> Usage:
        """What a group of machines uses; see the port."""
        return await self._usual.group_usage(name)

    async def terminal(self, machine_id: str, argv: Sequence[str], *, rows: int = 24, columns: int = 80) -> Terminal:
        """Run a program on a terminal; see the port."""
        return await self._of(machine_id).terminal(machine_id, argv, rows=rows, columns=columns)

    async def close(self) -> None:
        """End all machines of all engines."""
        for engine in self._made.values():
            await engine.close()
        await self._usual.close()

    def _of(self, machine_id: str) -> Runtime:
        return self._engine_of.get(machine_id, self._usual)

    def _named(self, name: str) -> Runtime:
        if name not in self._made:
            if name not in self._others:
                known = ", ".join(f"`{each}`" for each in sorted(self._others))
                raise InvalidInput(f"there is no engine `{name}`", hint=f"machines can ask for {known}, or for none")
            self._made[name] = self._others[name]()
        return self._made[name]
