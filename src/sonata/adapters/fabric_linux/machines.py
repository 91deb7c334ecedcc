"""Network namespaces of machines, their ports, and the routes in them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network, IPv6Network

import sonata.adapters.fabric_linux.requests as requests
from sonata._lib.ip import Address, Prefix
from sonata._lib.netlink import Request
from sonata.adapters.fabric_linux.cable import Cable, Cables, End
from sonata.adapters.fabric_linux.cards import Cards
from sonata.adapters.fabric_linux.netspace import Netspace, apply_each
from sonata.adapters.fabric_linux.undoing import undone_by
from sonata.adapters.fabric_linux.world import Machine, Port, World
from sonata.errors import Conflict, NotFound
from sonata.ports.fabric import EXTERNAL, PortCounters, PortSpec

_FIRST_TABLE = 1000
_ANYWHERE: Mapping[int, Prefix] = {4: IPv4Network("0.0.0.0/0"), 6: IPv6Network("::/0")}


class LinuxMachines:
    """Implements `ports.fabric.Machines`."""

    def __init__(self, world: World, cables: Cables, cards: Cards) -> None:
        self._world = world
        self._cables = cables
        self._cards = cards
        self._in_doubt: set[str] = set()

    def add_machines(self, names: Sequence[str]) -> None:
        """Create namespaces with loopback up and IPv6 off."""
        missing = [name for name in names if name not in self._world.machines]
        netspaces = self._world.stock.machine_spaces(missing)
        self._world.machines.update({netspace.name: Machine(netspace) for netspace in netspaces})

    def remove_machines(self, names: Sequence[str]) -> None:
        """Drop namespaces and the interfaces in them."""
        doomed = {name: self._world.machines[name] for name in names if name in self._world.machines}
        # A process that lingers in the namespace would keep it and its interfaces; so they go first.
        self.remove_ports([port for machine in doomed.values() for port in machine.ports])
        for name, machine in doomed.items():
            del self._world.machines[name]
            machine.netspace.close()

    def netns_path(self, name: str) -> str:
        """A path that the runtime may open to enter the machine's namespace, valid in the keeper's namespaces."""
        return self._world.machine(name).netspace.path

    def add_ports(self, ports: Sequence[PortSpec]) -> None:
        """Create interfaces with addresses and routes; packets pass at return."""
        missing = [spec for spec in ports if not self._stands(spec)]
        made: list[Port] = []

        def take_back() -> None:
            self._world.ports_given_up(made)
            self.remove_ports([port.spec.id for port in made])
            self._cards.drop_unused((spec.pop, spec.network) for spec in missing)

        with undone_by(take_back):
            made += [Port(spec, self._plan(spec)) for spec in missing]
            self._cables.lay([port.cable for port in made], before_up=lambda: self._world.ports_planned(made))
            for port in made:
                self._world.ports[port.spec.id] = port
                self._world.machine(port.spec.machine).ports[port.spec.id] = port
            for port in made:
                if not port.spec.up:
                    self._cables.change(port.cable, *port.cable.directions, up=False)
            self._route(port.spec.machine for port in made)
            for port in made:
                self._announce(port.spec)
            self._interfaces_changed(made)

    def change_ports(self, ports: Sequence[PortSpec]) -> None:
        """Bring addresses, gateways, routes and state of standing interfaces in line; the interfaces stay."""
        before = [_changeable(self._world, spec).spec for spec in ports]

        def put_back() -> None:
            for spec in before:
                _forget_routing(self._world, spec)
            self._change(before)

        with undone_by(put_back):
            self._change(ports)

    def _change(self, ports: Sequence[PortSpec]) -> None:
        changed = [_standing(self._world, spec.id) for spec in ports]
        for port, spec in zip(changed, ports, strict=True):
            before, port.spec = port.spec, spec
            self._cables.readdress(port.cable, spec.addresses)
            if spec.up != port.cable.up:
                self._cables.change(port.cable, *port.cable.directions, up=spec.up)
            # The kernel drops routes along with the addresses that they need, and with a direct port that goes down.
            if spec.addresses != before.addresses or (spec.direct and spec.up != before.up):
                _forget_routing(self._world, spec)
        self._route(spec.machine for spec in ports)
        for spec in ports:
            self._announce(spec)
        self._interfaces_changed(changed)

    def remove_ports(self, ids: Sequence[str]) -> None:
        """Unplug interfaces."""
        doomed = [self._world.ports[port] for port in dict.fromkeys(ids) if port in self._world.ports]
        self._cables.cut([port.cable for port in doomed])
        for port in doomed:
            del self._world.ports[port.spec.id]
            del self._world.machine(port.spec.machine).ports[port.spec.id]
            self._world.unsettle(port.spec.pop)
        self._cards.drop_unused((port.spec.pop, port.spec.network) for port in doomed)
        self._route(port.spec.machine for port in doomed)
        self._interfaces_changed(doomed)

    def hold_ports(self, ids: Sequence[str], *, held: bool) -> None:
        """Take the carrier from interfaces, or give it back; see the port."""
        ports = [self._world.ports[port] for port in ids if port in self._world.ports]
        before = {port.spec.id: port.held for port in ports}

        def put_back() -> None:
            for was_held in (True, False):
                self._hold([port for port in ports if before[port.spec.id] == was_held], held=was_held)

        with undone_by(put_back):
            self._hold(ports, held=held)

    def _hold(self, ports: Sequence[Port], *, held: bool) -> None:
        for port in ports:
            port.held = held
        self._cables.hold((port.cable for port in ports), held=held)
        direct = [port.spec for port in ports if port.spec.direct]
        for spec in direct:
            _forget_routing(self._world, spec)
        self._route(spec.machine for spec in direct)
        for spec in direct:
            self._announce(spec)

    def move_ports(self, ports: Sequence[PortSpec]) -> None:
        """Plug standing interfaces into networks of other PoPs; see the port."""
        found = {spec.id: _movable(self._world, spec) for spec in ports}
        moving = [(found[spec.id], spec) for spec in ports if found[spec.id].spec != spec]
        pops = {name for port, spec in moving for name in (port.spec.pop, spec.pop)}
        with self._world.off_balance([port for port, _ in moving]), ExitStack() as undone:
            undone.callback(self._world.interfaces_changed, *pops)
            for port, spec in moving:
                undone.callback(self._carry, port, port.spec)
                port.spec = spec
            self._world.ports_planned([port for port, _ in moving])
            for port, spec in moving:
                self._carry(port, spec)
            self._world.interfaces_changed(*pops)
            undone.pop_all()
        for port, spec in moving:
            if spec.network == EXTERNAL:  # the gateway here has another hardware address
                end, index = port.cable.ends()[-1]
                end.netspace.apply(requests.forget_neighbours(index, end.ifname))
            self._announce(spec)

    def _carry(self, port: Port, spec: PortSpec) -> None:
        """Have a port's cable end where a specification says; it may be there already."""
        port.spec = spec
        netspace, bridge = self._world.pop(spec.pop).netspace, self._world.bridge(spec.pop, spec.network)
        if port.cable.a.netspace is not netspace:
            end = replace(port.cable.a, netspace=netspace, master=(bridge.index, bridge.ifname))
            self._cables.carry(port.cable, end, up=port.cable.up and not port.held)
        else:
            self._cables.hold([port.cable], held=port.held)

    def drop_contents(self, pops: Sequence[str]) -> None:
        """Unplug all ports in PoPs; their machines stay."""
        self.remove_ports([name for name, port in self._world.ports.items() if port.spec.pop in pops])

    def restore_port(self, port_id: str) -> None:
        """Make the routes of a port's machine anew after the port's interface was replaced."""
        machine = self._world.machine(self._world.ports[port_id].spec.machine)
        machine.routing = {}
        self._route([machine.netspace.name])

    def counters(self, ids: Sequence[str]) -> Mapping[str, PortCounters]:
        """Counters by port id; unknown ids are left out."""
        ports = [self._world.ports[port] for port in ids if port in self._world.ports]
        dumps = {netspace: netspace.statistics() for netspace in {_counting_end(port)[0] for port in ports}}
        found = {}
        for port in ports:
            netspace, index, mirrored = _counting_end(port)
            if numbers := dumps[netspace].get(index):
                found[port.spec.id] = _counters(numbers, mirrored=mirrored)
        return found

    def _stands(self, spec: PortSpec) -> bool:
        port = self._world.ports.get(spec.id)
        if port and port.spec != spec:
            raise Conflict(f"port `{spec.id}` of machine `{port.spec.machine}` stands otherwise")
        return port is not None

    def _plan(self, spec: PortSpec) -> Cable:
        bridge = self._world.bridge(spec.pop, spec.network)
        machine = self._world.machine(spec.machine)
        if spec.ifname in {port.spec.ifname for port in machine.ports.values()}:
            raise Conflict(f"machine `{spec.machine}` has an interface `{spec.ifname}` already")
        pop = self._world.pop(spec.pop).netspace
        inside = End(machine.netspace, spec.ifname, spec.mtu, spec.mac, addresses=spec.addresses, switched=False)
        if spec.direct:
            index, ifname = self._cards.insert(spec.pop, spec.network).inner
            return Cable(spec.id, End(pop, ifname, spec.mtu), inside, spec.impairment, spec.reverse, card=index)
        master = (bridge.index, bridge.ifname)
        switch = End(pop, f"p{self._world.new_index()}", spec.mtu, master=master)
        return Cable(spec.id, switch, inside, spec.impairment, spec.reverse)

    def _route(self, machines: Iterable[str]) -> None:
        """Bring the routes of machines in line with their ports."""
        wanted: list[tuple[Netspace, Request]] = []
        changed: list[tuple[Machine, dict[bytes, str]]] = []
        for name in dict.fromkeys([*machines, *(self._in_doubt & self._world.machines.keys())]):
            machine = self._world.machine(name)
            routing = _routing(machine)
            known: Mapping[bytes, str] = {} if name in self._in_doubt else machine.routing
            gone = {body: text for body, text in machine.routing.items() if body not in routing}
            wanted += [(machine.netspace, request) for request in _changes({**known, **gone}, routing)]
            machine.routing = {**gone, **routing}
            self._in_doubt.add(name)
            changed.append((machine, routing))
        apply_each(wanted)
        for machine, routing in changed:
            machine.routing = routing
        self._in_doubt.clear()

    def _announce(self, spec: PortSpec) -> None:
        pop = self._world.pop(spec.pop)
        bridge = self._world.bridge(spec.pop, spec.network)
        # A card takes what seems to come from one of its ports for told to the others already: the port says it itself.
        netspace = self._world.machine(spec.machine).netspace if spec.direct else pop.netspace
        for value in spec.addresses:
            netspace.announce(spec.ifname if spec.direct else bridge.ifname, spec.mac, value.ip)
        if spec.network == EXTERNAL:
            own = [value.ip for value in spec.addresses if isinstance(value.ip, IPv4Address)]
            near = [requests.neighbour(bridge.index, address, spec.mac) for address in own]
            pop.netspace.apply(near)

    def _interfaces_changed(self, ports: Iterable[Port]) -> None:
        self._world.interfaces_changed(*{port.spec.pop for port in ports})


