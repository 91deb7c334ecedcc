"""What is true of a cloud's tables after its hosts lost their power: nothing runs, all that was declared stands.

Servers are off, those that were being built have failed, those that were being deleted are gone. Runs on tables alone,
before the data plane is built from them.
"""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network

from sonata.emulator.cloud.entities.compute import Fault, Server, ServerStatus
from sonata.emulator.cloud.entities.network import APPLIANCE_OWNERS, SERVER_OWNER, FixedIp, Subnet
from sonata.emulator.cloud.orchestration.recovery import interrupt
from sonata.emulator.cloud.tables import Tables
from sonata.emulator.cloud.volume.power_cut import settle

INTERRUPTED = "the emulation died while this server was being built"
NO_POWER_NEEDED = frozenset(
    (ServerStatus.ERROR, ServerStatus.SHELVED, ServerStatus.SHELVED_OFFLOADED, ServerStatus.VERIFY_RESIZE)
)
"""What a server stays without power."""


def lose_power(tables: Tables) -> None:
    """Make the tables true for a cloud in which nothing runs."""
    for server in tables.servers:
        if server.task_state == "deleting":
            _finish_delete(tables, server)
        else:
            tables.servers.restore(_switched_off(server))
    _release_ports(tables)
    interrupt(tables)
    for image in tables.uploads:
        if image.status not in ("active", "deactivated", "deleted", "killed"):
            tables.uploads.restore(replace(image, status="queued", stored=""))
    settle(tables)


def renumber(tables: Tables, external: IPv4Network, gateway: IPv4Address) -> bool:
    """Move the external network to other addresses, host by host; whether there was anything to do."""
    moved = False
    for subnet in tables.subnets:
        outer = subnet.cidr.version == 4 and tables.networks.get(subnet.network_id).external
        if outer and subnet.cidr != external:
            _move(tables, subnet, external, gateway)
            moved = True
    return moved


def _switched_off(server: Server) -> Server:
    if server.status == ServerStatus.BUILD:
        return replace(server, status=ServerStatus.ERROR, task_state=None, fault=Fault(INTERRUPTED))
    status = server.status if server.status in NO_POWER_NEEDED else ServerStatus.SHUTOFF
    previous = server.previous and replace(server.previous, status=ServerStatus.SHUTOFF)
    return replace(server, status=status, task_state=None, previous=previous, rescue_image_id="")


def _finish_delete(tables: Tables, server: Server) -> None:
    tables.servers.remove(server.id)
    bound = {port.id for port in tables.ports if port.device_id in (server.id, "")}
    owned = {nic.port_id for nic in server.nics if nic.owned} & bound
    for floating in tables.floating_ips:
        if floating.port_id in owned:
            tables.floating_ips.restore(replace(floating, port_id="", fixed_address=None, router_id=""))
    for port_id in owned:
        tables.ports.remove(port_id)


def _release_ports(tables: Tables) -> None:
    """Unplug the ports of servers and helper machines, and unbind those whose server does not know them."""
    known = {(server.id, nic.port_id) for server in tables.servers for nic in server.nics}
    for port in tables.ports:
        if port.device_owner in APPLIANCE_OWNERS:
            tables.ports.restore(replace(port, plugged=False))
        if port.device_owner != SERVER_OWNER:
            continue
        if (port.device_id, port.id) in known:
            tables.ports.restore(replace(port, plugged=False))
        else:
            tables.ports.restore(replace(port, plugged=False, device_id="", device_owner=""))


def _move(tables: Tables, subnet: Subnet, external: IPv4Network, gateway: IPv4Address) -> None:
    distance = int(external.network_address) - int(subnet.cidr.network_address)
    pools = tuple((first + distance, last + distance) for first, last in subnet.pools)
    tables.subnets.restore(replace(subnet, cidr=external, gateway_ip=gateway, pools=pools))
    for port in tables.ports:
        fixed = tuple(
            FixedIp(one.subnet_id, one.address + distance) if one.subnet_id == subnet.id else one
            for one in port.fixed_ips
        )
        if fixed != port.fixed_ips:
            tables.ports.restore(replace(port, fixed_ips=fixed))
    for floating in tables.floating_ips:
        address = tables.ports.get(floating.gateway_port_id).fixed_ips[0].address
        tables.floating_ips.restore(replace(floating, address=IPv4Address(int(address))))
