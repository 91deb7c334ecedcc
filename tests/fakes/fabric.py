"""A data plane in memory. It refuses what the kernel would refuse: ports on networks or machines that do not stand."""

from __future__ import annotations

import socket
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network, IPv6Interface

from sonata._lib.ip import Address, Prefix
from sonata.errors import AdapterError, Conflict, NotFound, Unsupported
from sonata.model.topology import Impairment
from sonata.ports.fabric import (
    EXTERNAL,
    ChainSpec,
    LinkSpec,
    LinkStatus,
    NetworkSpec,
    PatchSpec,
    PopSpec,
    PortCounters,
    PortFilter,
    PortShape,
    PortSpec,
    Reservation,
    RouterSpec,
    SpanSpec,
)
from sonata.ports.metering import Readings, Traffic, Watched, Window


class FakeUnderlay:
    """PoPs and links as they were declared."""

    def __init__(self) -> None:
        self.pops: dict[str, PopSpec] = {}
        self.links: dict[str, LinkSpec] = {}
        self.reserved: dict[str, tuple[dict[int, Reservation], dict[int, Reservation]]] = {}
        self.refusing = ""
        self.outside: dict[str, tuple[list[str], dict[str, str]]] = {}

    def add_pops(self, pops: Sequence[PopSpec]) -> None:
        self.pops.update({pop.name: pop for pop in pops})

    def remove_pops(self, names: Sequence[str]) -> None:
        for name in names:
            self.pops.pop(name, None)

    def add_links(self, links: Sequence[LinkSpec]) -> None:
        self.links.update({link.name: link for link in links})

    def set_link(
        self, name: str, impairment: Impairment, reverse: Impairment | None = None, *, up: bool = True
    ) -> None:
        if name not in self.links:
            raise AdapterError(f"no link `{name}`")

    def reserve(self, link: str, there: Mapping[int, Reservation], back: Mapping[int, Reservation]) -> None:
        if link not in self.links:
            raise NotFound(f"no link `{link}`")
        if link == self.refusing:
            raise AdapterError(f"the kernel refuses at link `{link}`")
        self.reserved[link] = (dict(there), dict(back))

    def remove_links(self, names: Sequence[str]) -> None:
        for name in names:
            self.links.pop(name, None)
            self.reserved.pop(name, None)

    def set_outside(self, pop: str, addresses: Sequence[IPv6Interface], routes: Mapping[Prefix, Address]) -> None:
        self.outside[pop] = ([str(one) for one in addresses], {str(key): str(via) for key, via in routes.items()})

    def set_routes(self, pop: str, routes: Mapping[IPv4Network, IPv4Address]) -> None:
        pass

    def link_status(self) -> Sequence[LinkStatus]:
        return [
            LinkStatus(link.name, link.impairment, "veth", True, reverse=link.reverse) for link in self.links.values()
        ]


class FakeNetworks:
    """Networks, routers and spans as they were declared; `fail_next` makes the next call fail."""

    def __init__(self) -> None:
        self.networks: dict[tuple[str, str], NetworkSpec] = {}
        self.routers: dict[str, RouterSpec] = {}
        self.missing_routers: dict[str, str] = {}
        self.spans: dict[str, SpanSpec] = {}
        self.patches: dict[str, PatchSpec] = {}
        self.callers: dict[tuple[str, str], tuple[set[Address], socket.socket]] = {}
        self.fail_next = ""

    def add_networks(self, networks: Sequence[NetworkSpec]) -> None:
        self._fail_if_told()
        self.networks.update({(network.pop, network.id): network for network in networks})

    def change_network(self, network: NetworkSpec) -> None:
        self.require(network.pop, network.id)
        self.networks[network.pop, network.id] = network

    def remove_networks(self, networks: Sequence[tuple[str, str]]) -> None:
        for key in networks:
            self.networks.pop(key, None)
            self.forget_caller(*key)

    def listen(self, pop: str, network: str, addresses: Collection[Address]) -> socket.socket:
        self.require(pop, network)
        heard, caller = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        heard.setblocking(False)
        self.forget_caller(pop, network)
        self.callers[pop, network] = set(addresses), caller
        return heard

    def forget_caller(self, pop: str, network: str) -> None:
        if (pop, network) in self.callers:
            self.callers.pop((pop, network))[1].close()

    def set_span(self, span: SpanSpec) -> None:
        self._fail_if_told()
        for pop, network in span.members.items():
            self.require(pop, network)
        self.spans[span.id] = span

    def remove_span(self, span_id: str) -> None:
        self.spans.pop(span_id, None)

    def set_patch(self, patch: PatchSpec) -> None:
        self._fail_if_told()
        for network in patch.networks:
            self.require(patch.pop, network)
        self.patches[patch.id] = patch

    def remove_patch(self, patch_id: str) -> None:
        self.patches.pop(patch_id, None)

    def set_router(self, router: RouterSpec) -> None:
        self._fail_if_told()
        for leg in router.interfaces:
            self.require(router.pop, leg.network)
        self.routers[router.id] = router

    def remove_router(self, router_id: str) -> None:
        self.routers.pop(router_id, None)

    def require(self, pop: str, network: str) -> None:
        if network != EXTERNAL and (pop, network) not in self.networks:
            raise NotFound(f"no network `{network}` in `{pop}`")

    def _fail_if_told(self) -> None:
        if self.fail_next:
            message, self.fail_next = self.fail_next, ""
            raise AdapterError(message)