def _number(spec: PortSpec) -> int:
    digits = spec.ifname.lstrip("abcdefghijklmnopqrstuvwxyz")
    return int(digits) if digits.isdecimal() else 0


def _routing(machine: Machine) -> dict[bytes, str]:
    """Routes and rules that a machine's ports ask for; routes before the rules that lead to them."""
    ports = sorted((port for port in machine.ports.values() if port.is_routed), key=lambda port: _number(port.spec))
    routing: dict[bytes, str] = {}
    for version in (4, 6):
        routed = [(port, gateway) for port in ports if (gateway := _gateway(port.spec, version))]
        if routed:
            routing.update([_default_route(*routed[0], table=0)])
        if len(ports) > 1:
            for port, gateway in routed:
                routing.update(_own_table(port, gateway))
    for port in ports:
        routing.update(_further_routes(port))
    return routing


def _gateway(spec: PortSpec, version: int) -> Address | None:
    return spec.gateway if version == 4 else spec.gateway6


def _own_table(port: Port, gateway: Address) -> Iterable[tuple[bytes, str]]:
    spec, index = port.spec, port.cable.index_b
    table = _FIRST_TABLE + _number(spec)
    own = [value for value in spec.addresses if value.version == gateway.version]
    for value in own:
        body = requests.device_route(value.network, index, table=table)
        yield body, f"route to {value.network} in table {table}"
    yield _default_route(port, gateway, table=table)
    for route in spec.routes:
        if route.via.version == gateway.version:
            yield _route(port, route.destination, route.via, table=table)
    for value in own:
        yield requests.source_rule(value.ip, table), f"rule for packets from {value.ip}"


