"""The data plane on Linux: the parts, put together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from sonata._lib.descriptors import raise_limit
from sonata.adapters.fabric_linux.cable import Cables
from sonata.adapters.fabric_linux.cards import Cards
from sonata.adapters.fabric_linux.checkpoints import Checkpoints
from sonata.adapters.fabric_linux.filtering import LinuxFiltering
from sonata.adapters.fabric_linux.flow_switches import FlowSwitches
from sonata.adapters.fabric_linux.guards import Guards
from sonata.adapters.fabric_linux.machines import LinuxMachines
from sonata.adapters.fabric_linux.metering import LinuxMetering
from sonata.adapters.fabric_linux.networks import LinuxNetworks
from sonata.adapters.fabric_linux.nftables import Nftables
from sonata.adapters.fabric_linux.routers import Routers
from sonata.adapters.fabric_linux.routers_on_call import RoutersOnCall
from sonata.adapters.fabric_linux.shaping import LinuxShaping
from sonata.adapters.fabric_linux.steering import LinuxSteering
from sonata.adapters.fabric_linux.underlay import LinuxUnderlay
from sonata.adapters.fabric_linux.wire_client import WireClient
from sonata.adapters.fabric_linux.world import World
from sonata.errors import AdapterError
from sonata.ports.chain_rendering import DEFAULT_RENDERER


class LinuxFabric:
    """Implements `ports.fabric.Fabric` with namespaces, bridges, veth, VXLAN, nftables and TAPs.

    Runs as uid 0 of some user namespace. Everything belongs to this process: namespaces have no names, so nothing
    survives it, however it ends. All calls come from one thread, the one that makes the fabric.

    Args:
        chain_renderer: what steers chains that ask for nothing else.
        folder: for files of programs that it runs; below the system's for temporary files where None.
        on_call: whether what somebody has to call first is made then; who says so sees to `calls`.
    """

    def __init__(
        self, chain_renderer: str = DEFAULT_RENDERER, folder: Path | None = None, *, on_call: bool = False
    ) -> None:
        raise_limit()
        self._world = World()
        self._wire = WireClient()
        self._nftables = nftables = Nftables()
        nftables.begin()
        cables, cards = Cables(self._world.new_index, self._wire), Cards(self._world)
        self._routers = RoutersOnCall(self._world, Routers(self._world, cables, nftables), wanted=on_call)
        self._machines = LinuxMachines(self._world, cables, cards)
        guards = Guards(self._world, nftables)
        self._networks = LinuxNetworks(self._world, cables, cards, self._routers, guards)
        self._switches = FlowSwitches(self._world, folder)
        self._steering = LinuxSteering(self._world, nftables, self._switches, guards, chain_renderer)
        self._filtering = LinuxFiltering(self._world, nftables)
        self._shaping = LinuxShaping(self._world, nftables)
        self._metering = LinuxMetering(self._world)
        self._underlay = LinuxUnderlay(
            self._world, cables, drop_contents=self._drop_contents, restore_port=self._machines.restore_port
        )
        checkpoints = Checkpoints(
            self._world,
            sources=self._steering.sources,
            is_secured=self._filtering.is_filtered,
            track=self._filtering.track_checkpoints,
            moved=self._steering.refresh,
        )
        self._filtering.on_filters_changed = checkpoints.refresh
        self._steering.on_sources_changed = checkpoints.refresh
        self._steering.before_chains = self._routers.wait_no_more
        self._world.before_ports.append(self._filtering.prepare)
        self._world.on_ports_given_up.append(self._filtering.give_up)
        self._world.around_moves += [self._shaping.laid_aside, self._filtering.laid_aside, checkpoints.laid_aside]
        self._world.on_interfaces_changed += [self._filtering.refresh, self._shaping.refresh, checkpoints.refresh]
        self._world.on_interfaces_changed.append(self._steering.refresh)
        self._world.on_routes_changed.append(self._steering.refresh_ways)
        self._world.on_gateways_changed.append(self._steering.refresh)

    @property
    def underlay(self) -> LinuxUnderlay:
        """PoPs and links."""
        return self._underlay

    @property
    def machines(self) -> LinuxMachines:
        """Machines and ports."""
        return self._machines

    @property
    def networks(self) -> LinuxNetworks:
        """Tenant networks, spans, routers."""
        return self._networks

    @property
    def steering(self) -> LinuxSteering:
        """Chains."""
        return self._steering

    @property
    def filtering(self) -> LinuxFiltering:
        """Packet filters of ports."""
        return self._filtering

    @property
    def shaping(self) -> LinuxShaping:
        """Rates of ports."""
        return self._shaping

    @property
    def metering(self) -> LinuxMetering:
        """Counters."""
        return self._metering

    @property
    def wire_pid(self) -> int | None:
        """Process id of the wire process, None while no link needs one."""
        return self._wire.pid

    @property
    def switch_pids(self) -> Mapping[str, Sequence[int]]:
        """Process ids of the switches for encapsulated packets, by PoP."""
        return self._switches.pids

    @property
    def calls(self) -> int:
        """A descriptor that is readable while somebody calls what is made only then."""
        return self._routers.calls

    def answer_calls(self) -> None:
        """Make what is called; the calls are answered at return."""
        self._routers.answer()

    def expect(self, *, machines: int, routers: int) -> None:
        """Make their namespaces ahead, in another thread."""
        self._world.stock.expect(machines=machines, routers=routers)

    def mend(self) -> Sequence[str]:
        """Start the wire process and switches again if they have ended by themselves; interfaces stay meanwhile."""
        told: list[str] = []
        failures: list[AdapterError] = []
        for mend in (self._wire.mend, self._switches.mend):
            try:
                told += mend()
            except AdapterError as error:
                failures.append(error)
        if failures:
            raise failures[0]
        return told

    def close(self) -> None:
        """Drop everything, end the processes. The kernel takes interfaces and rules away with their namespaces."""
        self._wire.close()
        self._switches.close()
        self._metering.close()
        self._routers.close()
        self._world.close()
        self._nftables.close()

    def _drop_contents(self, pops: Sequence[str]) -> None:
        self._steering.drop_contents(pops)
        self._filtering.drop_contents(pops)
        self._machines.drop_contents(pops)
        self._networks.drop_contents(pops)
