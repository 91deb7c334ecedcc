"""Metrics over HTTP: a parser of Prometheus reads them, and they tell what stands."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import httpx
import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as read_openmetrics
from prometheus_client.parser import text_string_to_metric_families as read_prometheus
from tests.unit.emulator.conftest import TRIANGLE, World, no_scenarios, observed

from sonata.api.emulator.app import emulator_app
from sonata.emulator.cloud.entities.network import Network
from sonata.emulator.emulation import Emulation
from sonata.emulator.observing.families import FAMILIES
from sonata.emulator.observing.observation import Observation
from sonata.emulator.observing.sheet import Sheet
from sonata.emulator.reconciler import Reconciler
from sonata.formats.exposition import exposition
from sonata.managers.state import Demand
from sonata.managers.testing import placement_state
from sonata.model.figures import Cost, Energy, Noise
from sonata.model.infrastructure import PopFigures
from sonata.model.metrics import Family, Point
from sonata.model.topology import Pop, ServerSeed

pytestmark = pytest.mark.anyio

POPS = {
    "a": Pop("a", cost=Cost(0.5, 0.25), energy=Energy(100, 20), noise=Noise(0.5, 1024**2)),
    "b": Pop("b", cpus=4, cpu_oversubscription=2.0),
    "c": Pop("c"),
}
BUSY = replace(TRIANGLE, pops=POPS, servers={"cache": ServerSeed("cache", "a", image="web")})


@pytest.fixture
async def observation(world: World, anyio_backend: str) -> AsyncIterator[Observation]:
    emulation = world.emulation(BUSY)
    await emulation.start()
    yield observed(emulation)
    await emulation.close()


@pytest.fixture
async def http(observation: Observation) -> AsyncIterator[httpx.AsyncClient]:
    emulation: Emulation = observation._emulation
    app = emulator_app(
        emulation,
        Reconciler(emulation),
        no_scenarios(emulation),
        observation,
        token="all",
        wan_token="wan",
        describe_openstack=dict,
    )
    headers = {"Authorization": "Bearer all"}
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app), base_url="http://emulator", headers=headers
    ) as client:
        yield client


async def samples(http: httpx.AsyncClient) -> dict[tuple[str, str], float]:
    """Values by name and labels."""
    text = (await http.get("/metrics")).text
    found = {}
    for family in read_prometheus(text):
        for one in family.samples:
            found[one.name, ",".join(f"{k}={v}" for k, v in sorted(one.labels.items()) if k != "id")] = one.value
    return found


async def test_all_that_stands_is_told_in_both_formats(http: httpx.AsyncClient) -> None:
    answer = await http.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    families = {family.name: family for family in read_prometheus(answer.text)}
    kinds = {one.name: one.kind for one in FAMILIES}
    for name, family in families.items():
        declared = kinds.get(name) or kinds[f"{name}_total"]  # the parser takes the suffix off
        assert (family.type, bool(family.samples), bool(family.documentation)) == (declared, True, True)
    answer = await http.get("/metrics", headers={"Accept": "application/openmetrics-text; version=1.0.0"})
    assert answer.headers["content-type"].startswith("application/openmetrics-text")
    assert {family.name for family in read_openmetrics(answer.text)} == families.keys()


async def test_servers_interfaces_links_and_pops_have_their_values(http: httpx.AsyncClient) -> None:
    found = await samples(http)
    project = next(labels for name, labels in found if name == "sonata_vnf_up").split(",")[1]
    server = f"pop=a,{project},server=cache"
    assert found["sonata_vnf_up", server] == 1
    assert found["sonata_vnf_cpu_seconds_total", server] == 1.5
    assert found["sonata_vnf_memory_bytes", server] == 1024**2
    interface = f"interface=eth0,machine=a/cache,pop=a,{project}"
    assert found["sonata_interface_receive_bytes_total", interface] == 60
    assert found["sonata_interface_transmit_drops_total", interface] == 4
    assert found["sonata_interface_receive_packets_total", "interface=eth0,machine=users,pop=a"] == 1
    assert found["sonata_endpoint_up", "endpoint=origin,pop=c"] == 1
    assert found["sonata_link_delay_seconds", "link=ab,source=b,target=a"] == 0.01
    assert found["sonata_link_rate_bits_per_second", "link=bc,source=b,target=c"] == 100e6
    assert ("sonata_link_rate_bits_per_second", "link=ab,source=a,target=b") not in found
    assert found["sonata_link_sent_bytes_total", "link=ab,source=a,target=b"] == 120
    assert found["sonata_link_delivered_bytes_total", "link=ab,source=a,target=b"] == 60
    assert (found["sonata_pop_cpus", "pop=b"], found["sonata_pop_vcpus", "pop=b"]) == (4, 8)
    assert found["sonata_pop_vcpus_used", "pop=a"] == 1
    assert found["sonata_pop_cpu_seconds_total", "pop=a"] == 3.0  # the server and the noise
    assert found["sonata_events_total", "kind=server.created"] == 1


async def test_a_link_that_is_changed_is_told_as_it_is_now(http: httpx.AsyncClient) -> None:
    await http.patch("/links/ab", json={"loss": 0.25, "from": "b", "up": False})
    found = await samples(http)
    assert found["sonata_link_loss_ratio", "link=ab,source=b,target=a"] == 0.25
    assert found["sonata_link_loss_ratio", "link=ab,source=a,target=b"] == 0
    assert found["sonata_link_up", "link=ab,source=a,target=b"] == 0


async def test_what_is_promised_to_connections_is_told(http: httpx.AsyncClient, observation: Observation) -> None:
    clouds = observation._emulation.clouds
    members = {pop: (await clouds[pop].networks.create(Network(name="inner"))).id for pop in "ac"}
    wanted = {"tag": "gold", "members": members, "rate_bps": 60e6}
    assert (await http.post("/wan/connections", json=wanted)).status_code == 201
    found = await samples(http)
    assert found["sonata_link_reserved_bits_per_second", "link=bc,source=c,target=b"] == 60e6
    assert ("sonata_link_reserved_bits_per_second", "link=ac,source=a,target=c") not in found
    told = {
        name.removeprefix("sonata_connection_"): value
        for (name, labels), value in found.items()
        if labels == "connection=gold"
    }
    assert told == {"up": 1, "kept": 1, "rate_bits_per_second": 60e6, "delay_seconds": 0.02, "price_per_hour": 0}
    await http.patch("/links/bc", json={"rate_bps": 50e6, "force": True})
    found = await samples(http)
    assert [found[f"sonata_connection_{name}", "connection=gold"] for name in ("up", "kept")] == [1, 0]
    for link in ("ab", "ac"):
        await http.patch(f"/links/{link}", json={"up": False})
    assert (await samples(http))["sonata_connection_up", "connection=gold"] == 0


async def test_cost_and_energy_follow_from_figures_and_use(observation: Observation) -> None:
    read = observation._sites._meters
    await observation.read()
    meter = read["a"]
    price = 0.5 * 1 + 0.25 / 16  # tiny: one virtual core, 64 MiB
    assert meter.per_hour == pytest.approx(price, rel=0.01)
    claimed = observation._emulation.clouds["a"].usage
    meter.read(POPS["a"], meter.at + 3600, meter.cpu_s + 1800, claimed)
    assert meter.cost == pytest.approx(price, rel=0.01)
    assert meter.watts == pytest.approx(100 + 20 * 0.5)
    assert POPS["a"].energy.joules(3600, 1800) == 100 * 3600 + 20 * 1800


async def test_the_meter_of_a_pop_that_is_gone_is_gone(observation: Observation) -> None:
    await observation.read()
    emulation = observation._emulation
    topology = emulation.topology
    links = tuple(link for link in topology.links if "c" not in (link.a, link.b))
    ends = {name: one for name, one in topology.endpoints.items() if one.attach != "c"}
    pops = {name: pop for name, pop in topology.pops.items() if name != "c"}
    await Reconciler(emulation).apply(replace(topology, pops=pops, links=links, endpoints=ends))
    await observation.read()
    assert set(observation._sites._meters) == {"a", "b"}


async def test_figures_are_told_to_placement(http: httpx.AsyncClient) -> None:
    figures = (await http.get("/wan/graph")).json()["figures"]
    assert figures == {
        "a": {"cost": {"cpu_hour": 0.5, "memory_gib_hour": 0.25}, "energy": {"idle_watts": 100, "watts_per_cpu": 20}}
    }
    assert (await http.get("/topology")).json()["pops"]["a"]["noise"] == {"cpus": 0.5, "memory_bytes": 1024**2}
    known = {name: PopFigures(Cost(**one["cost"])) for name, one in figures.items()}
    state = placement_state(vnfs={"cache": Demand(2.0, 2048)}, delays={("a", "b"): 0.01}, figures=known)
    assert (state.cost_per_hour("a", "cache"), state.cost_per_hour("b", "cache")) == (2 * 0.5 + 2 * 0.25, 0)


async def test_pops_are_limited_to_what_they_declare_and_noise_is_within(world: World, http: httpx.AsyncClient) -> None:
    limits = world.runtime.groups["b"]
    assert (limits.cpus, limits.memory_bytes, limits.cpu_shares) == (4, POPS["b"].memory_bytes, 4 * 1024)
    noise = world.runtime.running["noise-a"].spec
    assert (noise.group, noise.limits.cpus, "1048576" in noise.argv[2]) == ("a", 0.5, True)
    (server,) = [one.spec for one in world.runtime.running.values() if one.spec.hostname == "cache"]
    assert (server.group, server.limits.cpu_shares) == ("a", 1024)


async def test_requests_are_counted_by_service(observation: Observation, http: httpx.AsyncClient) -> None:
    for seconds in (0.0004, 0.003, 0.003, 60):
        observation.requests.note("compute", seconds)
    found = await samples(http)
    bucket = {
        le: found["sonata_api_request_duration_seconds_bucket", f"le={le},service=compute"]
        for le in ("0.001", "0.005", "10.0", "+Inf")
    }
    assert bucket == {"0.001": 1, "0.005": 3, "10.0": 3, "+Inf": 4}
    assert found["sonata_api_request_duration_seconds_count", "service=compute"] == 4


async def test_links_are_measured_when_somebody_asks_for_it(http: httpx.AsyncClient, world: World) -> None:
    assert not any("measured" in name for name, _ in await samples(http))
    assert (await http.put("/watch", json={"every_s": 0.5})).status_code == 204
    assert world.fabric.metering.followed == (["ab", "ac", "access-origin", "access-users", "bc"], 0.5)
    found = await samples(http)
    assert found["sonata_link_measured_delay_seconds", "link=ab,source=a,target=b,window=10s"] == 0.0125
    assert found["sonata_link_measured_loss_ratio", "link=ab,source=b,target=a,window=10s"] == 0.25
    assert ("sonata_link_measured_loss_ratio", "link=ab,source=b,target=a,window=60s") not in found
    for wrong in (0.01, 100, "soon"):
        assert (await http.put("/watch", json={"every_s": wrong})).status_code == 400
    assert (await http.get("/watch")).json() == {"every_s": 0.5}
    assert (await http.put("/watch", json={"every_s": None})).status_code == 204
    assert world.fabric.metering.followed[0] == []
    assert not any("measured" in name for name, _ in await samples(http))


async def test_the_first_question_is_answered_before_the_first_even_time(http: httpx.AsyncClient) -> None:
    for _ in range(2):
        answer = (await http.get("/query", params={"query": 'count_over_time(sonata_link_up{link="ab"}[1m])'})).json()
        assert {row["value"] for row in answer["result"]} == {"1.0"}


async def test_rules_are_recorded_and_told(observation: Observation, http: httpx.AsyncClient) -> None:
    rules = """
