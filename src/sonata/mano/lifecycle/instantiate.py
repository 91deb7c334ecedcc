"""Instantiating a network service: the workflow, step by step.

Every object in a VIM or WIM carries a tag that begins with the instance's id; creates are idempotent by it, and
rollback removes by it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from sonata._lib.together import together
from sonata.engine import Done, FanOut, Step, Workflow
from sonata.engine.definition import ONCE
from sonata.engine.failure import Failure
from sonata.errors import InvalidInput, ManagerError, PermanentError
from sonata.managers.events import check_placement
from sonata.mano.catalogue import Catalogue
from sonata.mano.instances import Instances
from sonata.mano.lifecycle.plan import ChainPlan, Plan, ServerPlan, make_plan
from sonata.mano.placement.decide import PlacementManager, PlacementPolicy, decide
from sonata.mano.sites import Sites
from sonata.model.descriptors import ManagerDeclaration, NetworkServiceDescriptor, VnfDescriptor
from sonata.model.infrastructure import PopCapacity, WanGraph
from sonata.model.placement import Placement, PlacementProblem
from sonata.model.records import InterfaceRecord, NsState, PlacementRecord, VnfRecord
from sonata.ports.managers import ManagerHost, ManagerLaunch
from sonata.ports.vim import ChainRequest, NetworkRequest, PortRequest, ServerRequest, VimNetwork, VimPort
from sonata.ports.wim import ConnectionRequest

NO_WAN = WanGraph((), ())
_PACKAGE = "package:"
_BOOT_TIMEOUT_S = 60.0


@dataclass(frozen=True, slots=True)
class Instantiation:
    """State of the workflow: the request, then what each step found, decided or made.

    Args:
        package: UUID of the package, where managers' code is.
        managers: host's names of running managers by their id.
        networks, ports, servers, chains: what the VIMs made, by the keys of the plan.
    """

    ns: str
    nsd: NetworkServiceDescriptor
    vnfds: Mapping[str, VnfDescriptor]
    package: str
    block: str
    policy: PlacementPolicy
    ingress: str = ""
    egress: str = ""
    managers: Mapping[str, str] = field(default_factory=dict)
    pops: Mapping[str, PopCapacity] = field(default_factory=dict)
    wan: WanGraph = NO_WAN
    placement: PlacementRecord | None = None
    plan: Plan = field(default_factory=Plan)
    networks: Mapping[str, VimNetwork] = field(default_factory=dict)
    ports: Mapping[str, VimPort] = field(default_factory=dict)
    servers: Mapping[str, str] = field(default_factory=dict)
    chains: Mapping[str, str] = field(default_factory=dict)

    @property
    def tag(self) -> str:
        """Prefix of all tags."""
        return f"{self.ns}/"

    @property
    def problem(self) -> PlacementProblem:
        """The placement problem as it stands."""
        return PlacementProblem(self.nsd, self.vnfds, self.pops, self.wan, self.ingress, self.egress)


@dataclass(frozen=True, slots=True)
class Deployment:
    """State of a branch: one VNF, its servers to make, and their ids."""

    ns: str
    vnf: str
    servers: tuple[ServerPlan, ...]
    ports: Mapping[str, str]
    ids: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Instantiate:
    """The steps, bound to what they work with."""

    sites: Sites
    catalogue: Catalogue
    instances: Instances
    host: ManagerHost

    def workflow(self) -> Workflow[Instantiation]:
        """The workflow `instantiate`."""
        deploy = Workflow("deploy", Deployment, (Step("", self.deploy, timeout_s=60.0),))
        return Workflow(
            "instantiate",
            Instantiation,
            (
                Step("validate", self.validate, retry=ONCE),
                Step("start_managers", self.start_managers, compensate=self.stop_managers, skip=_has_no_managers),
                Step("fetch_topology", self.fetch_topology),
                Step("place", self.place, retry=ONCE),
                Step("check_placement", self.check_placement),
                Step("create_networks", self.create_networks, compensate=self.sweep),
                Step("connect_networks", self.connect_networks, compensate=self.disconnect, skip=_has_no_spans),
                Step("create_ports", self.create_ports),
                FanOut("deploy", deploy, _split, _join),
                Step("wait_active", self.wait_active, timeout_s=_BOOT_TIMEOUT_S + 5.0),
                Step("chain", self.chain, skip=_has_no_chains),
                Step("verify", self.verify),
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
        """Start the service's managers, each in a sandbox of its own."""
        started = {manager.id: f"{state.ns}.{manager.id}" for manager in _wanted_managers(state)}
        instance = await self.instances.get(state.ns)
        await self.instances.put(replace(instance, managers=tuple(started.values())))
        await self._launch(state, _wanted_managers(state))
        return Done(replace(state, managers=started), f"running: {', '.join(started)}")

    async def _launch(self, state: Instantiation, managers: Sequence[ManagerDeclaration]) -> None:
        files = await self.catalogue.files(state.package) if managers else {}
        launches = [ManagerLaunch(f"{state.ns}.{m.id}", m.image.removeprefix(_PACKAGE), files) for m in managers]
        await together([self.host.launch(launch) for launch in launches])

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
        # Managers die with the platform; after a restart the one that is asked is not there any more.
        await self._launch(state, [placer] if placer else [])
        manager = PlacementManager(placer.id, state.managers[placer.id]) if placer else None
        placement = await decide(state.problem, state.policy, self.host, manager)
        where = ", ".join(f"{vnf} -> {pop}" for vnf, pop in placement.mapping.items())
        return Done(
            replace(state, placement=placement), f"{where}; decided by {placement.decided_by}; {placement.rule}"
        )

    async def check_placement(self, state: Instantiation) -> Done[Instantiation]:
        """Check the decision against what the PoPs have free now, then plan it and remember which PoPs it touches."""
        placement = _placed(state)
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

    async def create_networks(self, state: Instantiation) -> Done[Instantiation]:
        """One network per virtual link and PoP, and one router per PoP with a leg in each."""
        parts = await together([self._networks_of(state, pop) for pop in state.plan.pops])
        networks = {key: network for part in parts for key, network in part.items()}
        return Done(replace(state, networks=networks), f"{len(networks)} networks, {len(parts)} routers")

    async def _networks_of(self, state: Instantiation, pop: str) -> dict[str, VimNetwork]:
        vim = await self.sites.vim(pop)
        made = {}
        for plan in state.plan.networks_in(pop):
            made[plan.key] = await vim.ensure_network(
                NetworkRequest(
                    tag=f"{state.tag}network/{plan.key}",
                    name=f"{state.nsd.id.name}-{plan.link}-{state.ns[:8]}",
                    cidr=plan.cidr,
                    pool=plan.pool,
                    gateway_address=plan.gateway_address,
                )
            )
        await vim.ensure_router(f"{state.tag}router", f"{state.nsd.id.name}-{state.ns[:8]}", list(made.values()))
        return made

    async def connect_networks(self, state: Instantiation) -> Done[Instantiation]:
        """Join the parts of virtual links that span PoPs over the wide area."""
        links = {link.id: link for link in state.nsd.virtual_links}
        for link, members in state.plan.spans.items():
            wim = await self.sites.wim_for(members)
            await wim.ensure_connection(
                ConnectionRequest(
                    tag=f"{state.tag}{link}",
                    members={pop: state.networks[key].id for pop, key in members.items()},
                    rate_bps=links[link].min_rate_bps if link in links else None,
                    max_delay_s=links[link].max_delay_s if link in links else None,
                )
            )
        return Done(state, ", ".join(f"{link}: {' - '.join(pops)}" for link, pops in state.plan.spans.items()))

    async def create_ports(self, state: Instantiation) -> Done[Instantiation]:
        """The interfaces of all servers."""
        plans = list(state.plan.ports.values())
        ports = await together(
            [
                self._port(state, plan.pop, PortRequest("", plan.cp, state.networks[plan.network]), plan.key)
                for plan in plans
            ]
        )
        return Done(replace(state, ports=dict(zip(state.plan.ports, ports, strict=True))), f"{len(ports)} ports")

    async def _port(self, state: Instantiation, pop: str, request: PortRequest, key: str) -> VimPort:
        named = replace(request, tag=f"{state.tag}port/{key}", name=f"{key.replace('/', '-')}-{state.ns[:8]}")
        return await (await self.sites.vim(pop)).ensure_port(named)

    async def deploy(self, state: Deployment) -> Done[Deployment]:
        """Order the servers of one VNF."""
        ids = {}
        for server in state.servers:
            vim = await self.sites.vim(server.pop)
            ids[server.key] = await vim.ensure_server(
                ServerRequest(
                    tag=f"{state.ns}/server/{server.key}",
                    name=f"{server.key.replace('/', '-')}-{state.ns[:8]}",
                    image=server.vdu.image,
                    vcpus=server.vdu.vcpus,
                    memory_mib=server.vdu.memory_mib,
                    disk_gib=server.vdu.disk_gib,
                    ports=tuple(state.ports[key] for key in server.ports),
                    user_data=server.vdu.user_data,
                )
            )
        return Done(replace(state, ids=ids), f"{len(ids)} servers in {state.servers[0].pop}")

    async def wait_active(self, state: Instantiation) -> Done[Instantiation]:
        """Wait until all servers run."""
        plans = state.plan.servers
        await together([self._wait(plans[key].pop, server) for key, server in state.servers.items()])
        return Done(state, f"{len(state.servers)} servers active")

    async def _wait(self, pop: str, server: str) -> None:
        await (await self.sites.vim(pop)).wait_active(server, timeout_s=_BOOT_TIMEOUT_S)

    async def chain(self, state: Instantiation) -> Done[Instantiation]:
        """Steer packets along the forwarding paths."""
        plans = list(state.plan.chains.values())
        chains = await together([self._chain(state, plan) for plan in plans])
        made = {plan.key: chain for plan, chain in zip(plans, chains, strict=True)}
        return Done(replace(state, chains=made), ", ".join(f"{plan.key} in {plan.pop}" for plan in plans))

    async def _chain(self, state: Instantiation, plan: ChainPlan) -> str:
        ids = {key: port.id for key, port in state.ports.items()}
        for remote in plan.remote:
            far = state.ports[remote.port]
            request = PortRequest("", "", state.networks[remote.network], far.mac, far.address)
            ids[remote.key] = (await self._port(state, plan.pop, request, remote.key)).id
        vim = await self.sites.vim(plan.pop)
        return await vim.ensure_chain(
            ChainRequest(
                tag=f"{state.tag}chain/{plan.key}",
                name=f"{plan.key.replace('/', '-')}-{state.ns[:8]}",
                pairs=tuple((ids[ingress], ids[egress]) for ingress, egress in plan.pairs),
                source_prefix=_prefix(state, state.ingress),
                destination_prefix=_prefix(state, state.egress),
                protocol=plan.protocol,
                destination_port=plan.destination_port,
            )
        )

    async def verify(self, state: Instantiation) -> Done[Instantiation]:
        """Look up in the VIMs that everything that was made is still there."""
        found = await together([self._tags_in(state, pop) for pop in state.plan.pops])
        expected = _expected_tags(state)
        gone = sorted(tag for tag in expected if not any(tag in tags for tags in found))
        if gone:
            raise PermanentError(
                f"the VIM lost what it had made: {', '.join(gone)}", hint="look at the VIM's own log; then try again"
            )
        return Done(state, f"{len(expected)} objects present")

    async def _tags_in(self, state: Instantiation, pop: str) -> set[str]:
        return {each.tag for each in await (await self.sites.vim(pop)).leftovers(state.tag)}

    async def store_records(self, state: Instantiation) -> Done[Instantiation]:
        """Write the records; from here the service is READY."""
        instance = await self.instances.get(state.ns)
        vnfs = tuple(_vnf_record(state, vnf_id) for vnf_id in _placed(state).mapping)
        await self.instances.put(instance.moved(NsState.READY, vnfs=vnfs, placement=state.placement, error=""))
        return Done(state, "READY")

    async def disconnect(self, state: Instantiation) -> str:
        """Remove the wide area connections."""
        for wim in await self.sites.open_wims():
            await wim.sweep(state.tag)
        return "wide area connections removed"

    async def sweep(self, state: Instantiation) -> str:
        """Remove everything from the PoPs, and check that nothing is left."""
        counts = await together([self._sweep(state, pop) for pop in state.plan.pops])
        return f"{sum(counts)} objects removed from {', '.join(state.plan.pops)}"

    async def _sweep(self, state: Instantiation, pop: str) -> int:
        vim = await self.sites.vim(pop)
        found = await vim.leftovers(state.tag)
        await vim.sweep(state.tag)
        refuse_leftovers(pop, [f"{left.kind} {left.id}" for left in await vim.leftovers(state.tag)])
        return len(found)

    async def tell_failure(self, state: Instantiation, failure: Failure) -> None:
        """Leave the record in ERROR with the cause."""
        instance = await self.instances.get(state.ns)
        await self.instances.put(instance.moved(NsState.ERROR, error=failure.message))


