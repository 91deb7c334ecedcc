"""A client behind its socket: it has its own topics and nothing else, and cannot hurt the bus."""

from __future__ import annotations

import asyncio
import json
import stat
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection, unix_connect
from websockets.exceptions import ConnectionClosed

from sonata.adapters.bus_local import LocalBus
from sonata.adapters.bus_local.server import ClientSocket
from sonata.errors import InvalidInput, ManagerError
from sonata.ports.bus import Message

pytestmark = pytest.mark.anyio
LIMIT_S = 5.0


@pytest.fixture
async def bus(anyio_backend: str) -> AsyncIterator[LocalBus]:
    made = LocalBus()
    yield made
    await made.close()


@pytest.fixture
async def endpoint(bus: LocalBus, tmp_path: Path) -> ClientSocket:
    return await bus.serve(tmp_path / "s", "mine", ("manager.mine.#",))


@pytest.fixture
async def client(endpoint: ClientSocket, tmp_path: Path) -> AsyncIterator[ClientConnection]:
    async with connect(tmp_path) as connection:
        assert (await hear(connection)) == {"v": 1, "kind": "welcome", "topic": "manager.mine", "body": {}}
        yield connection


def connect(folder: Path) -> Any:
    return unix_connect(str(folder / "s"), "ws://localhost/", max_size=None)


async def hear(connection: ClientConnection) -> dict[str, Any]:
    frame: dict[str, Any] = json.loads(await asyncio.wait_for(connection.recv(), LIMIT_S))
    return frame


async def say(connection: ClientConnection, kind: str, **fields: Any) -> dict[str, Any]:
    await connection.send(json.dumps({"v": 1, "kind": kind, "id": "1", **fields}))
    return await hear(connection)


async def take_questions(client: ClientConnection) -> None:
    assert (await say(client, "respond", topic="manager.mine.placement"))["kind"] == "done"


@pytest.mark.parametrize("kind", ["publish", "subscribe", "respond", "request"])
@pytest.mark.parametrize(
    "topic",
    [
        "manager.other.x",
        "manager",
        "#",
        "*.mine.x",
        "manager.*.x",
        "manager.#",
        "platform.secrets",
        "manager.mine2.x",
        "",
    ],
)
async def test_foreign_topics_are_refused_and_logged(
    client: ClientConnection, bus: LocalBus, kind: str, topic: str, caplog: pytest.LogCaptureFixture
) -> None:
    answer = await say(client, kind, topic=topic, body={})
    assert answer["kind"] == "refused"
    assert "manager.mine.#" in answer["error"]
    assert "bus client refused" in caplog.text


async def test_a_wildcard_below_its_own_prefix_is_its_own(client: ClientConnection, bus: LocalBus) -> None:
    assert (await say(client, "subscribe", topic="manager.mine.*"))["kind"] == "done"
    await bus.publish("manager.other.alert", {"n": 1})
    await bus.publish("manager.mine.alert", {"n": 2})
    message = await hear(client)
    assert (message["kind"], message["topic"], message["body"]) == ("message", "manager.mine.alert", {"n": 2})


async def test_it_cannot_pretend_to_be_the_platform(client: ClientConnection) -> None:
    for kind in ("welcome", "message", "done", "refused"):
        assert (await say(client, kind, topic="manager.mine.x"))["kind"] == "refused"


async def test_question_and_answer(client: ClientConnection, bus: LocalBus) -> None:
    await take_questions(client)
    asking = asyncio.ensure_future(bus.request("manager.mine.placement", {"q": "ä"}, timeout_s=LIMIT_S))
    question = await hear(client)
    assert question["body"] == {"q": "ä"}
    await client.send(json.dumps({"v": 1, "kind": "reply", "id": question["id"], "body": {"a": 1}}))
    assert await asking == {"a": 1}


async def test_an_answer_to_another_question_is_dropped(client: ClientConnection, bus: LocalBus) -> None:
    await take_questions(client)
    asking = asyncio.ensure_future(bus.request("manager.mine.placement", {}, timeout_s=LIMIT_S))
    question = await hear(client)
    for id_ in ("999", question["id"], question["id"]):
        await client.send(json.dumps({"v": 1, "kind": "reply", "id": id_, "body": {"id": id_}}))
    assert await asking == {"id": question["id"]}


async def test_the_client_may_ask_on_its_own_topics(client: ClientConnection, bus: LocalBus) -> None:
    async def answer(topic: str, message: Message) -> Message:
        return {"got": message["n"]}

    await bus.respond("manager.mine.register", answer)
    reply = await say(client, "request", topic="manager.mine.register", body={"n": 3})
    assert (reply["kind"], reply["id"], reply["body"]) == ("reply", "1", {"got": 3})
    failure = await say(client, "request", topic="manager.mine.nobody", body={})
    assert failure["kind"] == "failure"


