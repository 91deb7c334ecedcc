"""Somebody sets the machine's clock by a day, forth or back: what measures or waits does not notice."""

from __future__ import annotations

import struct
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import pytest
from tests.unit.emulator.conftest import TRIANGLE, World

import sonata.adapters.fabric_linux.link_watch as link_watch
from sonata.emulator.cloud.entities.identity import User
from sonata.emulator.cloud.identity import Identity
from sonata.emulator.cloud.identity.tokens import UNSCOPED
from sonata.emulator.cloud.tables import Tables
from sonata.emulator.contact import Contact
from sonata.emulator.emulation import Emulation
from sonata.emulator.observing.observation import Observation
from sonata.errors import Unauthorised

pytestmark = pytest.mark.anyio

DAY_S = 86_400.0


@dataclass
class Clock:
    """A clock that is set, beside one that is not."""

    now: float = 1_000_000.0
    gone_by: float = 500.0

    def unix(self) -> float:
        return self.now

    def steady(self) -> float:
        return self.gone_by

    def wait(self, seconds: float) -> None:
        self.now += seconds
        self.gone_by += seconds


@pytest.fixture
def set_by(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[float], None]]:
    """Set the clock of this process alone, from what it shows."""
    usual, usual_ns = time.time, time.time_ns

    def change(seconds: float) -> None:
        monkeypatch.setattr(time, "time", lambda: usual() + seconds)
        monkeypatch.setattr(time, "time_ns", lambda: usual_ns() + int(seconds * 1e9))

    yield change
    monkeypatch.undo()


@pytest.mark.parametrize("step_s", [DAY_S, -DAY_S, 0.0])
async def test_the_history_of_metrics_goes_on(triangle: Emulation, step_s: float) -> None:
    clock = Clock()
    observation = Observation(triangle, triangle._plane, clock=clock.unix, steady=clock.steady)
    for _ in range(3):
        await observation.record()
        clock.wait(5.0)
    clock.now += step_s
    await observation.record()
    answer = observation.query('count_over_time(sonata_link_up{link="ab"}[1m])')
    assert answer.at == clock.now
    assert isinstance(answer.value, list)
    assert {element.value for element in answer.value} == {4.0}
    assert observation.history.reach_s == 15.0


@pytest.mark.parametrize("step_s", [DAY_S, -DAY_S])
async def test_who_is_cut_off_stays_so(world: World, set_by: Callable[[float], None], step_s: float) -> None:
    emulation = world.emulation(replace(TRIANGLE, endpoints={}))
    await emulation.start()
    contact = Contact(emulation.links, "a")
    for link in ("ab", "ac"):
        await emulation.links.set(link, {}, up=False)
    set_by(step_s)
    assert not contact.reaches("c")
    assert contact.heard_of("c") <= time.time()
    await emulation.links.set("ac", {}, up=True)
    assert contact.reaches("c")
    await emulation.close()


async def test_tokens_live_by_the_clock_and_a_new_password_works_at_once(set_by: Callable[[float], None]) -> None:
    tables = Tables()
    identity = Identity(tables)
    user = identity.directory.create_user(User(name="ann"))
    before, _ = identity.tokens.issue(user, UNSCOPED, ("password",))
    set_by(DAY_S)
    with pytest.raises(Unauthorised):
        identity.tokens.check(before)
    identity.directory.update_user(user.id, password_hash="new")
    set_by(0.0)
    user = tables.users.get(user.id)
    after, _ = identity.tokens.issue(user, UNSCOPED, ("password",))
    assert identity.tokens.check(after).user == user
    with pytest.raises(Unauthorised):
        identity.tokens.check(before)


@pytest.mark.parametrize("step_s", [DAY_S, -DAY_S])
def test_delays_are_measured_by_the_steady_clock(set_by: Callable[[float], None], step_s: float) -> None:
    set_by(step_s)
    sent_ns, arrived_ns = time.monotonic_ns(), time.time_ns() + 20_000_000
    stamp = struct.pack("=qq", *divmod(arrived_ns, 1_000_000_000))
    measured_ns = link_watch._arrival_ns([(0, link_watch._SO_TIMESTAMPNS, stamp)]) - sent_ns
    assert measured_ns == pytest.approx(20_000_000, abs=5_000_000)
