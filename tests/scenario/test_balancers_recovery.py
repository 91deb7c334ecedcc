"""An emulation dies with load balancers in it: with the next start they serve again, and tell the truth until then."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.balancers import provider
from tests.scenario.clouds import boot, let_in, network_of, site
from tests.scenario.emu_command import Emu, kill, settle
from tests.scenario.test_emu_recovery import power_on
from tests.waiting import until

__all__ = ["provider"]  # fixture
pytestmark = [pytest.mark.root, pytest.mark.serial, pytest.mark.slow, pytest.mark.timeout(300)]
SERVE = "mkdir -p /www && cd /www && hostname > index.html && exec setsid python3 -m http.server 8080 >/dev/null 2>&1 &"


@pytest.fixture
def near(emu: Emu) -> Iterator[Any]:
    emu.up()
    cloud = site(emu.record(), "a")
    yield cloud
    cloud.close()


class Balanced:
    """A load balancer with a member that is watched, and a client."""

    def __init__(self, emu: Emu, cloud: Any, provider: str) -> None:
        self.emu, self.lbaas = emu, cloud.load_balancer
        network = network_of(cloud, "10.5.0.0/24", "10.5.0.10", "10.5.0.99")
        let_in(cloud, "tcp")
        self.member = boot(cloud, "member", network.id)
        boot(cloud, "client", network.id)
        self.serve()
        (subnet,) = (one.id for one in cloud.network.subnets(network_id=network.id))
        address = self.member.addresses["inner"][0]["addr"]
        watch = {"type": "HTTP", "delay": 1, "timeout": 1, "max_retries": 1, "max_retries_down": 1}
        if provider == "nftables":
            watch["type"] = "TCP"
        members = [{"name": "member", "address": address, "protocol_port": 8080}]
        pool = {"name": "p", "protocol": "TCP", "lb_algorithm": "ROUND_ROBIN", "members": members}
        listener = {"name": "l", "protocol": "TCP", "protocol_port": 80, "default_pool": {"name": "p"}}
        made = self.lbaas.create_load_balancer(
            name="lb",
            vip_subnet_id=subnet,
            provider=provider,
            pools=[{**pool, "healthmonitor": watch}],
            listeners=[listener],
        )
        self.id, self.address = made.id, made.vip_address

    def serve(self) -> None:
        """Let the member answer."""
        self.emu.ok("exec", "a/member", "--", "sh", "-c", SERVE)

    def statuses(self) -> tuple[str, ...]:
        """What is said of the load balancer, and of the member."""
        found = self.lbaas.get_load_balancer(self.id)
        (pool,) = self.lbaas.pools(loadbalancer_id=self.id)
        (member,) = self.lbaas.members(pool.id)
        return (found.provisioning_status, found.operating_status, member.operating_status)

    def answer(self) -> str:
        """What the client gets."""
        asked = f"http://{self.address}/"
        return self.emu.run("exec", "a/client", "--", "curl", "-s", "-m", "2", asked).stdout


SERVING = ("ACTIVE", "ONLINE", "ONLINE")


def test_balancers_serve_again_after_the_keeper_was_killed(emu: Emu, near: Any, provider: str) -> None:
    balanced = Balanced(emu, near, provider)
    until(balanced.statuses, SERVING)
    until(balanced.answer, "member\n")
    settle()
    kill(emu)

    footprint = emu.up()
    # Servers are off: the load balancer is there, and says that its member is not well.
    until(balanced.statuses, ("ACTIVE", "ERROR", "ERROR"))
    power_on(near, "client")
    assert balanced.answer() == ""
    power_on(near, "member")
    balanced.serve()
    until(balanced.statuses, SERVING)
    until(balanced.answer, "member\n")

    kill(emu)
    emu.up()
    power_on(near, "client", "member")
    balanced.serve()
    until(balanced.answer, "member\n")
    until(balanced.statuses, SERVING)
    emu.ok("down")
    assert footprint.leftovers() == []


def test_a_balancer_that_was_in_the_making_is_finished_or_in_error(emu: Emu, near: Any, provider: str) -> None:
    network = network_of(near, "10.5.0.0/24", "10.5.0.10", "10.5.0.99")
    (subnet,) = (one.id for one in near.network.subnets(network_id=network.id))
    made = near.load_balancer.create_load_balancer(name="lb", vip_subnet_id=subnet, provider=provider)
    settle()
    kill(emu)
    emu.up()
    found = near.load_balancer.find_load_balancer(made.id)
    if found is None:
        return  # it was not written down before the death: nobody was told more than PENDING_CREATE
    states: list[str] = []

    def state() -> bool:
        states.append(near.load_balancer.get_load_balancer(made.id).provisioning_status)
        return states[-1] in ("ACTIVE", "ERROR")

    until(state, True)
    near.load_balancer.delete_load_balancer(made.id)
    until(lambda: near.load_balancer.find_load_balancer(made.id), None)
