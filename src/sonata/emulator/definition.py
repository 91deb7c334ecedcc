"""A running emulation as a topology: what is declared, as it is now, and servers that others have made."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace

from sonata._lib.values import dataclass
from sonata.emulator.cloud import Cloud
from sonata.emulator.cloud.compute.flavors import DEFAULTS
from sonata.emulator.cloud.entities.compute import Server, ServerStatus
from sonata.emulator.cloud.seeds import DEFAULT_NETWORK
from sonata.emulator.emulation import Emulation
from sonata.model.topology import ServerSeed, Topology

_LABEL = re.compile(r"[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?")
_FLAVORS = frozenset(flavor[0] for flavor in DEFAULTS)


@dataclass(frozen=True, slots=True)
class Definition:
    """A topology that starts as an equal emulation, and what it cannot say."""

    topology: Topology
    left_out: tuple[str, ...] = ()


def as_it_is(emulation: Emulation) -> Topology:
    """What is declared, with links as they are now, and without servers that are gone or have failed."""
    declared = emulation.topology
    return replace(
        declared,
        links=tuple(state.link for state in emulation.links),
        endpoints=emulation.endpoints.running(),
        servers={
            name: seed for name, seed in declared.servers.items() if emulation.sites.of(seed.pop).seeds.stands(name)
        },
    )


def adopting(emulation: Emulation, wanted: Topology) -> Topology:
    """The same, with those servers that others have made just as they are wanted: nothing is to be done for them."""
    running = as_it_is(emulation)
    found = {
        seed.name: seed
        for seed in wanted.servers.values()
        if seed.name not in emulation.topology.servers and _is_there(emulation, wanted, seed)
    }
    return replace(running, servers={**running.servers, **found})


def definition(emulation: Emulation, *, with_servers: bool) -> Definition:
    """What starts as an equal emulation; with servers that others have made, as far as a topology can say them."""
    topology = as_it_is(emulation)
    if not with_servers:
        return Definition(topology)
    servers, left_out = dict(topology.servers), []
    for pop, cloud in emulation.clouds.items():
        for server in _others(cloud, pop, topology):
            who = f"server `{pop}/{server.name}`"
            reasons = list(obstacles(cloud, server))
            if server.name in servers:
                reasons.append(f"there is another server `{server.name}`")
            if reasons:
                left_out.append(f"{who} is left out: {'; '.join(reasons)}")
            else:
                servers[server.name] = described(cloud, server)
                left_out += [f"{who} comes without {what}" for what in _losses(cloud, server)]
    left_out += [
        f"connection `{one.tag}` is left out: topologies have no connections" for one in emulation.wan.connections()
    ]
    return Definition(replace(topology, servers=servers), tuple(left_out))


def _others(cloud: Cloud, pop: str, topology: Topology) -> list[Server]:
    """The servers of a cloud that the topology does not name."""
    named = [seed.name for seed in topology.servers.values() if topology.site_of(seed.pop) == pop]
    known = {server.id for name in named if (server := cloud.seeds.find(name))}
    return [server for server in cloud.tables.servers if server.id not in known]


def _stands(emulation: Emulation, seed: ServerSeed) -> bool:
    return emulation.sites.of(seed.pop).seeds.stands(seed.name)


def described(cloud: Cloud, server: Server) -> ServerSeed:
    """A server that nothing speaks against, as a topology says it."""
    command = () if server.argv == cloud.images.bootable(server.image_id).argv else server.argv
    pop = cloud.site.pop_of(server.host).name
    return ServerSeed(server.name, pop, cloud.image_name(server), server.flavor.name, command)


def obstacles(cloud: Cloud, server: Server) -> Iterator[str]:
    """Why a topology cannot say what a server is."""
    if server.project_id != cloud.identity.admin_project.id:
        yield "it is not of the project `admin`"
    if server.status != ServerStatus.ACTIVE:
        yield f"it is {server.status}, and servers of a topology run"
    if not _LABEL.fullmatch(server.name):
        yield "its name is not one of letters, digits and inner `-`"
    if not server.image_id:
        yield "it boots from a volume"
    elif cloud.images.is_own(server.image_id):
        yield "its image was uploaded to its cloud"
    elif not server.argv and cloud.images.bootable(server.image_id).argv:
        yield "it is idle, while its image has a program"
    if server.flavor.name not in _FLAVORS:
        yield f"its flavor `{server.flavor.name}` was made in its cloud"
    ports = [port for nic in server.nics if (port := cloud.tables.ports.peek(nic.port_id))]
    names = [cloud.tables.networks.get(port.network_id).name for port in ports]
    if names != [DEFAULT_NETWORK]:
        yield f"it is not on the network `{DEFAULT_NETWORK}` alone"


def _losses(cloud: Cloud, server: Server) -> Iterator[str]:
    """What a server has besides what a topology says of it."""
    for what, has in (
        ("its user data", server.user_data),
        ("its key pair", server.key_name),
        ("its metadata", server.metadata),
        ("its tags", server.tags),
    ):
        if has:
            yield what
    ports = {nic.port_id for nic in server.nics}
    yield from (f"floating IP {one.address}" for one in cloud.tables.floating_ips if one.port_id in ports)
    attached = [one for one in cloud.tables.volume_attachments if one.server_id == server.id]
    yield from (f"volume {one.volume_id}" for one in attached)


def difference(cloud: Cloud, server: Server, seed: ServerSeed) -> str:
    """How a server is not what a topology says."""
    if reasons := list(obstacles(cloud, server)):
        return "; ".join(reasons)
    found = described(cloud, server)
    names = [name for name in ("pop", "image", "flavor", "command") if getattr(found, name) != getattr(seed, name)]
    return ", ".join(f"{name} `{getattr(found, name)}`" for name in names)


def _is_there(emulation: Emulation, wanted: Topology, seed: ServerSeed) -> bool:
    cloud = emulation.clouds.get(wanted.site_of(seed.pop))
    server = cloud.seeds.find(seed.name) if cloud else None
    return bool(cloud and server and not difference(cloud, server, seed))
