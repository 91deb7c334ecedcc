"""Terminating a network service: everything that carries its tag goes, and a check proves it."""

from __future__ import annotations

from dataclasses import replace

from sonata._lib.together import together
from sonata._lib.values import dataclass
from sonata.engine.definition import Done, Step, Workflow
from sonata.engine.failure import Failure
from sonata.mano.instances import Instances
from sonata.mano.lifecycle.building import refuse_leftovers
from sonata.mano.sites import Sites
from sonata.model.records import NsState
from sonata.ports.managers import ManagerHost


@dataclass(frozen=True, slots=True)
class Termination:
    """State of the workflow.

    Args:
        pops: PoPs in which the service may have objects.
        managers: host's names of its managers.
    """

    ns: str
    pops: tuple[str, ...]
    managers: tuple[str, ...]

    @property
    def tag(self) -> str:
        """Prefix of all tags."""
        return f"{self.ns}/"


@dataclass(frozen=True, slots=True)
class Terminate:
    """The steps, bound to what they work with."""

    sites: Sites
    instances: Instances
    host: ManagerHost

    def workflow(self) -> Workflow[Termination]:
        """The workflow `terminate`; a failure leaves it to be requested again."""
        return Workflow(
            "terminate",
            Termination,
            (
                Step("unchain", self.unchain, skip=_touched_nothing),
                Step("disconnect", self.disconnect),
                Step("delete", self.delete, timeout_s=120.0, skip=_touched_nothing),
                Step("stop_managers", self.stop_managers, skip=_has_no_managers),
                Step("leak_check", self.leak_check),
                Step("update_records", self.update_records),
            ),
            rolls_back=False,
            on_failure=self.tell_failure,
        )

    async def unchain(self, state: Termination) -> Done[Termination]:
        """Stop steering packets first, so that users meet no half-removed chain."""
        await together([self._sweep(pop, f"{state.tag}chain/") for pop in state.pops])
        return Done(state, f"chains removed from {', '.join(state.pops)}")

    async def disconnect(self, state: Termination) -> Done[Termination]:
        """Remove the wide area connections."""
        for wim in await self.sites.open_wims():
            await wim.sweep(state.tag)
        return Done(state, "wide area connections removed")

    async def delete(self, state: Termination) -> Done[Termination]:
        """Delete whatever carries the service's tag."""
        await together([self._sweep(pop, state.tag) for pop in state.pops])
        return Done(state, f"all objects removed from {', '.join(state.pops)}")

    async def _sweep(self, pop: str, prefix: str) -> None:
        await (await self.sites.vim(pop)).sweep(prefix)

    async def stop_managers(self, state: Termination) -> Done[Termination]:
        """Stop the service's managers."""
        await together([self.host.stop(name) for name in state.managers])
        return Done(state, f"stopped {', '.join(state.managers)}")

    async def leak_check(self, state: Termination) -> Done[Termination]:
        """Prove that nothing is left, in the PoPs and on the wide area."""
        for pop in state.pops:
            left = await (await self.sites.vim(pop)).leftovers(state.tag)
            refuse_leftovers(pop, [f"{each.kind} {each.id}" for each in left])
        for wim in await self.sites.open_wims():
            refuse_leftovers("the wide area", list(await wim.leftovers(state.tag)))
        return Done(state, "nothing left")

    async def update_records(self, state: Termination) -> Done[Termination]:
        """Close the records."""
        instance = await self.instances.get(state.ns)
        vnfs = tuple(replace(vnf, state=NsState.TERMINATED) for vnf in instance.record.vnfs)
        ended = instance.moved(NsState.TERMINATED, vnfs=vnfs, error="")
        await self.instances.put(replace(ended, pops=(), managers=()))
        return Done(state, "TERMINATED")

    async def tell_failure(self, state: Termination, failure: Failure) -> None:
        """Leave the record in ERROR with the cause; termination can be requested again."""
        instance = await self.instances.get(state.ns)
        await self.instances.put(instance.moved(NsState.ERROR, error=failure.message))


def _touched_nothing(state: Termination) -> str:
    return "" if state.pops else "the service never reached a PoP"


def _has_no_managers(state: Termination) -> str:
    return "" if state.managers else "no managers"