class FakeMachines:
    """Machines and ports as they were declared."""

    def __init__(self, networks: FakeNetworks) -> None:
        self._networks = networks
        self.machines: set[str] = set()
        self.ports: dict[str, PortSpec] = {}
        self.held: set[str] = set()
        self.fail_next = ""
        self.on_removed: Callable[[Sequence[str]], None] = lambda _ids: None

    def add_machines(self, names: Sequence[str]) -> None:
        self.machines.update(names)

    def remove_machines(self, names: Sequence[str]) -> None:
        self.remove_ports([key for key, port in self.ports.items() if port.machine in names])
        self.machines.difference_update(names)

    def netns_path(self, name: str) -> str:
        if name not in self.machines:
            raise AdapterError(f"no machine `{name}`")
        return f"/run/netns/{name}"

    def add_ports(self, ports: Sequence[PortSpec]) -> None:
        if self.fail_next:
            message, self.fail_next = self.fail_next, ""
            raise AdapterError(message)
        for port in ports:
            if port.machine not in self.machines:
                raise AdapterError(f"no machine `{port.machine}`")
            self._networks.require(port.pop, port.network)
            self.ports[port.id] = port

    def change_ports(self, ports: Sequence[PortSpec]) -> None:
        for port in ports:
            if port.id not in self.ports:
                raise AdapterError(f"no port `{port.id}`")
            self.ports[port.id] = port

    def move_ports(self, ports: Sequence[PortSpec]) -> None:
        for port in ports:
            if port.id not in self.ports:
                raise NotFound(f"no port `{port.id}`")
            self._networks.require(port.pop, port.network)
            _require_bridged(self, [port.id], "moved while it stands")
            if replace(self.ports[port.id], pop=port.pop, network=port.network) != port:
                raise Conflict(f"port `{port.id}` stands otherwise")
        if self.fail_next:
            message, self.fail_next = self.fail_next, ""
            raise AdapterError(message)
        self.ports.update({port.id: port for port in ports})

    def remove_ports(self, ids: Sequence[str]) -> None:
        self.on_removed([port_id for port_id in ids if self.ports.pop(port_id, None)])

    def hold_ports(self, ids: Sequence[str], *, held: bool) -> None:
        known = {port_id for port_id in ids if port_id in self.ports}
        self.held = self.held | known if held else self.held - known

    def counters(self, ids: Sequence[str]) -> Mapping[str, PortCounters]:
        return {port_id: PortCounters(1, 60, 2, 120) for port_id in ids if port_id in self.ports}

    def of(self, machine: str) -> list[PortSpec]:
        """A machine's ports by interface name."""
        return sorted((port for port in self.ports.values() if port.machine == machine), key=lambda port: port.ifname)


class FakeSteering:
    """Chains as they were declared; local hops must be plugged in."""

    def __init__(self, machines: FakeMachines) -> None:
        self._machines = machines
        self.chains: dict[str, ChainSpec] = {}
        self.why_no_nsh = ""

    def require_nsh(self) -> None:
        if self.why_no_nsh:
            raise Unsupported(self.why_no_nsh)

    def set_chain(self, chain: ChainSpec) -> None:
        for hop in (*chain.hops, *(before.hops[-1] for before in chain.after)):
            for end in (hop.ingress, hop.egress):
                if end.port_id and end.port_id not in self._machines.ports:
                    raise AdapterError(f"no port `{end.port_id}`")
                _require_bridged(self._machines, [end.port_id], "steered from or to")
        self.chains[chain.id] = chain

    def remove_chain(self, chain_id: str) -> None:
        self.chains.pop(chain_id, None)