def _default_route(port: Port, gateway: Address, *, table: int) -> tuple[bytes, str]:
    return _route(port, _ANYWHERE[gateway.version], gateway, table=table)


def _further_routes(port: Port) -> Iterable[tuple[bytes, str]]:
    for route in port.spec.routes:
        yield _route(port, route.destination, route.via, table=0)


def _route(port: Port, destination: Prefix, gateway: Address, *, table: int) -> tuple[bytes, str]:
    far = not any(gateway in value.network for value in port.spec.addresses)
    body = requests.device_route(destination, port.cable.index_b, gateway=gateway, table=table, on_link=far)
    return body, f"{port.spec.ifname}: route to {destination} via {gateway}"


def _changeable(world: World, spec: PortSpec) -> Port:
    port = _standing(world, spec.id)
    if _fixed(port.spec) != _fixed(spec):
        raise Conflict(f"port `{spec.id}` of machine `{port.spec.machine}` stands otherwise")
    return port


def _movable(world: World, spec: PortSpec) -> Port:
    port = _standing(world, spec.id)
    if replace(port.spec, pop=spec.pop, network=spec.network) != spec:
        raise Conflict(f"port `{spec.id}` of machine `{port.spec.machine}` stands otherwise")
    if port.spec != spec:
        port.require_bridged("moved while it stands")
    world.bridge(spec.pop, spec.network)
    return port


