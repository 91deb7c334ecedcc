"""A manager host without sandboxes: managers are functions."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from sonata.errors import ManagerError
from sonata.ports.managers import ManagerLaunch

Answer = Callable[[Mapping[str, Any]], Mapping[str, Any]]


class FakeHost:
    """Answers `ask` by the function of the manager's entry."""

    def __init__(self, answers: Mapping[str, Answer] | None = None) -> None:
        self.answers = dict(answers or {})
        self.running: dict[str, ManagerLaunch] = {}
        self.start_error: Exception | None = None
        self.asked: list[tuple[str, str]] = []

    async def warm_up(self) -> None:
        return None

    async def launch(self, launch: ManagerLaunch) -> None:
        if self.start_error is not None:
            raise self.start_error
        if launch.entry not in launch.files:
            raise ManagerError(f"no file `{launch.entry}` in the package")
        self.running[launch.instance] = launch

    async def ask(self, instance: str, event: str, state: Mapping[str, Any], *, timeout_s: float) -> Mapping[str, Any]:
        self.asked.append((instance, event))
        if instance not in self.running:
            raise ManagerError(f"manager `{instance}` does not run")
        return self.answers[self.running[instance].entry](state)

    async def logs(self, instance: str) -> str:
        return ""

    async def stop(self, instance: str) -> None:
        self.running.pop(instance, None)

    async def close(self) -> None:
        self.running.clear()