class FakeFiltering:
    """Filters and sets of addresses as they were declared.

    Filters of ports that are unplugged go with them, and so do sets that no other filter names.
    """

    def __init__(self, machines: FakeMachines) -> None:
        self._machines = machines
        machines.on_removed = self._unplugged
        self.by_pop: dict[str, dict[str, PortFilter]] = {}
        self.members: dict[str, tuple[Prefix, ...]] = {}

    def set_filters(self, pop: str, filters: Sequence[PortFilter], members: Mapping[str, Sequence[Prefix]]) -> None:
        _require_bridged(self._machines, (one.port_id for one in filters), "filtered")
        self.by_pop.setdefault(pop, {}).update({one.port_id: one for one in filters})
        self.members.update({name: tuple(known) for name, known in members.items()})
        self._drop_unused()

    def remove_filters(self, pop: str, ids: Sequence[str]) -> None:
        for port_id in ids:
            self.by_pop.get(pop, {}).pop(port_id, None)
        self._drop_unused()

    def _unplugged(self, ids: Sequence[str]) -> None:
        for pop in self.by_pop:
            self.remove_filters(pop, ids)

    def _drop_unused(self) -> None:
        named = {rule.members for one in self.filters.values() for rule in one.rules}
        self.members = {name: known for name, known in self.members.items() if name in named}

    @property
    def filters(self) -> dict[str, PortFilter]:
        """All filters, of whatever PoP."""
        return {port_id: one for known in self.by_pop.values() for port_id, one in known.items()}

    def standing(self) -> dict[str, PortFilter]:
        """Filters that ports which are plugged in have where they are."""
        ports = self._machines.ports.items()
        found = {port_id: self.by_pop.get(port.pop, {}).get(port_id) for port_id, port in ports}
        return {port_id: one for port_id, one in found.items() if one}


class FakeShaping:
    """Rates as they were declared; ports must stand."""

    def __init__(self, machines: FakeMachines) -> None:
        self._machines = machines
        self.shapes: dict[str, PortShape] = {}

    def set_shapes(self, shapes: Mapping[str, PortShape]) -> None:
        for port_id in shapes:
            if port_id not in self._machines.ports:
                raise AdapterError(f"no port `{port_id}`")
        _require_bridged(
            self._machines, (port_id for port_id, shape in shapes.items() if shape != PortShape()), "shaped"
        )
        self.shapes.update(shapes)


def _require_bridged(machines: FakeMachines, port_ids: Iterable[str], what: str) -> None:
    for port_id in port_ids:
        if port_id in machines.ports and machines.ports[port_id].direct:
            raise Unsupported(f"port `{port_id}` is direct: it cannot be {what}")


class FakeMetering:
    """A packet each way at every port, and as much at every link."""

    def __init__(self, fabric: FakeFabric) -> None:
        self._fabric = fabric
        self.followed: tuple[list[str], float] = ([], 0.0)

    def read(self, pops: Sequence[str]) -> Readings:
        traffic = Traffic(1, 60, 3, 2, 120, 4)
        ports = {port.id: traffic for port in self._fabric.machines.ports.values() if port.pop in pops}
        return Readings(
            ports, {link.name: (traffic, traffic) for link in self._fabric.underlay.links.values() if link.a in pops}
        )

    def watch(self, names: Sequence[str], every_s: float) -> None:
        self.followed = (list(names), every_s)

    def watched(self, late_s: Mapping[str, tuple[float, float]]) -> Mapping[str, tuple[Watched, Watched]]:
        quiet = Watched(8, (Window(10.0, 4, 3, 0.0125, 0.001), Window(60.0, 0, 0)))
        return {name: (quiet, quiet) for name in late_s if name in self.followed[0]}


class FakeFabric:
    """The whole data plane."""

    def __init__(self) -> None:
        self.underlay = FakeUnderlay()
        self.networks = FakeNetworks()
        self.machines = FakeMachines(self.networks)
        self.steering = FakeSteering(self.machines)
        self.filtering = FakeFiltering(self.machines)
        self.shaping = FakeShaping(self.machines)
        self.metering = FakeMetering(self)

    @property
    def calls(self) -> int:
        return -1

    def answer_calls(self) -> None:
        pass

    def expect(self, *, machines: int, routers: int) -> None:
        pass

    def mend(self) -> list[str]:
        return []

    def close(self) -> None:
        for key in tuple(self.networks.callers):
            self.networks.forget_caller(*key)