groups:
  - name: capacity
    interval: 5s
    rules:
      - {record: "pop:vcpus:free", expr: "sonata_pop_vcpus - sonata_pop_vcpus_used", labels: {team: blue}}
      - {record: "all:vcpus:free", expr: 'sum("pop:vcpus:free")'}
""".replace("'sum(\"pop:vcpus:free\")'", "'sum({__name__=\"pop:vcpus:free\"})'")
    assert (await http.put("/rules", content=rules)).status_code == 204
    await observation.record()
    found = await samples(http)
    assert found["pop:vcpus:free", "pop=b,team=blue"] == 8
    assert found["all:vcpus:free", ""] == 15 + 8 + 16
    answer = (await http.get("/query", params={"query": "pop:vcpus:free{pop='a'}"})).json()
    (row,) = answer["result"]
    assert (row["name"], row["labels"], float(row["value"])) == ("pop:vcpus:free", {"pop": "a", "team": "blue"}, 15)
    assert (await http.get("/rules")).text == rules
    wrong = await http.put("/rules", content="groups: [{name: x, rules: [{record: 'a b', expr: '1'}]}]")
    assert (wrong.status_code, "a b" in wrong.json()["detail"]) == (400, True)
    assert (await http.get("/rules")).text == rules
    assert (await http.put("/rules", content="")).status_code == 204
    assert ("all:vcpus:free", "") not in await samples(http)


@pytest.mark.parametrize(
    ("query", "status", "told"),
    [
        ("", 400, "missing"),
        ("sum(", 400, "unclosed"),
        ("foo offset 5m", 501, "offset"),
        ("topk(3, foo)", 501, "topk"),
        ("a + on(x) b", 501, "matching"),
    ],
)
async def test_what_is_not_understood_is_refused(http: httpx.AsyncClient, query: str, status: int, told: str) -> None:
    answer = await http.get("/query", params={"query": query})
    assert (answer.status_code, told in answer.json()["detail"]) == (status, True), answer.text


def test_text_is_escaped_and_numbers_are_written_as_go_does() -> None:
    family = Family("odd", "gauge", 'a "help"\nwith \\ lines', ("name",))
    points = [
        Point((("name", 'a"b\\c\nd'),), float("inf")),
        Point((("name", "x"),), 1e300),
        Point((("name", "y"),), 0.1),
        Point((("name", "é"),), -float("inf")),
    ]
    for openmetrics, parse in ((False, read_prometheus), (True, read_openmetrics)):
        (found,) = parse(exposition({family: points}, openmetrics=openmetrics))
        assert [(one.labels["name"], one.value) for one in found.samples] == [
            (dict(point.labels)["name"], point.value) for point in points
        ]
        assert found.documentation == family.help


async def test_links_are_watched_no_more_once_that_is_over(observation: Observation, world: World) -> None:
    watcher = observation.watcher
    await watcher.set(0.5)
    await asyncio.gather(watcher.read(Sheet()), watcher.set(None))
    assert world.fabric.metering.followed[0] == []