@pytest.mark.parametrize("nonsense", ["", "no json", "[]", '{"v": 9}', b"\xff\x00", '{"v":1,"kind":"reply","body":3}'])
async def test_nonsense_ends_the_client_and_fails_what_it_owes(
    client: ClientConnection, bus: LocalBus, endpoint: ClientSocket, nonsense: str | bytes
) -> None:
    await take_questions(client)
    asking = asyncio.ensure_future(bus.request("manager.mine.placement", {}, timeout_s=LIMIT_S))
    await hear(client)
    await client.send(nonsense)
    with pytest.raises(ManagerError, match=r"`mine` did not answer: .*(nonsense|broke)"):
        await asking
    assert not endpoint.is_connected
    with pytest.raises(ConnectionClosed):
        await client.recv()


async def test_an_oversized_answer_ends_the_client_with_that_reason(
    endpoint: ClientSocket, bus: LocalBus, tmp_path: Path
) -> None:
    client = await connect(tmp_path)  # not closed by us: the bus hangs up in the middle of its message
    await hear(client)
    await take_questions(client)
    asking = asyncio.ensure_future(bus.request("manager.mine.placement", {}, timeout_s=LIMIT_S))
    question = await hear(client)
    huge = {"v": 1, "kind": "reply", "id": question["id"], "body": {"x": "y" * 2**21}}
    await client.send(json.dumps(huge))
    with pytest.raises(ManagerError, match="too big"):
        await asking
    assert not endpoint.is_connected


async def test_hanging_up_fails_the_question_at_once(client: ClientConnection, bus: LocalBus) -> None:
    await take_questions(client)
    asking = asyncio.ensure_future(bus.request("manager.mine.placement", {}, timeout_s=60))
    await hear(client)
    await client.close()
    with pytest.raises(ManagerError, match="hung up"):
        await asyncio.wait_for(asking, LIMIT_S)


async def test_one_client_at_a_time_and_the_next_takes_over(endpoint: ClientSocket, tmp_path: Path) -> None:
    async with connect(tmp_path) as first:
        assert (await hear(first))["kind"] == "welcome"
        async with connect(tmp_path) as second:
            with pytest.raises(ConnectionClosed, match="in use"):
                await second.recv()
    while endpoint.is_connected:
        await asyncio.sleep(0.001)
    async with connect(tmp_path) as third:
        assert (await hear(third))["kind"] == "welcome"


async def test_subscriptions_are_bounded(client: ClientConnection) -> None:
    answers = [await say(client, "subscribe", topic=f"manager.mine.t{n}") for n in range(70)]
    assert answers[0]["kind"] == "done"
    assert answers[-1]["kind"] == "refused"
    assert "at most" in answers[-1]["error"]


async def flood(client: ClientConnection) -> None:
    late = json.dumps({"v": 1, "kind": "reply", "id": "none", "body": {}})
    while True:
        await client.send(late)


async def test_a_flood_ends_the_client(client: ClientConnection, bus: LocalBus) -> None:
    await take_questions(client)
    asking = asyncio.ensure_future(bus.request("manager.mine.placement", {}, timeout_s=60))
    await hear(client)
    with pytest.raises(ConnectionClosed):
        await flood(client)
    with pytest.raises(ManagerError, match="messages in a second"):
        await asyncio.wait_for(asking, LIMIT_S)


async def test_topics_are_free_again_when_the_client_left(
    endpoint: ClientSocket, bus: LocalBus, tmp_path: Path
) -> None:
    for _ in range(2):
        async with connect(tmp_path) as connection:
            await hear(connection)
            await take_questions(connection)
        while endpoint.is_connected:
            await asyncio.sleep(0.001)


async def test_socket_file_comes_and_goes(bus: LocalBus, tmp_path: Path) -> None:
    path = tmp_path / "s"
    path.write_text("left by a dead process")
    endpoint = await bus.serve(path, "mine", ("manager.mine.#",))
    assert stat.S_ISSOCK(path.stat().st_mode)
    await endpoint.cancel()
    await endpoint.cancel()
    assert not path.exists()


async def test_allowed_topics_have_no_wildcards_of_their_own(bus: LocalBus, tmp_path: Path) -> None:
    for allowed in ("#", "manager.*.#", "manager.*"):
        with pytest.raises(InvalidInput):
            await bus.serve(tmp_path / "s", "mine", (allowed,))