def refuse_leftovers(where: str, left: Sequence[str]) -> None:
    """Raise PermanentError when something is left behind."""
    if left:
        raise PermanentError(
            f"left behind in `{where}`: {', '.join(left)}", hint="terminate the service again, or remove it by hand"
        )


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


def _placed(state: Instantiation) -> PlacementRecord:
    if state.placement is None:
        raise InvalidInput(f"service instance `{state.ns}` is not placed yet")
    return state.placement


def _prefix(state: Instantiation, endpoint: str) -> str | None:
    return f"{state.wan.endpoints[endpoint].address}/32" if endpoint else None


def _expected_tags(state: Instantiation) -> list[str]:
    made: dict[str, Mapping[str, object]] = {
        "network": state.networks,
        "port": state.ports,
        "server": state.servers,
        "chain": state.chains,
    }
    return [f"{state.tag}{kind}/{key}" for kind, objects in made.items() for key in objects]


def _vnf_record(state: Instantiation, vnf_id: str) -> VnfRecord:
    servers = [plan for plan in state.plan.servers.values() if plan.vnf == vnf_id]
    return VnfRecord(
        id=f"{state.ns}.{vnf_id}",
        ns_instance_id=state.ns,
        vnf_id=vnf_id,
        descriptor=state.vnfds[vnf_id].id,
        pop=_placed(state).mapping[vnf_id],
        server_id=state.servers[servers[0].key] if servers else "",
        state=NsState.READY,
        interfaces=tuple(_interface(state, key) for server in servers for key in server.ports),
    )


def _interface(state: Instantiation, key: str) -> InterfaceRecord:
    plan, port = state.plan.ports[key], state.ports[key]
    return InterfaceRecord(plan.cp, state.plan.networks[plan.network].link, port.address, port.mac, port.id)
