"""The northbound API as a client sees it: ASGI in process, real store and workflows, fake cloud."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from tests.fakes.platform import TestPlatform
from tests.fakes.services import PLACER, package, two_sites

from sonata.api.northbound import northbound_app

pytestmark = pytest.mark.anyio
TOKEN = "t0ken"
VIM = {"name": "edge", "endpoint": "http://edge", "username": "u", "password": "hush-hush", "project": "p"}


@pytest.fixture
async def platform(tmp_path: Path) -> AsyncIterator[TestPlatform]:
    async with TestPlatform(tmp_path, two_sites()) as running:
        yield running


@pytest.fixture
async def client(platform: TestPlatform) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(northbound_app(platform.mano, TOKEN))
    headers = {"Authorization": f"Bearer {TOKEN}"}
    async with httpx.AsyncClient(transport=transport, base_url="http://sonata/api/v3", headers=headers) as opened:
        yield opened


async def onboard(client: httpx.AsyncClient, archive: bytes | None = None) -> httpx.Response:
    return await client.post("/packages", files={"package": ("cdn.tgo", archive or package(), "application/zip")})


async def run(client: httpx.AsyncClient, **body: object) -> dict[str, object]:
    answer = await client.post("/requests", json=body)
    assert answer.status_code == 201, answer.text
    async with client.stream("GET", f"/operations/{answer.json()['id']}/events") as events:
        async for _ in events.aiter_lines():
            pass
    return dict((await client.get(f"/operations/{answer.json()['id']}")).json())


@pytest.mark.parametrize("token", [None, "", "wrong", TOKEN + "x"])
async def test_without_the_right_token_nothing_is_told(client: httpx.AsyncClient, token: str | None) -> None:
    del client.headers["Authorization"]
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    for path in ("/status", "/packages", "/vims", "/operations", "/records/services", "/settings/vims"):
        answer = await client.get(path, headers=headers)
        assert answer.status_code == 401
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.headers["www-authenticate"] == "Bearer"


async def test_a_package_is_on_boarded_once_and_its_change_is_refused(client: httpx.AsyncClient) -> None:
    first = await onboard(client)
    assert first.status_code == 201
    assert first.headers["location"] == f"/api/v3/packages/{first.json()['uuid']}"
    again = await onboard(client)
    assert (again.status_code, again.json()["uuid"]) == (200, first.json()["uuid"])
    other = await onboard(client, package(vcpus=2.0))
    assert other.status_code == 409
    assert "other content" in other.json()["detail"]
    assert [p["name"] for p in (await client.get("/packages")).json()] == ["chain-package"]
    assert (await client.get("/packages/chain-package/package-file")).content == package()


async def test_services_and_functions_show_their_descriptors(client: httpx.AsyncClient) -> None:
    await onboard(client)
    (service,) = (await client.get("/services")).json()
    assert (service["nsd"]["vendor"], service["nsd"]["name"]) == ("org", "chain")
    by_uuid, by_name = await client.get(f"/services/{service['uuid']}"), await client.get("/services/chain")
    assert by_uuid.json() == by_name.json() == service
    answer = await client.get("/functions?limit=2&offset=1")
    assert answer.headers["record-count"] == "3"
    assert [f["vnfd"]["name"] for f in answer.json()] == ["vb", "vc"]


async def test_a_service_lives_and_ends_through_the_api(client: httpx.AsyncClient, platform: TestPlatform) -> None:
    await onboard(client)
    created = await run(
        client,
        request_type="CREATE_SERVICE",
        service_uuid="chain",
        name="web",
        ingresses=[{"location": "users"}],
        egresses=["origin"],
        params={"placement": "generic"},
    )
    assert created["state"] == "COMPLETED"
    assert {"place", "deploy/va"} <= {step["step"] for step in created["steps"]}  # type: ignore[attr-defined]
    record = (await client.get("/records/services/web")).json()
    assert (record["status"], record["placement"]["decided_by"]) == ("READY", "generic")
    vnfs = (await client.get("/records/functions")).json()
    assert {vnf["vnf_id"] for vnf in vnfs} == {"va", "vb", "vc"}
    assert (await client.get(f"/records/functions/{vnfs[0]['uuid']}")).json() == vnfs[0]
    busy = await client.delete("/packages/chain-package")
    assert (busy.status_code, "web" in busy.json()["detail"]) == (409, True)
    assert (await client.delete("/vims/" + record["network_functions"][0]["vim"])).status_code == 409
    ended = await run(client, request_type="TERMINATE_SERVICE", instance_uuid=record["uuid"])
    assert ended["state"] == "COMPLETED"
    assert platform.cloud.objects == {}
    assert [r["status"] for r in (await client.get("/requests")).json()] == ["READY", "READY"]
    assert (await client.get("/records/services?status=READY")).json() == []
    assert (await client.delete("/packages/chain-package")).status_code == 204
    assert (await client.get("/functions")).json() == []


async def test_events_tell_every_step_and_the_end(client: httpx.AsyncClient) -> None:
    await onboard(client)
    request = (await client.post("/requests", json={"service_uuid": "chain"})).json()
    assert request["status"] == "NEW"
    async with client.stream("GET", f"/operations/{request['id']}/events") as stream:
        assert stream.headers["content-type"].startswith("text/event-stream")
        events = [json.loads(line[6:]) async for line in stream.aiter_lines() if line.startswith("data: ")]
    assert events[-1]["state"] == "COMPLETED"
    assert [event for event in events if event.get("step") == "store_records"]
    assert (await client.get("/operations/none/events")).status_code == 404


async def test_credentials_go_in_and_never_come_out(client: httpx.AsyncClient) -> None:
    added = await client.post("/vims", json=VIM)
    assert added.status_code == 201
    await client.post("/wims", json={"name": "wan2", "endpoint": "http://wan", "token": "hush-hush"})
    for path in ("/vims", "/settings/vims", "/wims", "/settings/wims"):
        answer = await client.get(path)
        assert answer.status_code == 200
        assert "hush-hush" not in answer.text
    assert "hush-hush" not in added.text
    taken = await client.post("/vims", json={**VIM, "endpoint": "http://elsewhere"})
    assert taken.status_code == 409
    replaced = await client.post("/vims", json={**VIM, "endpoint": "http://elsewhere", "replace": True})
    assert replaced.status_code == 201
    assert (await client.delete("/vims/edge")).status_code == 204
    assert (await client.get("/vims/edge")).status_code == 404


async def test_a_vim_shows_what_it_has_free(client: httpx.AsyncClient) -> None:
    shown = (await client.get("/vims/access")).json()
    assert shown["capacity"]["vcpus_total"] == 8
    assert (await client.get("/wims/wan")).json()["graph"]["edges"][0]["name"] == "backbone"


@pytest.mark.parametrize(
    ("body", "status", "told"),
    [
        ({"service_uuid": "nonsense"}, 404, "no service `nonsense`"),
        ({"request_type": "CREATE_SERVICE"}, 400, "service_uuid"),
        ({"request_type": "TERMINATE_SERVICE"}, 400, "instance_uuid"),
        ({"request_type": "TERMINATE_SERVICE", "instance_uuid": "none"}, 404, "no service instance"),
        ({"request_type": "EXPLODE"}, 400, "request_type"),
        ({"service_uuid": "chain", "colour": "red"}, 400, "colour"),
        ({"service_uuid": "chain", "params": {"placement": "magic"}}, 400, "placement"),
        ({"service_uuid": "chain", "name": "../../etc"}, 400, "not usable"),
        ({"service_uuid": "chain", "ingresses": ["a", "b"]}, 501, "2 endpoints"),
        ({"service_uuid": 7}, 400, "service_uuid"),
    ],
)
async def test_wrong_requests_are_refused_with_a_problem_document(
    client: httpx.AsyncClient, body: dict[str, object], status: int, told: str
) -> None:
    await onboard(client)
    answer = await client.post("/requests", json=body)
    problem = answer.json()
    assert (answer.status_code, problem["status"]) == (status, status)
    assert answer.headers["content-type"] == "application/problem+json"
    assert told in problem["detail"]
    assert problem["code"].startswith("SONATA-")
    assert (await client.get("/records/services")).json() == []


async def test_an_endpoint_that_nobody_knows_ends_the_operation_with_the_known_ones(client: httpx.AsyncClient) -> None:
    await onboard(client)
    ended = await run(client, service_uuid="chain", ingresses=["moon"])
    assert ended["state"] == "ROLLED_BACK"
    assert "no WIM knows endpoint `moon`; known: `origin`, `users`" in str(ended["error"])


async def test_a_service_that_must_be_placed_by_its_manager_but_has_none_is_refused(client: httpx.AsyncClient) -> None:
    await onboard(client)
    ended = await run(client, service_uuid="chain", params={"placement": "ssm"})
    assert "has no placement manager" in str(ended["error"])


async def test_a_manager_outside_of_the_allowed_pops_is_overruled(tmp_path: Path) -> None:
    split = {"managers/place.py": lambda state: {"mapping": {"va": "core", "vb": "core", "vc": "core"}}}
    async with TestPlatform(tmp_path, two_sites(), split) as platform:
        transport = httpx.ASGITransport(northbound_app(platform.mano, TOKEN))
        headers = {"Authorization": f"Bearer {TOKEN}"}
        async with httpx.AsyncClient(transport=transport, base_url="http://s/api/v3", headers=headers) as client:
            await onboard(client, package(managers=(PLACER,)))
            await run(client, service_uuid="chain", name="web", params={"allowed_pops": ["access"]})
            rule = (await client.get("/records/services/web")).json()["placement"]["rule"]
    assert "does not permit" in rule


async def test_unknown_paths_and_methods_answer_problem_documents(client: httpx.AsyncClient) -> None:
    for answer in (await client.get("/nonsense"), await client.put("/packages"), await client.post("/packages")):
        assert answer.status_code in (404, 405, 400)
        assert answer.headers["content-type"] == "application/problem+json"


async def test_the_openapi_document_names_every_path(client: httpx.AsyncClient) -> None:
    document = (await client.get("http://sonata/openapi.json")).json()
    wanted = {"packages", "requests", "operations/{operation_id}/events", "records/services/{key}", "vims", "wims"}
    assert {f"/api/v3/{path}" for path in wanted} <= set(document["paths"])
