"""The emulator's own API over HTTP: who may, what comes back, and how refusals look."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator
from ipaddress import IPv4Network

import httpx
import pytest
from tests.unit.emulator.conftest import World, no_scenarios, observed

from sonata.api.emulator.app import emulator_app
from sonata.api.openstack import openstack_description
from sonata.emulator.cloud.entities.network import Network, Subnet
from sonata.emulator.emulation import Emulation
from sonata.emulator.reconciler import Reconciler

pytestmark = pytest.mark.anyio


@pytest.fixture
async def http(triangle: Emulation) -> AsyncIterator[httpx.AsyncClient]:
    app = emulator_app(
        triangle,
        Reconciler(triangle),
        no_scenarios(triangle),
        observed(triangle),
        token="all",
        wan_token="wan",
        describe_openstack=lambda: openstack_description(["a"]),
    )
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(
        transport=transport, base_url="http://emulator", headers={"Authorization": "Bearer all"}
    ) as client:
        yield client


async def test_every_path_asks_for_a_token(http: httpx.AsyncClient) -> None:
    own = (
        "/metrics",
        "/rules",
        "/query?query=1",
        "/status",
        "/topology",
        "/definition",
        "/links",
        "/endpoints",
        "/machines",
        "/openstack/openapi.json",
    )
    for path in (*own, "/wan/graph", "/wan/connections"):
        assert (await http.get(path)).status_code == 200
        for wrong in ("", "Bearer ", "Bearer al", "Bearer allx", "Basic all"):
            refused = await http.get(path, headers={"Authorization": wrong})
            assert (refused.status_code, refused.headers["www-authenticate"]) == (401, "Bearer"), (path, wrong)
        opened = (await http.get(path, headers={"Authorization": "Bearer wan"})).status_code
        assert opened == (200 if path.startswith("/wan/") else 401)


async def test_the_description_of_the_pops_tells_paths_bodies_and_what_is_real(http: httpx.AsyncClient) -> None:
    told = (await http.get("/openstack/openapi.json")).json()
    assert (told["openapi"], told["servers"][0]["variables"]["pop"]["enum"]) == ("3.1.0", ["a"])
    create = told["paths"]["/network/v2.0/networks"]["post"]
    assert "mtu" in str(create["requestBody"])
    tags = {tag["name"]: tag["description"] for tag in told["tags"]}
    assert "refused: " in tags[told["paths"]["/network/v2.0/routers"]["get"]["tags"][0]]


async def test_a_link_is_changed_in_the_fields_that_are_given(http: httpx.AsyncClient, world: World) -> None:
    assert (await http.patch("/links/bc", json={"loss": 0.5, "up": False})).status_code == 204
    link = {link["name"]: link for link in (await http.get("/links")).json()}["bc"]
    shown = {key: value for key, value in link["impairment"].items() if value}
    assert shown == {"delay_s": 0.01, "loss": 0.5, "rate_bps": 100e6}
    assert (link["a"], link["b"], link["up"]) == ("b", "c", False)
    assert (await http.patch("/links/bc", json={"rate_bps": None})).status_code == 204
    assert world.underlay.links["bc"].impairment.rate_bps is None


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (b'{"loss": 2}', "loss"),
        (b'{"los": 0.1}', "los"),
        (b'{"delay_s": "20ms"}', "delay_s"),
        (b"{", "request body"),
        (b"\xff\x00", "request body"),
        (b"", "request body"),
    ],
)
async def test_a_wrong_body_is_a_problem_that_names_the_place(http: httpx.AsyncClient, body: bytes, told: str) -> None:
    refused = await http.patch("/links/bc", content=body)
    assert refused.status_code == 400
    assert refused.headers["content-type"] == "application/problem+json"
    problem = refused.json()
    assert (problem["status"], problem["code"], problem["title"]) == (400, "SONATA-0002", "InvalidInput")
    assert told in problem["detail"]


async def test_what_does_not_exist_is_a_problem_too(http: httpx.AsyncClient) -> None:
    for method, path in (("PATCH", "/links/xy"), ("GET", "/machines/xy/counters"), ("DELETE", "/wan/connections/xy")):
        answer = await http.request(method, path, json={})
        assert (answer.status_code, answer.json()["code"]) == (404, "SONATA-0003")
    assert (await http.get("/nothing")).json()["status"] == 404
    assert (await http.delete("/status")).status_code == 405


async def test_commands_run_and_counters_are_counted(http: httpx.AsyncClient) -> None:
    body = {"name": "users", "argv": ["cat"], "stdin": base64.b64encode(b"\x00\xff").decode()}
    answer = (await http.post("/exec", json=body)).json()
    assert (answer["status"], base64.b64decode(answer["stdout"])) == (0, b"cat\x00\xff")
    assert (await http.post("/exec", json={"name": "users", "argv": []})).status_code == 400
    lines = (await http.post("/exec", json=body | {"stream": True})).text.splitlines()
    assert [json.loads(line) for line in lines] == [{"stdout": answer["stdout"]}, {"status": 0}]
    (line,) = (await http.post("/exec", json=body | {"stream": True, "name": "nobody"})).text.splitlines()
    assert json.loads(line)["error"]["code"] == "SONATA-0003"
    counters = (await http.get("/machines/users/counters")).json()
    assert counters == {"access-users": {"rx_packets": 1, "rx_bytes": 60, "tx_packets": 2, "tx_bytes": 120}}


async def test_captures_are_asked_for_a_sane_time(http: httpx.AsyncClient) -> None:
    for seconds in ("0", "-1", "nan", "x", "99999"):
        assert (await http.get("/links/ab/capture", params={"seconds": seconds})).status_code == 400
    assert (await http.get("/links/ab/capture", params={"seconds": "0.05"})).content[:4] == b"\xd4\xc3\xb2\xa1"


async def test_a_plan_is_told_and_carried_out(http: httpx.AsyncClient, world: World) -> None:
    topology = (await http.get("/topology")).json()
    assert (await http.put("/topology", json=topology)).json()["changes"] == []
    topology["pops"]["d"] = {"name": "d"}
    topology["links"].append({"name": "cd", "a": "c", "b": "d"})
    planned = (await http.put("/topology", params={"dry_run": "true"}, json=topology)).json()
    assert [(row["action"], row["kind"], row["name"]) for row in planned["changes"]] == [
        ("add", "pop", "d"),
        ("add", "link", "cd"),
    ]
    assert (planned["applied"], set(world.underlay.pops)) == (False, {"a", "b", "c"})
    done = (await http.put("/topology", json=topology)).json()
    assert (done["applied"], done["changes"]) == (True, planned["changes"])
    assert set(world.underlay.pops) == {"a", "b", "c", "d"}
    assert set((await http.get("/topology")).json()["pops"]) == {"a", "b", "c", "d"}


async def test_the_definition_tells_links_as_they_are(http: httpx.AsyncClient) -> None:
    await http.patch("/links/bc", json={"up": False, "loss": 0.5})
    told = (await http.get("/definition", params={"servers": "true"})).json()
    (link,) = [link for link in told["topology"]["links"] if link["name"] == "bc"]
    assert (link["up"], link["impairment"]["loss"], told["left_out"]) == (False, 0.5, [])
    assert (await http.get("/definition", params={"servers": "1"})).status_code == 400


@pytest.mark.parametrize(
    ("place", "value", "told"),
    [
        (("pops", "../../etc"), {"name": "../../etc"}, "cannot be a name"),
        (("pops", "x"), {"name": "y"}, "`y`"),
        (("pops", "a"), {"name": "a", "cpus": 0}, "not positive"),
        (("pops", "a"), {"name": "a", "cpu_oversubscription": 0.5}, "oversubscription"),
        (("pops",), {}, "no PoP"),
        (("links",), [{"name": "x", "a": "a", "b": "nowhere"}], "`nowhere`"),
        (("links",), [{"name": "x", "a": "a", "b": "b", "impairment": {"delay_s": 60}}], "0..10 s"),
        (("links",), "ab", "cannot read"),
        (("endpoints", "e"), {"name": "e", "attach": "a", "interfaces": {"../e": None}}, "cannot be a name"),
    ],
)
async def test_a_topology_with_flaws_changes_nothing(
    http: httpx.AsyncClient, world: World, place: tuple[str, ...], value: object, told: str
) -> None:
    topology = (await http.get("/topology")).json()
    within = topology
    for key in place[:-1]:
        within = within[key]
    within[place[-1]] = value
    refused = await http.put("/topology", json=topology)
    assert refused.status_code == 400
    assert told in refused.json()["detail"]
    assert set(world.underlay.pops) == {"a", "b", "c"}


async def test_what_cannot_be_done_is_a_conflict_with_all_reasons(http: httpx.AsyncClient) -> None:
    topology = (await http.get("/topology")).json()
    topology["name"] = "other"
    topology["pops"]["c"]["managed_by"] = "a"
    refused = await http.put("/topology", json=topology)
    assert refused.status_code == 409
    assert "`other`" in refused.json()["detail"]
    assert "PoP `c`" in refused.json()["detail"]


async def test_paths_and_networks_are_told_to_those_who_join_them(http: httpx.AsyncClient, triangle: Emulation) -> None:
    inner = await triangle.clouds["a"].networks.create(Network(name="inner"))
    far = await triangle.clouds["c"].networks.create(Network(name="inner"))
    await triangle.clouds["a"].networks.create_subnet(Subnet(network_id=inner.id, cidr=IPv4Network("10.1.0.0/24")))
    wanted = {"tag": "gold", "members": {"a": inner.id, "c": far.id}, "rate_bps": 60e6}
    assert (await http.post("/wan/connections", json=wanted)).status_code == 201
    networks = {row["id"]: row for row in (await http.get("/wan/networks")).json()}
    assert networks[inner.id] == {
        "pop": "a",
        "id": inner.id,
        "name": "inner",
        "cidrs": ["10.1.0.0/24"],
        "connection": "gold",
    }
    assert "external" not in {row["name"] for row in networks.values()}
    for ends in ({"from": "a", "to": "c"}, {"from": "users", "to": "origin"}):
        path = (await http.get("/wan/paths", params=ends)).json()
        assert [(hop["link"], hop["direction"]["origin"]) for hop in path["hops"]] == [("ab", "a"), ("bc", "b")]
        assert (path["origin"], path["delay_s"], path["rate_bps"], path["available_bps"]) == ("a", 0.02, 100e6, 40e6)
    assert (await http.get("/wan/paths", params={"from": "a"})).status_code == 400
    assert (await http.get("/wan/paths", params={"from": "a", "to": "x"})).status_code == 404
    for link in ("ab", "ac"):
        await triangle.links.set(link, {}, up=False)
    assert (await http.get("/wan/paths", params={"from": "a", "to": "c"})).status_code == 409
