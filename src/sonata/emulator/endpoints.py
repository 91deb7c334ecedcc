"""Hosts outside of the PoPs: users, content servers. Each sits on the external network of one PoP."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Interface, IPv6Address, IPv6Interface, IPv6Network
from itertools import count
from pathlib import Path

from sonata._lib.tails import tail
from sonata.emulator.addressing import automatic_address, endpoint_address, mac_address
from sonata.emulator.data_plane import DataPlane
from sonata.emulator.events import EventLog
from sonata.emulator.links import Links, slower
from sonata.emulator.outlets import outlets_of
from sonata.errors import PermanentError, SonataError
from sonata.model.infrastructure import AttachedEndpoint
from sonata.model.topology import Endpoint, Link, Topology
from sonata.ports.fabric import EXTERNAL, Fabric, PortSpec
from sonata.ports.images import Image, ImageStore
from sonata.ports.runtime import MachineExit, MachineSpec, RootFs, Runtime, Tell, Terminal

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
        six: its IPv6 addresses on the external network, and `gateway6` the PoP's router there.
        home: the PoP that its address belongs to; `endpoint.attach` is where it is.
        cell: the cell in which it is, empty for none.
    """

    endpoint: Endpoint
    image: Image
    address: IPv4Interface
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
        return Link(self.port_id, endpoint.attach, endpoint.name, endpoint.impairment, endpoint.reverse)

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
        self, topology: Topology, links: Links, plane: DataPlane, runtime: Runtime, folder: Path, events: EventLog
    ) -> None:
        self._events = events
        self._declared = topology.endpoints
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

    def attached(self) -> Mapping[str, AttachedEndpoint]:
        """Endpoints as the wide area manager tells of them, by name."""
        return {
            name: AttachedEndpoint(
                name, state.endpoint.attach, str(state.address.ip), slower(self._links.find(state.port_id).link)
            )
            for name, state in self._states.items()
        }

    async def start(self, images: ImageStore) -> None:
        """Create all endpoints, start their programs, and wait until those that serve a port listen.

        Raises:
            NotFound: an image does not exist.
            PermanentError: a program cannot be executed, or does not listen in time.
        """
        self._states = self._assign(images)
        ports = [_port(state) for state in self._states.values()]
        further = [
            outlet.port_spec(state.machine)
            for state in self._states.values()
            for outlet in outlets_of([state.endpoint])
        ]

        def build(fabric: Fabric) -> None:
            fabric.machines.add_machines([port.machine for port in ports])
            fabric.machines.add_ports([*ports, *further])

        await self._plane.run(build)
        for state in self._states.values():
            self._links.add_access(state.access)
        slots = asyncio.Semaphore(_PARALLEL_STARTS)
        starts = [self._start_program(state, slots) for state in self._states.values() if state.argv]
        for failure in await asyncio.gather(*starts, return_exceptions=True):
            if failure is not None:
                raise failure

    async def number_six(self, pop: str, prefixes: Sequence[tuple[IPv6Network, IPv6Address]]) -> None:
        """Give the endpoints of a PoP an address in each of these prefixes, and the router there as their gateway."""
        self._prefixes[pop] = prefixes
        changed = [state for state in self._states.values() if state.endpoint.attach == pop]
        for state in changed:
            self._number_six(state)
        ports = [_port(state) for state in changed]
        await self._plane.run(lambda fabric: fabric.machines.change_ports(ports))

    def _number_six(self, state: EndpointState) -> None:
        prefixes = self._prefixes.get(state.endpoint.attach, ())
        mac = mac_address(state.port_id)
        state.six = tuple(IPv6Interface((automatic_address(one, mac), one.prefixlen)) for one, _gateway in prefixes)
        state.gateway6 = next((gateway for _prefix, gateway in prefixes), None)

    async def lay_outlets(self) -> None:
        """Create the bridges to which further interfaces of endpoints lead."""
        specs = [outlet.network_spec() for outlet in outlets_of(self._declared.values())]
        await self._plane.run(lambda fabric: fabric.networks.add_networks(specs))

    async def attach(self, state: EndpointState, pop: str) -> None:
        """Plug an endpoint into the external network of another PoP, with the address that it has."""
        port = _port(state)
        await self._plane.run(lambda fabric: fabric.machines.move_ports([replace(port, pop=pop)]))
        state.endpoint = replace(state.endpoint, attach=pop)
        self._links.add_access(replace(self._links.find(state.port_id).link, a=pop))
        state.six, state.gateway6 = (), None
        self._number_six(state)
        readdressed = _port(state)
        await self._plane.run(lambda fabric: fabric.machines.change_ports([readdressed]))

    async def exec(
        self, state: EndpointState, argv: Sequence[str], stdin: bytes, tell: Tell | None = None
    ) -> tuple[int, bytes, bytes]:
        """Run a command in an endpoint; starts the machine of an idle one first."""
        async with state.turn:
            if not state.running:
                await self._start_machine(state)
        return await self._runtime.exec(state.machine, argv, stdin=stdin, tell=tell)

    async def terminal(self, state: EndpointState, argv: Sequence[str], *, rows: int, columns: int) -> Terminal:
        """A program on a terminal in an endpoint; starts the machine of an idle one first."""
        async with state.turn:
            if not state.running:
                await self._start_machine(state)
        return await self._runtime.terminal(state.machine, argv, rows=rows, columns=columns)

    def console(self, state: EndpointState) -> Path:
        """File with what the endpoint's program printed."""
        return self._folder / f"{state.machine}.log"

    def _assign(self, images: ImageStore) -> dict[str, EndpointState]:
        numbers = {pop: count() for pop in self._links.pops}
        states = {}
        for name, endpoint in self._declared.items():
            address = endpoint_address(self._links.external_of(endpoint.attach), next(numbers[endpoint.attach]))
            states[name] = EndpointState(endpoint, images.get(endpoint.image), address)
            self._number_six(states[name])
        return states

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
