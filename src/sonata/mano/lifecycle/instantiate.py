"""Instantiating a network service: the workflow, step by step.

Every object in a VIM or WIM carries a tag that begins with the instance's id; creates are idempotent by it, and
rollback removes by it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from sonata._lib.together import together
from sonata._lib.values import dataclass
from sonata.engine.definition import ONCE, Done, FanOut, Step, Workflow
from sonata.engine.failure import Failure
from sonata.errors import AdapterError, InvalidInput, ManagerError, Unsupported
from sonata.managers.events import check_placement
from sonata.mano.catalogue import Catalogue
from sonata.mano.instances import Instances
from sonata.mano.lifecycle.building import BOOT_TIMEOUT_S, Builder
from sonata.mano.lifecycle.plan import Plan, make_plan
from sonata.mano.lifecycle.states import Deployment, Instantiation
from sonata.mano.placement.decide import PlacementManager, decide
from sonata.mano.sites import Sites
from sonata.model.descriptors import ManagerDeclaration
from sonata.model.placement import Placement
from sonata.model.records import InterfaceRecord, NsState, VnfRecord
from sonata.ports.managers import ManagerHost, ManagerLaunch

_PACKAGE = "package:"


@dataclass(frozen=True, slots=True)
class Instantiate:
    """The steps, bound to what they work with."""

    build: Builder
    sites: Sites
    catalogue: Catalogue
    instances: Instances
    host: ManagerHost

    def workflow(self) -> Workflow[Instantiation]:
        """The workflow `instantiate`."""
        deploy = Workflow("deploy", Deployment, (Step("", self.build.deploy, timeout_s=60.0),))
        return Workflow(
            "instantiate",
            Instantiation,
            (
                Step("validate", self.validate, retry=ONCE),
                Step("start_managers", self.start_managers, compensate=self.stop_managers, skip=_has_no_managers),
                Step("fetch_topology", self.fetch_topology),
                Step("place", self.place, retry=ONCE),
                Step("check_placement", self.check_placement),
                Step("create_networks", self.build.create_networks, compensate=self.build.sweep),
                Step(
                    "connect_networks",
                    self.build.connect_networks,
                    compensate=self.build.disconnect,
                    skip=_has_no_spans,
                ),
                Step("create_ports", self.build.create_ports),
                FanOut("deploy", deploy, _split, _join),
                Step("wait_active", self.build.wait_active, timeout_s=BOOT_TIMEOUT_S + 5.0),
                Step("chain", self.build.chain, skip=_has_no_chains),
                Step("verify", self.build.verify),
                Step("store_records", self.store_records),
            ),
            on_failure=self.tell_failure,
        )

    async def validate(self, state: Instantiation) -> Done[Instantiation]:
        """Check what can be checked before anything is asked or made."""
        _check_managers(state)
        here = dict.fromkeys(state.vnfds, "here")
        plan = make_plan(state.nsd, state.vnfds, here, state.block)
        unconnected = [key for key, server in plan.servers.items() if not server.ports]
        if unconnected:
            raise InvalidInput(f"servers without any network: {', '.join(unconnected)}; connect them by virtual links")
        return Done(state, f"{len(state.vnfds)} VNFs, {len(plan.servers)} servers, {len(plan.chains)} forwarding paths")

    async def start_managers(self, state: Instantiation) -> Done[Instantiation]:
        """Start the service's managers, each in a sandbox of its own; the policy says what a failure means."""
        launches = await self._launches(state)
        instance = await self.instances.get(state.ns)
        await self.instances.put(replace(instance, managers=tuple(each.instance for each in launches.values())))
        told = await together([self._launch(state, name, launch) for name, launch in launches.items()])
        managers = {name: launch.instance for name, launch in launches.items()}
        return Done(replace(state, managers=managers), "; ".join(told))

    async def _launches(self, state: Instantiation) -> dict[str, ManagerLaunch]:
        managers = _wanted_managers(state)
        files = await self.catalogue.files(state.package) if managers else {}
        return {m.id: ManagerLaunch(f"{state.ns}.{m.id}", m.image.removeprefix(_PACKAGE), files) for m in managers}

    async def _launch(self, state: Instantiation, name: str, launch: ManagerLaunch) -> str:
        try:
            await self.host.launch(launch)
        except (ManagerError, AdapterError, Unsupported) as error:
            if state.policy.rules.fallback == "fail":
                raise
            return f"{name} does not run: {error.message}"
        return f"{name} runs"

    async def stop_managers(self, state: Instantiation) -> str:
        """Stop the managers of a failed service."""
        names = [f"{state.ns}.{manager.id}" for manager in _wanted_managers(state)]
        await together([self.host.stop(name) for name in names])
        return f"stopped {len(names)} managers"

    async def fetch_topology(self, state: Instantiation) -> Done[Instantiation]:
        """Ask every VIM for its capacity and the WIMs for their graph."""
        pops = await self.sites.capacities()
        if not pops:
            raise InvalidInput("no VIM is registered", hint="register one with `sonata vim add`")
        wan = await self.sites.graph(pops)
        for name in filter(None, (state.ingress, state.egress)):
            if name not in wan.endpoints:
                known = ", ".join(f"`{each}`" for each in sorted(wan.endpoints)) or "none"
                raise InvalidInput(f"no WIM knows endpoint `{name}`; known: {known}")
        return Done(replace(state, pops=pops, wan=wan), f"{len(pops)} PoPs, {len(wan.edges)} links")

    async def place(self, state: Instantiation) -> Done[Instantiation]:
        """Decide where each VNF goes."""
        placer = next((each for each in _wanted_managers(state) if "placement" in each.roles), None)
        manager = PlacementManager(placer.id, (await self._launches(state))[placer.id]) if placer else None
        placement = await decide(state.problem, state.policy, self.host, manager)
        where = ", ".join(f"{vnf} -> {pop}" for vnf, pop in placement.mapping.items())
        return Done(
            replace(state, placement=placement), f"{where}; decided by {placement.decided_by}; {placement.rule}"
        )

    async def check_placement(self, state: Instantiation) -> Done[Instantiation]:
        """Check the decision against what the PoPs have free now, then plan it and remember which PoPs it touches."""
        placement = state.placed
        used = set(placement.mapping.values())
        fresh = {name: await (await self.sites.vim(name)).capacity() for name in sorted(used & state.pops.keys())}
        now = replace(state, pops={**state.pops, **fresh})
        check_placement(now.problem, Placement(placement.mapping))
        plan = make_plan(state.nsd, state.vnfds, placement.mapping, state.block)
        await self._check_images(plan)
        instance = await self.instances.get(state.ns)
        record = replace(instance.record, placement=placement)
        await self.instances.put(replace(instance, record=record, pops=plan.pops))
        return Done(replace(now, plan=plan), f"fits into {', '.join(plan.pops)}")

    async def _check_images(self, plan: Plan) -> None:
        wanted = {(server.pop, server.vdu.image) for server in plan.servers.values()}
        await together([self._check_image(pop, image) for pop, image in sorted(wanted)])

    async def _check_image(self, pop: str, image: str) -> None:
        await (await self.sites.vim(pop)).check_image(image)

    async def store_records(self, state: Instantiation) -> Done[Instantiation]:
        """Write the records; from here the service is READY."""
        instance = await self.instances.get(state.ns)
        vnfs = tuple(_vnf_record(state, vnf_id) for vnf_id in state.placed.mapping)
        await self.instances.put(instance.moved(NsState.READY, vnfs=vnfs, placement=state.placement, error=""))
        return Done(state, "READY")

    async def tell_failure(self, state: Instantiation, failure: Failure) -> None:
        """Leave the record in ERROR with the cause."""
        instance = await self.instances.get(state.ns)
        await self.instances.put(instance.moved(NsState.ERROR, error=failure.message))


