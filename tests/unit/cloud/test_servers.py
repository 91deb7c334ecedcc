"""The life of servers: states are true, failures say why, nothing is left behind."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from ipaddress import IPv4Network

import pytest
from tests.unit.cloud.conftest import World

from sonata.emulator.cloud.causes import PortInUse
from sonata.emulator.cloud.compute import power
from sonata.emulator.cloud.compute.nics import NicWish
from sonata.emulator.cloud.compute.servers import NO_VALID_HOST, PROVING_S
from sonata.emulator.cloud.entities.network import Port
from sonata.emulator.cloud.network.ports import AddressWish
from sonata.errors import Conflict, InvalidInput, PermanentError
from sonata.model.topology import ServerSeed

pytestmark = pytest.mark.anyio


async def test_an_idle_server_has_its_ports_in_order_and_no_process(world: World) -> None:
    first, _ = await world.network("10.1.0.0/24", "first")
    second, _ = await world.network("10.2.0.0/24", "second")
    port = world.port(second)
    server = await world.up(NicWish(network_id=first.id), NicWish(port_id=port.id), NicWish(network_id=second.id))
    assert (server.status, server.task_state) == ("ACTIVE", None)
    specs = world.fabric.machines.of(f"edge-{server.id}")
    assert [(spec.ifname, spec.network) for spec in specs] == [
        ("eth0", first.id),
        ("eth1", second.id),
        ("eth2", second.id),
    ]
    assert specs[1].id == port.id
    assert str(specs[0].addresses[0]) == "10.1.0.2/24"
    assert str(specs[0].gateway) == "10.1.0.1"
    assert world.runtime.running == {}


async def test_the_program_of_an_image_runs_in_the_server(world: World) -> None:
    server = await world.up(image_name="batch", flavor="small")
    (spec,) = world.runtime.started
    assert server.status == "ACTIVE"
    assert (spec.argv, spec.hostname, spec.netns) == (("/bin/batch",), "vnf", f"/run/netns/edge-{server.id}")
    assert (spec.limits.cpus, spec.limits.memory_bytes) == (1.0, 256 * 1024**2)


async def test_a_server_is_active_only_when_its_port_is_listened_on(world: World) -> None:
    world.runtime.listen_at_once = False
    server = world.boot(image_name="web")
    while f"edge-{server.id}" not in world.runtime.running:
        await asyncio.sleep(0.001)
    await asyncio.sleep(0.02)
    assert world.cloud.find_server(server.id).status == "BUILD"
    world.runtime.listening.add(f"edge-{server.id}")
    assert (await world.settled(server)).status == "ACTIVE"


async def test_a_server_that_never_listens_ends_in_error(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.runtime.listen_at_once = False
    monkeypatch.setattr(power, "READY_LIMIT_S", 0.05)
    server = await world.up(image_name="web")
    assert server.status == "ERROR"
    assert server.fault is not None
    assert "TCP port 80" in server.fault.message


@pytest.mark.parametrize(("image", "reason"), [("broken", "exit status 1"), ("absent", "no such file")])
async def test_a_program_that_cannot_run_is_the_servers_fault(world: World, image: str, reason: str) -> None:
    # "broken" needs a ready port to be waited for, else its end is noticed right after the start.
    server = await world.up(image_name=image)
    assert server.status in ("ERROR", "SHUTOFF")
    assert server.fault is not None
    assert reason in server.fault.message
    await world.delete(server)
    assert world.nothing_left()


async def test_a_program_that_ends_later_shuts_the_server_off_and_its_ports(world: World) -> None:
    network, _ = await world.network()
    server = await world.up(NicWish(network_id=network.id), image_name="batch")
    assert len(world.cloud.stations(network.id)) == 1
    world.cloud.servers.switched_on[server.id] -= PROVING_S
    await world.runtime.end(f"edge-{server.id}", 3)
    server = await world.settled(server)
    assert server.status == "SHUTOFF"
    assert server.fault is not None
    assert "exit status 3" in server.fault.message
    assert world.fabric.machines.ports == {}
    assert world.cloud.stations(network.id) == ()


@pytest.mark.parametrize("status", [0, 127])
async def test_a_program_that_ends_at_once_has_failed_to_start(world: World, status: int) -> None:
    network, _ = await world.network()
    server = await world.up(NicWish(network_id=network.id), image_name="batch")
    await world.runtime.end(f"edge-{server.id}", status)
    server = await world.settled(server)
    assert server.status == "ERROR", "clients that wait for ACTIVE know no other end"
    assert server.fault is not None
    assert f"exit status {status} (exited) as soon as it was started; look at its console log" in server.fault.message
    assert world.fabric.machines.ports == {}


async def test_stop_start_and_reboot_keep_address_and_mac(world: World) -> None:
    network, _ = await world.network()
    server = await world.up(NicWish(network_id=network.id), image_name="batch")
    (before,) = world.fabric.machines.ports.values()
    world.cloud.servers.stop(server.id)
    assert (await world.settled(server)).status == "SHUTOFF"
    assert world.fabric.machines.ports == {}
    assert world.runtime.running == {}
    world.cloud.servers.start(server.id)
    assert (await world.settled(server)).status == "ACTIVE"
    world.cloud.servers.reboot(server.id)
    assert (await world.settled(server)).status == "ACTIVE"
    assert len(world.runtime.started) == 3
    (after,) = world.fabric.machines.ports.values()
    assert after == before


async def test_a_stopped_program_may_end_in_order_and_a_deleted_one_is_cut_off(world: World) -> None:
    server = await world.up(image_name="batch")
    world.cloud.servers.stop(server.id)
    await world.settled(server)
    assert world.runtime.graces[-1] > 0
    await world.cloud.servers.delete(server.id)
    await world.cloud.servers.settled(server.id)
    assert world.runtime.graces[-1] == 0


async def test_actions_are_refused_in_the_wrong_state(world: World) -> None:
    server = await world.up()
    with pytest.raises(Conflict, match="vm_state active"):
        world.cloud.servers.start(server.id)
    world.cloud.servers.stop(server.id)
    with pytest.raises(Conflict, match="powering-off"):
        world.cloud.servers.reboot(server.id)
    await world.settled(server)
    with pytest.raises(Conflict, match="vm_state stopped"):
        world.cloud.servers.stop(server.id)


async def test_a_server_that_does_not_fit_ends_as_nova_ends_it(world: World) -> None:
    small = [await world.up(name=f"s{number}", flavor="small") for number in range(4)]
    assert {server.status for server in small} == {"ACTIVE"}
    fifth = await world.up(name="fifth", flavor="small")
    assert fifth.status == "ERROR"
    assert fifth.fault is not None
    assert fifth.fault.message == f"{NO_VALID_HOST} Filter ResourceFilter returned 0 hosts"
    await world.delete(small[0])
    assert (await world.up(name="sixth", flavor="small")).status == "ACTIVE"
    assert world.cloud.usage.vcpus_used == 4


async def test_deleting_gives_everything_back_but_a_port_that_was_brought(world: World) -> None:
    network, _ = await world.network()
    port = world.port(network)
    server = await world.up(NicWish(port_id=port.id), NicWish(network_id=network.id), image_name="batch")
    await world.delete(server)
    assert world.nothing_left()
    assert [left.id for left in world.ports()] == [port.id]
    assert world.cloud.tables.ports.get(port.id).device_id == ""
    assert world.cloud.usage.memory_mib_used == 0


async def test_deleting_during_the_build_leaves_nothing(world: World) -> None:
    network, _ = await world.network()
    world.runtime.listen_at_once = False
    server = world.boot(NicWish(network_id=network.id), image_name="web")
    while f"edge-{server.id}" not in world.runtime.running:
        await asyncio.sleep(0.001)
    await world.delete(server)
    assert world.nothing_left()
    assert len(world.ports()) == 0
    await world.cloud.networks.delete(network.id)


async def test_deleting_before_the_build_began_leaves_nothing(world: World) -> None:
    network, _ = await world.network()
    server = world.boot(NicWish(network_id=network.id))
    await world.delete(server)
    assert world.nothing_left()
    assert len(world.ports()) == 0


async def test_a_data_plane_that_fails_is_told_in_the_fault(world: World) -> None:
    network, _ = await world.network()
    world.fabric.machines.fail_next = "veth: no buffer space"
    server = await world.up(NicWish(network_id=network.id))
    assert server.status == "ERROR"
    assert server.fault is not None
    assert "no buffer space" in server.fault.message
    await world.delete(server)
    assert world.nothing_left()
    assert len(world.ports()) == 0


async def test_a_network_without_free_address_is_told_in_the_fault(world: World) -> None:
    network, _ = await world.network("10.1.0.0/30")
    first = await world.up(NicWish(network_id=network.id), name="first")
    second = await world.up(NicWish(network_id=network.id), name="second")
    assert (first.status, second.status) == ("ACTIVE", "ERROR")
    assert second.fault is not None
    assert "No more IP addresses" in second.fault.message
    await world.delete(second)
    assert len(world.ports()) == 1


async def test_a_port_can_be_given_to_one_server_only(world: World) -> None:
    network, _ = await world.network()
    port = world.port(network)
    world.boot(NicWish(port_id=port.id))
    with pytest.raises(PortInUse):
        world.boot(NicWish(port_id=port.id))
    with pytest.raises(InvalidInput, match="only once"):
        world.boot(NicWish(port_id="x"), NicWish(port_id="x"))
    with pytest.raises(InvalidInput, match="could not be found"):
        world.boot(NicWish(network_id="nowhere"))


async def test_interfaces_are_attached_and_detached_while_it_runs(world: World) -> None:
    network, _ = await world.network()
    server = await world.up(NicWish(network_id=network.id))
    wish = NicWish(network_id=network.id, address=AddressWish(address=world.cloud.site.external[0] + 0))
    with pytest.raises(InvalidInput):
        await world.cloud.nics.attach(server.id, wish)
    nic = await world.cloud.nics.attach(server.id, NicWish(network_id=network.id))
    assert [spec.ifname for spec in world.fabric.machines.of(f"edge-{server.id}")] == ["eth0", "eth1"]
    await world.cloud.nics.detach(server.id, nic.port_id)
    assert [spec.ifname for spec in world.fabric.machines.of(f"edge-{server.id}")] == ["eth0"]
    assert nic.port_id not in world.cloud.tables.ports


async def test_an_attachment_that_fails_leaves_no_port(world: World) -> None:
    network, _ = await world.network()
    server = await world.up(NicWish(network_id=network.id))
    world.fabric.machines.fail_next = "no veth"
    with pytest.raises(Exception, match="no veth"):
        await world.cloud.nics.attach(server.id, NicWish(network_id=network.id))
    assert len(world.ports()) == 1
    assert len(world.cloud.find_server(server.id).nics) == 1


async def test_a_deleted_port_leaves_its_server(world: World) -> None:
    network, _ = await world.network()
    server = await world.up(NicWish(network_id=network.id))
    (port,) = world.ports()
    await world.cloud.nics.delete_port(port.id)
    assert world.cloud.find_server(server.id).nics == ()
    assert world.fabric.machines.ports == {}


async def test_commands_wake_an_idle_server_once(world: World) -> None:
    server = await world.up()
    answers = await asyncio.gather(*(world.cloud.exec(server, ["echo", str(number)]) for number in range(3)))
    assert [answer[1] for answer in answers] == [b"echo 0", b"echo 1", b"echo 2"]
    assert [spec.argv for spec in world.runtime.started] == [()]
    await world.delete(server)
    assert world.nothing_left()


async def test_commands_need_an_active_server(world: World) -> None:
    server = await world.up()
    world.cloud.servers.stop(server.id)
    with pytest.raises(Conflict, match="SHUTOFF"):
        await world.cloud.exec(await world.settled(server), ["true"])


async def test_the_only_network_of_a_project_is_the_default(world: World) -> None:
    assert world.cloud.nics.default_wishes(world.cloud.identity.admin_project.id) == []
    network, _ = await world.network()
    assert world.cloud.nics.default_wishes(network.project_id) == [NicWish(network_id=network.id)]
    await world.network("10.2.0.0/24", "second")
    with pytest.raises(Conflict, match="Multiple possible networks"):
        world.cloud.nics.default_wishes(network.project_id)


async def test_seeds_share_a_default_network_with_a_way_out(world: World) -> None:
    seeds = (ServerSeed("probe", "edge"), ServerSeed("web", "edge", image="host", command=("/bin/serve", "80")))
    probe, web = await asyncio.gather(*map(world.cloud.seeds.boot, seeds))
    assert (probe.status, web.status) == ("ACTIVE", "ACTIVE")
    assert [spec.argv for spec in world.runtime.started] == [("/bin/serve", "80")]
    (router,) = world.fabric.networks.routers.values()
    assert str(router.external) == "100.64.3.64/24"
    assert str(router.interfaces[0].address) == "10.0.0.1/24"
    assert set(await world.cloud.port_counters(web)) == {"eth0"}


async def test_a_seed_that_does_not_come_up_says_why(world: World) -> None:
    with pytest.raises(PermanentError, match=r"did not come up.*no such file"):
        await world.cloud.seeds.boot(ServerSeed("bad", "edge", image="absent"))


async def test_a_group_that_nobody_was_in_is_told_anew(world: World) -> None:
    network, _ = await world.network()
    server = await world.up(NicWish(network_id=network.id))
    filtering, before = world.fabric.filtering, world.fabric.filtering.members
    (port,) = (world.cloud.tables.ports.get(nic.port_id) for nic in server.nics)
    assert before == {group: (IPv4Network(port.first_address),) for group in port.security_groups}
    world.cloud.servers.stop(server.id)
    await world.settled(server)
    assert filtering.members == {}
    world.cloud.servers.start(server.id)
    await world.settled(server)
    assert filtering.members == before


async def test_a_group_that_stays_as_it_is_is_not_told_again(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    network, _ = await world.network()
    server = await world.up(NicWish(network_id=network.id))
    ready = world.cloud.security_groups.secured(Port(network_id=network.id, project_id=server.project_id))
    port = world.cloud.ports.create(ready)
    await world.cloud.security_groups.ports_changed()
    told: list[Mapping[str, object]] = []
    monkeypatch.setattr(
        world.fabric.filtering, "set_filters", lambda _pop, filters, members: told.append({"": filters, **members})
    )
    await world.up(NicWish(port_id=port.id))
    assert [set(each) for each in told] == [{""}]
