"""Hosts outside of the PoPs: users, content servers. Each sits on the external network of one PoP."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import field, replace
from ipaddress import IPv4Interface, IPv6Address, IPv6Interface, IPv6Network
from pathlib import Path

from sonata._lib.tails import tail
from sonata._lib.values import dataclass
from sonata.emulator.addressing import automatic_address, endpoint_address, mac_address
from sonata.emulator.data_plane import DataPlane
from sonata.emulator.events import EventLog
from sonata.emulator.links import Links, slower
from sonata.emulator.outlets import outlets_of
from sonata.emulator.resources import LEAST_DISK_BYTES
from sonata.errors import PermanentError, SonataError
from sonata.model.infrastructure import AttachedEndpoint
from sonata.model.topology import Endpoint, Link
from sonata.ports.fabric import EXTERNAL, Fabric, PortSpec
from sonata.ports.images import Image, ImageStore
from sonata.ports.runtime import Limits, MachineExit, MachineSpec, RootFs, Runtime

READY_TIMEOUT_S = 30.0
_FIRST_POLL_S, _LONGEST_POLL_S = 0.002, 0.1
_PARALLEL_STARTS = 8
_LAST_WORDS = 2000


@dataclass(slots=True)
class EndpointState:
    """An endpoint that stands.

    Args:
        running: whether its machine was started; an idle one is started by the first command run in it.
        ended: how its program ended, empty while it runs.
        number: among the endpoints of its PoP.
        six: its IPv6 addresses on the external network, and `gateway6` the PoP's router there.
        home: the PoP that its address belongs to; `endpoint.attach` is where it is.
        cell: the cell in which it is, empty for none.
    """

    endpoint: Endpoint
    image: Image
    address: IPv4Interface
    number: int
    running: bool = False
    ended: str = ""
    six: tuple[IPv6Interface, ...] = ()
    gateway6: IPv6Address | None = None
    home: str = ""
    cell: str = ""
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)

    def __post_init__(self) -> None:
        """It begins at home."""
        self.home = self.home or self.endpoint.attach

    @property
    def machine(self) -> str:
        """Id of its machine."""
        return f"endpoint-{self.endpoint.name}"

    @property
    def port_id(self) -> str:
        """Id of its port; its access link is shown under it."""
        return f"access-{self.endpoint.name}"

    @property
    def access(self) -> Link:
        """Its access link, from its PoP."""
        endpoint = self.endpoint
        ways = (endpoint.impairment, endpoint.reverse)
        return Link(self.port_id, endpoint.attach, endpoint.name, *ways, endpoint.up)

    @property
    def argv(self) -> tuple[str, ...]:
        """Its program, empty for an idle endpoint."""
        return self.endpoint.command or self.image.argv

    @property
    def status(self) -> str:
        """`running`, `idle` or `ended`."""
        if self.ended:
            return "ended"
        return "running" if self.running else "idle"


class Endpoints:
    """All endpoints of one emulation."""

    def __init__(
        self, links: Links, plane: DataPlane, runtime: Runtime, images: ImageStore, folder: Path, events: EventLog
    ) -> None:
        self._events = events
        self._images = images
        self._links = links
        self._plane = plane
        self._runtime = runtime
        self._folder = folder
        self._states: dict[str, EndpointState] = {}
        self._prefixes: dict[str, Sequence[tuple[IPv6Network, IPv6Address]]] = {}

    def __iter__(self) -> Iterator[EndpointState]:
        return iter(self._states.values())

    def find(self, name: str) -> EndpointState | None:
        """An endpoint by name, or None."""
        return self._states.get(name)

    @property
    def numbers(self) -> Mapping[str, Mapping[str, int]]:
        """The numbers of those that stand, by PoP."""
        found: dict[str, dict[str, int]] = {}
        for state in self:
            found.setdefault(state.home, {})[state.endpoint.name] = state.number
        return found

    def running(self) -> Mapping[str, Endpoint]:
        """Those that stand as they are now, by name: at home, with what their access links do."""
        return {name: _as_it_is(state, self._links) for name, state in self._states.items()}

    def attached(self) -> Mapping[str, AttachedEndpoint]:
        """Endpoints as the wide area manager tells of them, by name."""
        return {
            name: AttachedEndpoint(
                name, state.endpoint.attach, str(state.address.ip), slower(self._links.find(state.port_id).link)
            )
            for name, state in self._states.items()
        }

    async def add(self, endpoints: Sequence[Endpoint], numbers: Mapping[str, Mapping[str, int]]) -> None:
        """Create endpoints, start their programs, and wait until those that serve a port listen.

        Raises:
            NotFound: an image does not exist; nothing was started then.
            PermanentError: a program cannot be executed, or does not listen in time; the others stand, this one does
                not.
        """
        states = [self._assigned(endpoint, numbers) for endpoint in endpoints]
        ports = [_port(state) for state in states]
        outlets = [outlet for state in states for outlet in outlets_of([state.endpoint])]
        further = [outlet.port_spec(f"endpoint-{outlet.device}") for outlet in outlets]
        down = [state.access for state in states if not state.endpoint.up]

        def build(fabric: Fabric) -> None:
            fabric.networks.add_networks([outlet.network_spec() for outlet in outlets])
            fabric.machines.add_machines([port.machine for port in ports])
            fabric.machines.add_ports([*ports, *further])
            for link in down:
                fabric.underlay.set_link(link.name, link.impairment, link.reverse, up=False)

        await self._plane.run(build)
        for state in states:
            self._states[state.endpoint.name] = state
            self._links.add_access(state.access)
        await self._start_programs([state for state in states if state.argv])

    async def lay_outlets(self, endpoints: Iterable[Endpoint]) -> None:
        """Create the bridges to which further interfaces of endpoints lead, before the endpoints come; idempotent."""
        specs = [outlet.network_spec() for outlet in outlets_of(endpoints)]
        await self._plane.run(lambda fabric: fabric.networks.add_networks(specs))

    async def _start_programs(self, states: Sequence[EndpointState]) -> None:
        slots = asyncio.Semaphore(_PARALLEL_STARTS)
        ended = await asyncio.gather(*(self._start_program(one, slots) for one in states), return_exceptions=True)
        failed = {state.endpoint.name: how for state, how in zip(states, ended, strict=True) if how is not None}
        for name in failed:
            await self.remove(name)
        for failure in failed.values():
            raise failure

    async def declare(self, endpoint: Endpoint) -> None:
        """Have the access link of a standing endpoint as it is declared now."""
        before = self._links.find(self._states[endpoint.name].port_id).link
        link = replace(before, impairment=endpoint.impairment, reverse=endpoint.reverse, up=endpoint.up)
        await self._links.declare([link])

    async def remove(self, name: str) -> None:
        """End an endpoint and drop whatever it had; idempotent."""
        state = self._states.pop(name, None)
        if state is None:
            return
        async with state.turn:
            await self._runtime.stop(state.machine)
        outlets = [(outlet.pop, outlet.network) for outlet in outlets_of([state.endpoint])]

        def drop(fabric: Fabric) -> None:
            fabric.machines.remove_machines([state.machine])
            fabric.networks.remove_networks(outlets)

        await self._plane.run(drop)
        self._links.drop_access(state.port_id)
        self.console(state).unlink(missing_ok=True)

    async def number_six(self, pop: str, prefixes: Sequence[tuple[IPv6Network, IPv6Address]]) -> None:
        """Give the endpoints of a PoP an address in each of these prefixes, and the router there as their gateway."""
        self._prefixes[pop] = prefixes
        changed = [state for state in self._states.values() if state.endpoint.attach == pop]
        for state in changed:
            _number_six(state, self._prefixes)
        ports = [_port(state) for state in changed]
        await self._plane.run(lambda fabric: fabric.machines.change_ports(ports))

    async def attach(self, state: EndpointState, pop: str) -> None:
        """Plug an endpoint into the external network of another PoP, with the address that it has."""
        port = _port(state)
        await self._plane.run(lambda fabric: fabric.machines.move_ports([replace(port, pop=pop)]))
        state.endpoint = replace(state.endpoint, attach=pop)
        self._links.add_access(replace(self._links.find(state.port_id).link, a=pop))
        state.six, state.gateway6 = (), None
        _number_six(state, self._prefixes)
        readdressed = _port(state)
        await self._plane.run(lambda fabric: fabric.machines.change_ports([readdressed]))

    async def woken(self, state: EndpointState) -> str:
        """The machine of an endpoint, which is started when the endpoint is idle or its program has ended."""
        async with state.turn:
            if not state.running:
                await self._start_machine(state)
        return state.machine

    def console(self, state: EndpointState) -> Path:
        """File with what the endpoint's program printed."""
        return self._folder / f"{state.machine}.log"

    def _assigned(self, endpoint: Endpoint, numbers: Mapping[str, Mapping[str, int]]) -> EndpointState:
        number = numbers[endpoint.attach][endpoint.name]
        address = endpoint_address(self._links.pops.external_of(endpoint.attach), number)
        state = EndpointState(endpoint, self._images.get(endpoint.image), address, number)
        _number_six(state, self._prefixes)
        return state

    async def _start_program(self, state: EndpointState, slots: asyncio.Semaphore) -> None:
        async with slots:
            await self._start_machine(state)
            if state.image.ready_tcp_port and not state.endpoint.command:
                await self._wait_listening(state, state.image.ready_tcp_port)

    async def _start_machine(self, state: EndpointState) -> None:
        netns = await self._plane.run(lambda fabric: fabric.machines.netns_path(state.machine))

        async def ended(exit_: MachineExit) -> None:
            state.running, state.ended = False, exit_.reason or f"status {exit_.status}"
            self._events.tell("endpoint.ended", state.endpoint.name, reason=state.ended)

        spec = MachineSpec(
            id=state.machine,
            hostname=state.endpoint.name,
            root=RootFs(state.image.layers),
            argv=state.argv,
            console=self.console(state),
            env=state.image.env,
            netns=netns,
            limits=Limits(disk_bytes=LEAST_DISK_BYTES),
        )
        await self._runtime.stop(state.machine)  # what is left of a program that ended
        state.running, state.ended = True, ""
        try:
            await self._runtime.start(spec, ended)
        except SonataError:
            state.running = False
            raise

    async def _wait_listening(self, state: EndpointState, tcp_port: int) -> None:
        deadline = asyncio.get_running_loop().time() + READY_TIMEOUT_S
        pause_s = _FIRST_POLL_S
        while not await self._runtime.is_listening(state.machine, tcp_port):
            if state.ended or asyncio.get_running_loop().time() > deadline:
                raise PermanentError(
                    f"endpoint `{state.endpoint.name}` does not listen on TCP port {tcp_port}: "
                    f"{state.ended or f'nothing after {READY_TIMEOUT_S:g} s'}",
                    answer=tail(self.console(state), _LAST_WORDS).decode(errors="replace"),
                    hint="look at what its program printed",
                )
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, _LONGEST_POLL_S)


def _number_six(state: EndpointState, prefixes_by_pop: Mapping[str, Sequence[tuple[IPv6Network, IPv6Address]]]) -> None:
    prefixes = prefixes_by_pop.get(state.endpoint.attach, ())
    mac = mac_address(state.port_id)
    state.six = tuple(IPv6Interface((automatic_address(one, mac), one.prefixlen)) for one, _gateway in prefixes)
    state.gateway6 = next((gateway for _prefix, gateway in prefixes), None)


def _as_it_is(state: EndpointState, links: Links) -> Endpoint:
    link = links.find(state.port_id).link
    here = replace(state.endpoint, attach=state.home)
    return replace(here, impairment=link.impairment, reverse=link.reverse, up=link.up)


def _port(state: EndpointState) -> PortSpec:
    return PortSpec(
        id=state.port_id,
        pop=state.endpoint.attach,
        network=EXTERNAL,
        machine=state.machine,
        ifname="eth0",
        mac=mac_address(state.port_id),
        addresses=(state.address, *state.six),
        gateway6=state.gateway6,
        gateway=state.address.network.network_address + 1,
        impairment=state.endpoint.impairment,
        reverse=state.endpoint.reverse,
    )
