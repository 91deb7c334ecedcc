"""Reads what servers and endpoints use, and what passes their interfaces."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping

import sonata.emulator.observing.families as families
from sonata.emulator.cloud import Cloud
from sonata.emulator.cloud.entities.compute import Server, ServerStatus
from sonata.emulator.emulation import Emulation
from sonata.emulator.endpoints import EndpointState
from sonata.emulator.observing.sheet import Sheet
from sonata.emulator.outlets import outlets_of
from sonata.errors import NotFound
from sonata.model.metrics import Family
from sonata.ports.metering import Traffic
from sonata.ports.runtime import Usage

AT_ONCE = 16
"""Machines that are read before others have a turn on the event loop; a millisecond's worth."""
_MIB = 1024**2
_NOTHING = Usage(0.0, 0, 0)


async def read_servers(emulation: Emulation, traffic: Mapping[str, Traffic], sheet: Sheet) -> None:
    """All servers of all clouds."""
    async for name, cloud, server in _servers(emulation):
        pop = cloud.site.pop_of(server.host).name
        usage = await cloud.servers.power.usage(server)
        labels = families.VNF_UP.labelled(pop, server.name, server.id, server.project_id)
        sheet.put(
            labels,
            {
                families.VNF_UP: float(server.status == ServerStatus.ACTIVE),
                families.VNF_CPU: usage.cpu_s,
                families.VNF_MEMORY: usage.memory_bytes,
                families.VNF_PROCESSES: usage.tasks,
                families.VNF_VCPUS: server.flavor.vcpus,
                families.VNF_MEMORY_LIMIT: server.flavor.ram_mib * _MIB,
            },
        )
        for nic in server.nics:
            own = (pop, f"{name}/{server.name}", nic.ifname, server.id, server.project_id)
            _put_traffic(sheet, own, traffic.get(nic.port_id))


async def _servers(emulation: Emulation) -> AsyncIterator[tuple[str, Cloud, Server]]:
    """Servers with their cloud and its name; others have a turn now and then."""
    count = 0
    for name, cloud in list(emulation.clouds.items()):
        for server in list(cloud.tables.servers):
            yield name, cloud, server
            count += 1
            if count % AT_ONCE == 0:
                await asyncio.sleep(0)


async def read_endpoints(emulation: Emulation, traffic: Mapping[str, Traffic], sheet: Sheet) -> None:
    """All hosts outside of the PoPs."""
    for state in list(emulation.endpoints):
        pop, name = state.endpoint.attach, state.endpoint.name
        usage = await _usage(emulation, state)
        sheet.put(
            families.ENDPOINT_UP.labelled(pop, name),
            {
                families.ENDPOINT_UP: float(not state.ended),
                families.ENDPOINT_CPU: usage.cpu_s,
                families.ENDPOINT_MEMORY: usage.memory_bytes,
                families.ENDPOINT_PROCESSES: usage.tasks,
            },
        )
        _put_traffic(sheet, (pop, name, "eth0", "", ""), traffic.get(state.port_id))
        for outlet in outlets_of([state.endpoint]):
            _put_traffic(sheet, (pop, name, outlet.interface, "", ""), traffic.get(outlet.network))


async def _usage(emulation: Emulation, state: EndpointState) -> Usage:
    if not state.running:
        return _NOTHING
    try:
        return await emulation.runtime.usage(state.machine)
    except NotFound:
        return _NOTHING


def _put_traffic(sheet: Sheet, own: tuple[str, ...], traffic: Traffic | None) -> None:
    """Counters of an interface; one that does not stand has none."""
    if traffic is not None:
        sheet.put(families.RECEIVED_BYTES.labelled(*own), _counters(traffic))


def _counters(traffic: Traffic) -> Mapping[Family, float | None]:
    return {
        families.RECEIVED_BYTES: traffic.rx_bytes,
        families.RECEIVED_PACKETS: traffic.rx_packets,
        families.RECEIVE_DROPS: traffic.rx_dropped,
        families.SENT_BYTES: traffic.tx_bytes,
        families.SENT_PACKETS: traffic.tx_packets,
        families.TRANSMIT_DROPS: traffic.tx_dropped,
    }
