"""Groups that change their size, and the policies that change it."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any, ClassVar

from sonata._lib.values import dataclass
from sonata.emulator.cloud.entities.orchestration import Definition, State
from sonata.emulator.cloud.orchestration.kinds.base import Changed, Kind
from sonata.emulator.cloud.orchestration.kinds.nested import Group, document_of, nested_definition
from sonata.emulator.cloud.orchestration.kinds.plain import random_text
from sonata.emulator.cloud.orchestration.kinds.rolling import Batches
from sonata.emulator.cloud.orchestration.kinds.signals import Signalled, server_endpoint
from sonata.emulator.cloud.orchestration.schema import type_schemas
from sonata.emulator.cloud.orchestration.work import Work
from sonata.errors import Conflict, InvalidInput, NotFound

CHANGE, EXACT, PERCENT = "change_in_capacity", "exact_capacity", "percent_change_in_capacity"


def scaling_kinds() -> Iterable[Kind]:
    """The group and its policy."""
    yield AutoScalingGroup(schema=type_schemas()["OS::Heat::AutoScalingGroup"])
    yield ScalingPolicy(schema=type_schemas()["OS::Heat::ScalingPolicy"])


@dataclass(frozen=True, kw_only=True)
class AutoScalingGroup(Group):
    """Between `min_size` and `max_size` equal resources with random names; the oldest goes first."""

    signalled: ClassVar[bool] = True

    async def definition(self, work: Work) -> Definition:
        """The members that are there, fewer or more of them as the capacity says."""
        wanted = self._capacity(work)
        names = [row.name for row in await self.members(work)] if work.physical_id else []
        names = names[max(0, len(names) - wanted) :]
        names += [_name() for _ in range(wanted - len(names))]
        resources = dict.fromkeys(names, work.properties["resource"])
        return nested_definition(work, document_of(resources), {})

    async def update(self, work: Work, changed: Changed) -> None:
        """A capacity that the template now says counts; else the one that policies have reached stays."""
        if "desired_capacity" in changed:
            work.remember(capacity=None)
        await super().update(work, changed)

    def batches(self, work: Work) -> Batches | None:
        """As the property `rolling_updates` says."""
        return Batches.read(work.properties["rolling_updates"])

    def spare(self, work: Work, members: Mapping[str, Any], count: int) -> dict[str, Any]:
        """Members with further names."""
        return {_name(): work.properties["resource"] for _ in range(count)}

    async def attribute(self, work: Work, name: str) -> Any:
        """Size and outputs of the members, besides what groups have."""
        if name == "current_size":
            return len(await self.members(work))
        return await super().attribute(work, name)

    async def signal(self, work: Work, details: Any) -> None:
        """Change the capacity: `{adjustment, adjustment_type, min_adjustment_step}`; what a policy sends.

        Raises:
            Conflict: the group is being changed.
        """
        stack = work.engine.tables.stacks.peek(work.physical_id)
        if stack is None or stack.status == State.IN_PROGRESS:
            raise Conflict(f"the group {work.row.name} is being changed")
        low, high = work.properties["min_size"], work.properties["max_size"]
        now = len(await self.members(work))
        capacity = new_capacity(
            now, details["adjustment"], details["adjustment_type"], low, high, details.get("min_step")
        )
        if capacity != now:
            work.remember(capacity=capacity)
            await work.engine.update_nested(work.physical_id, await self.definition(work))

    def _capacity(self, work: Work) -> int:
        low, high = work.properties["min_size"], work.properties["max_size"]
        desired = work.row.data.get("capacity")
        if desired is None:
            desired = work.properties.get("desired_capacity", low)
        return int(min(high, max(low, int(desired))))


def _name() -> str:
    return random_text({"length": 12, "character_classes": [{"class": "lowercase", "min": 1}]})


def new_capacity(now: int, adjustment: float, kind: str, low: int, high: int, least_step: int | None = None) -> int:
    """The capacity after an adjustment, between the limits; percentages are rounded away from zero below one."""
    if kind == CHANGE:
        wanted = now + int(adjustment)
    elif kind == EXACT:
        wanted = int(adjustment)
    elif kind == PERCENT:
        delta = now * adjustment / 100.0
        step = math.floor(delta) if delta > 0 else math.ceil(delta)
        if math.fabs(delta) < 1.0:
            step = int(math.ceil(delta) if delta > 0 else math.floor(delta))
        if least_step and abs(step) < least_step:
            step = int(math.copysign(least_step, adjustment))
        wanted = now + step
    else:
        raise InvalidInput(f"unknown adjustment type {kind}")
    return min(high, max(low, wanted))


@dataclass(frozen=True, kw_only=True)
class ScalingPolicy(Signalled):
    """Changes the capacity of a group when it is signalled."""

    async def signal(self, work: Work, details: Any) -> None:
        """Change the group's capacity, not more often than the cool-down allows.

        Raises:
            NotFound: there is no such group.
        """
        cooldown = work.properties.get("cooldown") or 0
        # After a restart of the machine its clock may be behind what is written down.
        if 0 <= time.monotonic() - work.row.data.get("scaled_at", -cooldown) < cooldown:
            return
        group = self._group(work)
        adjustment = {
            "adjustment": work.properties["scaling_adjustment"],
            "adjustment_type": work.properties["adjustment_type"],
            "min_step": work.properties.get("min_adjustment_step"),
        }
        await AutoScalingGroup(schema=type_schemas()["OS::Heat::AutoScalingGroup"]).signal(group, adjustment)
        work.remember(scaled_at=time.monotonic())

    async def shown(self, work: Work) -> Mapping[str, Any]:
        """The URLs that signal it, for clients and for servers; who has one needs no token."""
        return {"alarm_url": self.signed_url(work), "signal_url": self.signed(work, server_endpoint(work))}

    def _group(self, work: Work) -> Work:
        wanted = work.properties["auto_scaling_group_id"]
        for row in work.engine.tables.stack_resources:
            if row.physical_id == wanted and row.project_id == work.stack.project_id:
                stack = work.engine.tables.stacks.get(row.stack_id)
                return replace(work, resource_id=row.id, properties=row.properties, stack=stack)
        raise NotFound(f'Alarm {work.row.name} could not find scaling group named "{wanted}"')
