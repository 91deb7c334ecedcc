"""Helper machines of a site, over in-memory ports."""

from __future__ import annotations

import pytest
from tests.fakes.runtime import MISSING_PROGRAM
from tests.unit.cloud.conftest import World

from sonata.emulator.cloud.appliances import Appliance
from sonata.errors import NotFound, PermanentError
from sonata.ports.runtime import MachineExit

pytestmark = pytest.mark.anyio


async def test_an_appliance_has_its_ports_and_its_program(world: World) -> None:
    network, _ = await world.network()
    port = world.port(network)
    appliance = Appliance("dhcp-1", argv=("/bin/helper",), port_ids=(port.id,))
    await world.cloud.appliances.start(appliance)
    await world.cloud.appliances.start(appliance)
    (spec,) = world.fabric.machines.ports.values()
    assert (spec.id, spec.machine, spec.ifname) == (port.id, "edge-dhcp-1", "eth0")
    assert world.cloud.tables.ports.get(port.id).plugged
    assert [started.argv for started in world.runtime.started] == [("/bin/helper",)]
    assert not len(world.cloud.tables.servers)
    await world.cloud.appliances.remove("dhcp-1")
    await world.cloud.appliances.remove("dhcp-1")
    assert world.nothing_left()
    assert not world.cloud.tables.ports.get(port.id).plugged


async def test_ports_come_and_go_while_the_program_runs(world: World) -> None:
    network, _ = await world.network()
    first, second, third = (world.port(network).id for _ in range(3))
    await world.cloud.appliances.start(Appliance("a", port_ids=(first, second)))
    await world.cloud.appliances.start(Appliance("a", port_ids=(second, third)))
    names = {spec.id: spec.ifname for spec in world.fabric.machines.ports.values()}
    assert names == {second: "eth1", third: "eth0"}
    assert len(world.runtime.started) == 1


async def test_the_end_of_a_program_is_told_and_it_can_be_started_again(world: World) -> None:
    told: list[MachineExit] = []

    async def note(how: MachineExit) -> None:
        told.append(how)

    await world.cloud.appliances.start(Appliance("a", argv=("/bin/helper",)), note)
    await world.runtime.end("edge-a", 3)
    assert [how.status for how in told] == [3]
    with pytest.raises(NotFound):
        await world.cloud.appliances.exec("a", ["true"])
    await world.cloud.appliances.start(Appliance("a", argv=("/bin/helper",)))
    assert (await world.cloud.appliances.exec("a", ["true"]))[0] == 0


async def test_a_start_that_fails_leaves_nothing(world: World) -> None:
    network, _ = await world.network()
    port = world.port(network)
    with pytest.raises(PermanentError):
        await world.cloud.appliances.start(Appliance("a", argv=(MISSING_PROGRAM,), port_ids=(port.id,)))
    assert world.nothing_left()


async def test_all_end_with_the_cloud(world: World) -> None:
    await world.cloud.appliances.start(Appliance("a"))
    await world.cloud.close()
    assert world.nothing_left()