def _standing(world: World, port_id: str) -> Port:
    if port_id not in world.ports:
        raise NotFound(f"no port `{port_id}` stands in the data plane")
    return world.ports[port_id]


def _fixed(spec: PortSpec) -> PortSpec:
    """What of a port cannot change while it stands."""
    return replace(spec, addresses=(), gateway=None, gateway6=None, routes=(), up=True)


def _changes(old: Mapping[bytes, str], new: Mapping[bytes, str]) -> Iterable[Request]:
    for body, subject in old.items():
        if body not in new:
            yield (requests.delete_rule if subject.startswith("rule") else requests.delete_route)(body, subject)
    for body, subject in new.items():
        if body not in old:
            yield (requests.add_rule if subject.startswith("rule") else requests.add_route)(body, subject)


def _counting_end(port: Port) -> tuple[Netspace, int, bool]:
    """Where to count: beside the bridge, mirrored, so that one dump serves a PoP; a wire loses on the way."""
    cable = port.cable
    if cable.is_wired or cable.card:
        return cable.b.netspace, cable.index_b, False
    return cable.a.netspace, cable.index_a, True


def _counters(numbers: tuple[int, ...], *, mirrored: bool) -> PortCounters:
    rx_packets, tx_packets, rx_bytes, tx_bytes = numbers[:4]
    if mirrored:
        return PortCounters(tx_packets, tx_bytes, rx_packets, rx_bytes)
    return PortCounters(rx_packets, rx_bytes, tx_packets, tx_bytes)


def _forget_routing(world: World, spec: PortSpec) -> None:
    """Let routes be set anew; rules stand by themselves."""
    machine = world.machine(spec.machine)
    machine.routing = {body: text for body, text in machine.routing.items() if text.startswith("rule")}
