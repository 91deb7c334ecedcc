"""Instantiating and terminating a service, with all its failures, over a fake cloud."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.fakes.platform import TestPlatform
from tests.fakes.services import PLACER, package, two_sites

from sonata.errors import Conflict, ManagerError, PermanentError, QuotaExceeded, TransientError
from sonata.mano.lifecycle import InstantiateRequest
from sonata.mano.managers import EventPolicy
from sonata.mano.placement import PlacementPolicy
from sonata.model.records import NsState, OperationState, StepState

pytestmark = pytest.mark.anyio
REQUEST = InstantiateRequest("chain", "web", "users", "origin")


async def test_a_service_is_instantiated_over_two_pops_and_leaves_nothing_when_terminated(tmp_path: Path) -> None:
    cloud = two_sites()
    split = {"managers/place.py": lambda state: {"mapping": {"va": "access", "vb": "access", "vc": "core"}}}
    async with TestPlatform(tmp_path, cloud, split) as platform:
        await platform.mano.catalogue.onboard(package(managers=(PLACER,)))
        ended = await platform.end(await platform.mano.lifecycle.instantiate(REQUEST))
        assert (ended.state, ended.error) == (OperationState.COMPLETED, "")
        record = (await platform.mano.instances.find("web")).record
        assert record.state is NsState.READY
        assert record.placement is not None
        assert record.placement.decided_by == "ssm:placer"
        assert {vnf.vnf_id: vnf.pop for vnf in record.vnfs} == {"va": "access", "vb": "access", "vc": "core"}
        assert [len(vnf.interfaces) for vnf in record.vnfs] == [2, 2, 2]
        # l2 joins vb (access) and vc (core): one subnet, disjoint pools, a gateway per PoP
        spanned = sorted((o["where"], o["cidr"], o["gateway"]) for o in cloud.of_kind("network") if "/l2@" in o["tag"])
        assert [gateway.rpartition(".")[2] for _, _, gateway in spanned] == ["1", "2"]
        assert len({cidr for _, cidr, _ in spanned}) == 1
        assert len(cloud.of_kind("connection")) == 1
        chains = {chain["where"]: chain for chain in cloud.of_kind("chain")}
        assert {pop: len(chain["pairs"]) for pop, chain in chains.items()} == {"access": 3, "core": 2}
        assert (chains["core"]["source"], chains["core"]["destination"]) == ("100.64.0.10/32", "100.64.1.10/32")
        assert (chains["core"]["protocol"], chains["core"]["destination_port"]) == ("tcp", 80)
        ended = await platform.end(await platform.mano.lifecycle.terminate("web"))
        assert (ended.state, ended.error) == (OperationState.COMPLETED, "")
        assert cloud.objects == {}
        assert platform.host.running == {}
        assert (await platform.mano.instances.find("web")).record.state is NsState.TERMINATED
        assert len(cloud.creates) == len(set(cloud.creates))


async def test_the_stand_in_of_a_remote_neighbour_has_its_mac_and_address(tmp_path: Path) -> None:
    cloud = two_sites()
    split = {"managers/place.py": lambda state: {"mapping": {"va": "access", "vb": "access", "vc": "core"}}}
    async with TestPlatform(tmp_path, cloud, split) as platform:
        await platform.mano.catalogue.onboard(package(managers=(PLACER,)))
        await platform.end(await platform.mano.lifecycle.instantiate(REQUEST))
        ports = {o["tag"].partition("/port/")[2]: o for o in cloud.of_kind("port")}
        stand_in, real = ports["remote/access/vc/vdu-0/input"], ports["vc/vdu-0/input"]
        assert (stand_in["where"], real["where"]) == ("access", "core")
        assert (stand_in["mac"], stand_in["address"]) == (real["mac"], real["address"])
        chain = next(chain for chain in cloud.of_kind("chain") if chain["where"] == "access")
        assert chain["pairs"][-1] == [stand_in["id"], stand_in["id"]]


async def test_every_step_is_on_the_timeline_with_start_and_end(tmp_path: Path) -> None:
    async with TestPlatform(tmp_path, two_sites()) as platform:
        await platform.mano.catalogue.onboard(package())
        operation = await platform.mano.lifecycle.instantiate(REQUEST)
        await platform.end(operation)
        steps = await platform.timeline.steps(operation.id)
        names = [step.step for step in steps]
        assert names[0] == "validate"
        assert names[-1] == "store_records"
        assert {"deploy/va", "deploy/vb", "deploy/vc"} <= set(names)
        assert all(step.state in (StepState.DONE, StepState.SKIPPED) and step.ended_at for step in steps)


async def test_transient_errors_are_retried_and_each_attempt_is_told(tmp_path: Path) -> None:
    cloud = two_sites(faults={"core.ensure_port": [], "access.ensure_network": [TransientError("busy", answer="503")]})
    async with TestPlatform(tmp_path, cloud) as platform:
        await platform.mano.catalogue.onboard(package())
        split = InstantiateRequest("chain", "web", "users", "origin")
        operation = await platform.mano.lifecycle.instantiate(split)
        cloud.faults["core.ensure_network"] = [TransientError("busy", call="POST /networks", answer="503")]
        assert (await platform.end(operation)).state is OperationState.COMPLETED
        rows = [step for step in await platform.timeline.steps(operation.id) if step.step == "create_networks"]
        assert [(row.attempt, row.state) for row in rows] == [(1, StepState.FAILED), (2, StepState.DONE)]
        assert rows[0].answer == "503"


async def test_a_permanent_error_rolls_back_and_tells_the_cause(tmp_path: Path) -> None:
    fault = PermanentError("flavor refused", call="POST /servers", answer="400 bad flavor", hint="ask for less")
    cloud = two_sites(faults={"access.ensure_server": [fault], "core.ensure_server": [fault]})
    async with TestPlatform(tmp_path, cloud) as platform:
        await platform.mano.catalogue.onboard(package())
        operation = await platform.mano.lifecycle.instantiate(REQUEST)
        ended = await platform.end(operation)
        assert ended.state is OperationState.ROLLED_BACK
        assert "flavor refused" in ended.error
        assert ended.hint == "ask for less"
        assert cloud.objects == {}
        record = (await platform.mano.instances.find("web")).record
        assert record.state is NsState.ERROR
        assert "flavor refused" in record.error
        failed = [step for step in await platform.timeline.steps(operation.id) if step.state is StepState.FAILED]
        assert {(step.call, step.answer) for step in failed} == {("POST /servers", "400 bad flavor")}
        assert await platform.mano.lifecycle.terminate("web")


async def test_an_infrastructure_that_dies_midway_ends_in_a_clear_failure_and_can_be_cleaned_later(
    tmp_path: Path,
) -> None:
    cloud = two_sites()

    async def die(call: str) -> None:
        cloud.dead = cloud.dead or call.endswith("ensure_server")

    cloud.before_call = die
    async with TestPlatform(tmp_path, cloud) as platform:
        await platform.mano.catalogue.onboard(package())
        ended = await platform.end(await platform.mano.lifecycle.instantiate(REQUEST), 60)
        assert ended.state is OperationState.FAILED
        assert "does not answer" in ended.error
        assert "rollback is incomplete" in ended.error
        assert cloud.objects
        cloud.before_call, cloud.dead = None, False
        ended = await platform.end(await platform.mano.lifecycle.terminate("web"))
        assert ended.state is OperationState.COMPLETED
        assert cloud.objects == {}


async def test_a_service_that_fits_nowhere_is_refused_before_anything_is_made(tmp_path: Path) -> None:
    cloud = two_sites()
    async with TestPlatform(tmp_path, cloud) as platform:
        await platform.mano.catalogue.onboard(package(vcpus=9.0))
        ended = await platform.end(await platform.mano.lifecycle.instantiate(REQUEST))
        assert ended.state is OperationState.ROLLED_BACK
        assert "needs 9 vCPU" in ended.error
        assert cloud.creates == []


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ({"mapping": {"va": "moon", "vb": "core", "vc": "core"}}, "moon"),
        ({"mapping": {"va": "core"}}, "missing"),
        ({"nonsense": 1}, "unknown fields"),
        ({"mapping": 7}, "cannot be read"),
    ],
)
async def test_a_manager_that_answers_nonsense_is_refused_with_the_reason(
    tmp_path: Path, answer: dict[str, object], reason: str
) -> None:
    managers = {"managers/place.py": lambda state: answer}
    async with TestPlatform(tmp_path, two_sites(), managers) as platform:
        await platform.mano.catalogue.onboard(package(managers=(PLACER,)))
        await platform.end(await platform.mano.lifecycle.instantiate(REQUEST))
        placement = (await platform.mano.instances.find("web")).record.placement
        assert placement is not None
        assert placement.decided_by == "generic"
        assert "fallback, since manager `placer` failed" in placement.rule
        assert reason in placement.rule
        strict = PlacementPolicy("ssm", EventPolicy(fallback="fail"))
        request = InstantiateRequest("chain", "strict", "users", "origin", strict)
        ended = await platform.end(await platform.mano.lifecycle.instantiate(request))
        assert ended.state is OperationState.ROLLED_BACK
        assert reason in ended.error


async def test_generic_placement_on_request_does_not_ask_the_manager(tmp_path: Path) -> None:
    managers = {"managers/place.py": lambda state: {"mapping": {"va": "core", "vb": "core", "vc": "core"}}}
    async with TestPlatform(tmp_path, two_sites(), managers) as platform:
        await platform.mano.catalogue.onboard(package(managers=(PLACER,)))
        request = InstantiateRequest("chain", "web", "users", "origin", PlacementPolicy("generic"))
        await platform.end(await platform.mano.lifecycle.instantiate(request))
        placement = (await platform.mano.instances.find("web")).record.placement
        assert placement is not None
        assert placement.decided_by == "generic"
        assert platform.host.asked == []


async def test_a_manager_may_not_move_what_the_operator_pinned(tmp_path: Path) -> None:
    managers = {"managers/place.py": lambda state: {"mapping": {"va": "core", "vb": "core", "vc": "core"}}}
    async with TestPlatform(tmp_path, two_sites(), managers) as platform:
        await platform.mano.catalogue.onboard(package(managers=(PLACER,)))
        pinned = PlacementPolicy("auto", pinned={"va": "access"})
        operation = await platform.mano.lifecycle.instantiate(
            InstantiateRequest("chain", "web", "users", "origin", pinned)
        )
        await platform.end(operation)
        placement = (await platform.mano.instances.find("web")).record.placement
        assert placement is not None
        assert placement.mapping["va"] == "access"
        assert "VNF `va` is put in `core`, the operator has pinned it to `access`" in placement.rule
        assert operation.params["request"]["policy"]["pinned"] == {"va": "access"}


@pytest.mark.parametrize(("vnf", "pop", "told"), [("vx", "core", "no such VNF"), ("va", "moon", "no such VIM")])
async def test_pins_of_what_is_not_there_are_refused(tmp_path: Path, vnf: str, pop: str, told: str) -> None:
    cloud = two_sites()
    async with TestPlatform(tmp_path, cloud) as platform:
        await platform.mano.catalogue.onboard(package())
        policy = PlacementPolicy(pinned={vnf: pop})
        request = InstantiateRequest("chain", "web", "users", "origin", policy)
        ended = await platform.end(await platform.mano.lifecycle.instantiate(request))
        assert ended.state is OperationState.ROLLED_BACK
        assert told in ended.error
        assert cloud.objects == {}


async def test_one_operation_at_a_time_and_names_are_unique_among_live_instances(tmp_path: Path) -> None:
    cloud = two_sites(delay_s=0.02)
    async with TestPlatform(tmp_path, cloud) as platform:
        await platform.mano.catalogue.onboard(package())
        operation = await platform.mano.lifecycle.instantiate(REQUEST)
        with pytest.raises(Conflict, match="INSTANTIATING"):
            await platform.mano.lifecycle.terminate("web")
        with pytest.raises(Conflict, match="exists"):
            await platform.mano.lifecycle.instantiate(REQUEST)
        await platform.end(operation)
        await platform.end(await platform.mano.lifecycle.terminate("web"))
        with pytest.raises(Conflict, match="TERMINATED"):
            await platform.mano.lifecycle.terminate("web")
        await platform.end(await platform.mano.lifecycle.instantiate(REQUEST))


async def test_many_services_at_once_get_address_blocks_of_their_own(tmp_path: Path) -> None:
    cloud = two_sites()
    cloud.pops = {"access": (100, 10**6), "core": (100, 10**6)}
    async with TestPlatform(tmp_path, cloud) as platform:
        await platform.mano.catalogue.onboard(package())
        requests = [InstantiateRequest("chain", f"s{i}", "users", "origin") for i in range(5)]
        operations = [await platform.mano.lifecycle.instantiate(request) for request in requests]
        ended = [await platform.end(operation, 60) for operation in operations]
        assert {operation.state for operation in ended} == {OperationState.COMPLETED}
        blocks = [instance.block for instance in await platform.mano.instances.list()]
        assert len(set(blocks)) == 5


async def test_a_vim_that_refuses_for_capacity_is_told_as_such(tmp_path: Path) -> None:
    cloud = two_sites(faults={"access.ensure_server": [QuotaExceeded("no valid host")] * 9})
    cloud.faults["core.ensure_server"] = [QuotaExceeded("no valid host")] * 9
    async with TestPlatform(tmp_path, cloud) as platform:
        await platform.mano.catalogue.onboard(package())
        ended = await platform.end(await platform.mano.lifecycle.instantiate(REQUEST))
        assert ended.state is OperationState.ROLLED_BACK
        assert "no valid host" in ended.error
        assert cloud.objects == {}


async def test_a_manager_that_does_not_even_start_is_a_matter_of_policy(tmp_path: Path) -> None:
    async with TestPlatform(tmp_path, two_sites()) as platform:
        platform.host.start_error = ManagerError("it crashed at its start")
        await platform.mano.catalogue.onboard(package(managers=(PLACER,)))
        ended = await platform.end(await platform.mano.lifecycle.instantiate(REQUEST))
        assert ended.state is OperationState.COMPLETED
        placement = (await platform.mano.instances.find("web")).record.placement
        assert placement is not None
        assert "fallback, since manager `placer` failed: it crashed at its start" in placement.rule
        strict = PlacementPolicy("auto", EventPolicy(fallback="fail"))
        request = InstantiateRequest("chain", "strict", "users", "origin", strict)
        ended = await platform.end(await platform.mano.lifecycle.instantiate(request))
        assert ended.error == "step `start_managers` failed: it crashed at its start"