def _wanted_managers(state: Instantiation) -> list[ManagerDeclaration]:
    """Managers of the service that this request lets run."""
    if state.policy.decider == "generic":
        return [manager for manager in state.nsd.managers if set(manager.roles) - {"placement"}]
    return list(state.nsd.managers)


def _check_managers(state: Instantiation) -> None:
    foreign = [manager.id for manager in state.nsd.managers if not manager.image.startswith(_PACKAGE)]
    if foreign:
        raise InvalidInput(f"managers {', '.join(foreign)} are not in the package; `image` must be `package:PATH`")
    if state.policy.decider == "ssm" and not any("placement" in manager.roles for manager in state.nsd.managers):
        raise ManagerError(f"service `{state.nsd.id}` has no placement manager", hint="ask for `generic` placement")


def _has_no_managers(state: Instantiation) -> str:
    return "" if _wanted_managers(state) else "no managers to start"


def _has_no_spans(state: Instantiation) -> str:
    return "" if state.plan.spans else "no virtual link spans PoPs"


def _has_no_chains(state: Instantiation) -> str:
    return "" if state.plan.chains else "the service has no forwarding path"


def _split(state: Instantiation) -> list[tuple[str, Deployment]]:
    branches = []
    for vnf in state.nsd.vnfs:
        servers = tuple(server for server in state.plan.servers.values() if server.vnf == vnf.vnf_id)
        ports = {key: state.ports[key].id for server in servers for key in server.ports}
        branches.append((vnf.vnf_id, Deployment(state.ns, vnf.vnf_id, servers, ports)))
    return branches


def _join(state: Instantiation, deployed: Sequence[Deployment]) -> Done[Instantiation]:
    return Done(replace(state, servers={key: server for each in deployed for key, server in each.ids.items()}))


def _vnf_record(state: Instantiation, vnf_id: str) -> VnfRecord:
    servers = [plan for plan in state.plan.servers.values() if plan.vnf == vnf_id]
    return VnfRecord(
        id=f"{state.ns}.{vnf_id}",
        ns_instance_id=state.ns,
        vnf_id=vnf_id,
        descriptor=state.vnfds[vnf_id].id,
        pop=state.placed.mapping[vnf_id],
        server_id=state.servers[servers[0].key] if servers else "",
        state=NsState.READY,
        interfaces=tuple(_interface(state, key) for server in servers for key in server.ports),
    )


def _interface(state: Instantiation, key: str) -> InterfaceRecord:
    plan, port = state.plan.ports[key], state.ports[key]
    return InterfaceRecord(
        plan.cp, state.plan.networks[plan.network].link, port.address, port.mac, port.id, state.public.get(key, "")
    )
