"""What happens is told: to those who ask later, to those who wait, and with what is not kept any more counted."""

from __future__ import annotations

import asyncio
import json
from contextlib import suppress

import httpx
import pytest
from tests.unit.emulator.conftest import no_scenarios, observed

from sonata.api.emulator.app import emulator_app
from sonata.emulator.cloud.entities.network import Network
from sonata.emulator.emulation import Emulation
from sonata.emulator.events import AT_ONCE, MISSED, Event, EventLog
from sonata.emulator.reconciler import Reconciler

pytestmark = pytest.mark.anyio


def test_events_are_numbered_and_the_older_ones_are_counted_when_they_are_gone() -> None:
    log = EventLog(kept=3, clock=lambda: 7.0)
    for number in range(5):
        log.tell("link.changed", f"l{number}")
    assert log.after(3) == [Event(4, 7.0, "link.changed", "l3"), Event(5, 7.0, "link.changed", "l4")]
    assert log.after(5) == []
    missed, *rest = log.after(0)
    assert (missed.number, missed.kind, missed.detail) == (2, MISSED, {"count": 2})
    assert [event.number for event in rest] == [3, 4, 5]


async def test_every_watcher_sees_each_event_once_however_slow_it_is() -> None:
    log = EventLog()
    seen: dict[float, list[int]] = {0.0: [], 0.002: []}

    async def watch(pause_s: float) -> None:
        async for events in log.follow(0):
            seen[pause_s].extend(event.number for event in events)
            await asyncio.sleep(pause_s)

    watchers = [asyncio.create_task(watch(pause_s)) for pause_s in seen]
    for _ in range(20):
        log.tell("routes.changed", "")
        await asyncio.sleep(0.001)
    async with asyncio.timeout(5):
        while any(len(numbers) < 20 for numbers in seen.values()):
            await asyncio.sleep(0.001)
    for watcher in watchers:
        watcher.cancel()
        with suppress(asyncio.CancelledError):
            await watcher
    assert all(numbers == list(range(1, 21)) for numbers in seen.values())


async def test_a_watcher_that_goes_away_gets_no_more_of_many_events() -> None:
    log, got = EventLog(), 0
    for _ in range(5 * AT_ONCE):
        log.tell("routes.changed", "")

    async def watch() -> None:
        nonlocal got
        async for events in log.follow(0):
            got += len(events)

    watcher = asyncio.create_task(watch())
    await asyncio.sleep(0)
    watcher.cancel()
    with suppress(asyncio.CancelledError):
        await watcher
    assert got == AT_ONCE


async def test_a_link_a_network_and_an_endpoint_tell_what_becomes_of_them(triangle: Emulation) -> None:
    start = triangle.events.last
    await triangle.links.set("ab", {"loss": 0.5}, up=False)
    await triangle.links.set("ab", {"loss": 0.5}, up=False)
    networks = triangle.clouds["a"].tables.networks
    networks.add(Network(id="n1", project_id="p1", name="inner"))
    networks.change("n1", name="outer")
    networks.remove("n1")
    networks.remove("n1")
    events = {event.kind: event for event in triangle.events.after(start)}
    assert list(events) == ["link.changed", "routes.changed", "network.created", "network.deleted"]
    assert len(triangle.events.after(start)) == len(events)
    changed = events["link.changed"]
    assert (changed.subject, changed.detail["impairment"].loss, changed.detail["up"]) == ("ab", 0.5, False)
    assert (changed.detail["was"]["impairment"].loss, changed.detail["was"]["up"]) == (0.0, True)
    assert (events["network.created"].subject, events["network.deleted"].subject) == ("a/inner", "a/outer")
    assert events["network.deleted"].detail == {"id": "n1", "project_id": "p1"}


async def test_events_are_asked_for_by_number_and_kind(triangle: Emulation) -> None:
    app = emulator_app(
        triangle,
        Reconciler(triangle),
        no_scenarios(triangle),
        observed(triangle),
        token="all",
        wan_token="wan",
        describe_openstack=dict,
    )
    headers = {"Authorization": "Bearer all"}
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app), base_url="http://emulator", headers=headers
    ) as http:
        everything = (await http.get("/events")).json()
        assert [event["number"] for event in everything] == list(range(1, len(everything) + 1))
        assert everything[-1]["kind"] == "emulation.started"
        await triangle.links.set("ab", {"delay_s": 0.02})
        query = {"after": everything[-1]["number"], "kind": ["link.", "server."]}
        (changed,) = (await http.get("/events", params=query)).json()
        assert (changed["subject"], changed["detail"]["impairment"]["delay_s"]) == ("ab", 0.02)
        assert (await http.get("/events", params={"kind": "linkx"})).json() == []
        for wrong in ("-1", "x", "1.5", "٣"):
            refused = await http.get("/events", params={"after": wrong})
            assert (refused.status_code, json.loads(refused.text)["title"]) == (400, "InvalidInput")
