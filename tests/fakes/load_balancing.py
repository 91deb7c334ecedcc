"""A load balancing provider in memory: keeps plans, and tells of members what a test says."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from sonata.errors import PermanentError, Unsupported
from sonata.ports.load_balancing import Plan, Report, Statistics


class FakeDriver:
    """Set `held` to keep deployments pending, `broken` to let them fail."""

    name = "haproxy"
    description = "in memory"
    flavor_capabilities: Mapping[str, str] = {"colour": "what it looks like"}

    def __init__(self) -> None:
        self.plans: dict[str, Plan] = {}
        self.deployments = 0
        self.sick: set[str] = set()
        self.held = False
        self.broken = False

    def check(self, plan: Plan) -> None:
        if any(frontend.protocol == "UDP" for frontend in plan.frontends):
            raise Unsupported("Provider 'haproxy' does not support a requested option: UDP")

    async def deploy(self, plan: Plan) -> None:
        while self.held:
            await asyncio.sleep(0.002)
        if self.broken:
            raise PermanentError("it broke")
        self.deployments += 1
        self.plans[plan.id] = plan

    async def remove(self, load_balancer_id: str) -> None:
        while self.held:
            await asyncio.sleep(0.002)
        self.plans.pop(load_balancer_id, None)

    async def read(self, load_balancer_id: str) -> Report | None:
        plan = self.plans.get(load_balancer_id)
        if plan is None:
            return None
        targets = {(backend.id, target.id): target for backend in plan.backends for target in backend.targets}
        checked = {backend.id for backend in plan.backends if backend.check}
        return Report(
            {frontend.id: Statistics(1, 2, 3, 4, 5) for frontend in plan.frontends},
            {
                key: "ERROR" if str(target.address) in self.sick else "ONLINE" if key[0] in checked else "NO_MONITOR"
                for key, target in targets.items()
            },
        )
