"""What every bus keeps, whatever carries it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from sonata.errors import InvalidInput, ManagerError, TransientError
from sonata.ports.bus import Bus, Message

pytestmark = pytest.mark.anyio
LIMIT_S = 5.0


class Inbox:
    """A handler that keeps what it gets."""

    def __init__(self) -> None:
        self.messages: asyncio.Queue[tuple[str, Message]] = asyncio.Queue()

    async def __call__(self, topic: str, message: Message) -> None:
        self.messages.put_nowait((topic, message))

    async def next(self) -> tuple[str, Message]:
        return await asyncio.wait_for(self.messages.get(), LIMIT_S)


@pytest.mark.parametrize(
    ("pattern", "topic", "matching"),
    [
        ("a.b", "a.b", True),
        ("a.b", "a.b.c", False),
        ("a.b", "a", False),
        ("a.*", "a.b", True),
        ("a.*", "a", False),
        ("a.*", "a.b.c", False),
        ("*.b", "a.b", True),
        ("a.#", "a", True),
        ("a.#", "a.b.c", True),
        ("a.#", "ab", False),
        ("#", "a.b", True),
        ("#.c", "a.b.c", True),
        ("#.c", "c", True),
        ("a.#.c", "a.c", True),
        ("a.#.c", "a.x.y.c", True),
        ("a.#.c", "a.x.y.d", False),
        ("a.*.#", "a", False),
        ("a.*.#", "a.b", True),
    ],
)
async def test_patterns_match_as_in_amqp(bus: Bus, pattern: str, topic: str, matching: bool) -> None:
    inbox = Inbox()
    await bus.subscribe(pattern, inbox)
    # A second pattern of the same subscriber ends the wait where the first does not match.
    await bus.subscribe("end.of.test", inbox)
    await bus.publish(topic, {"x": 1})
    if not matching:
        await asyncio.sleep(0.01)
        await bus.publish("end.of.test", {})
    assert (await inbox.next())[0] == (topic if matching else "end.of.test")


async def test_all_subscribers_get_each_message_in_order(bus: Bus) -> None:
    inboxes = [Inbox(), Inbox()]
    for inbox in inboxes:
        await bus.subscribe("news.#", inbox)
    for number in range(20):
        await bus.publish(f"news.{number}", {"n": number})
    for inbox in inboxes:
        assert [(await inbox.next())[1]["n"] for _ in range(20)] == list(range(20))


async def test_a_failing_and_a_stalling_handler_harm_nobody(bus: Bus, caplog: pytest.LogCaptureFixture) -> None:
    async def fail(topic: str, message: Message) -> None:
        raise ZeroDivisionError("handler is broken")

    async def stall(topic: str, message: Message) -> None:
        await asyncio.Event().wait()

    inbox = Inbox()
    for handler in (fail, stall, inbox):
        await bus.subscribe("news", handler)
    for number in range(3):
        await bus.publish("news", {"n": number})
    assert [(await inbox.next())[1]["n"] for _ in range(3)] == [0, 1, 2]
    assert "bus handler failed" in caplog.text


async def test_receivers_do_not_share_one_message_object(bus: Bus) -> None:
    inboxes = [Inbox(), Inbox()]
    for inbox in inboxes:
        await bus.subscribe("news", inbox)
    sent: dict[str, Any] = {"list": [1]}
    await bus.publish("news", sent)
    sent["list"].append(2)
    first, second = [(await inbox.next())[1] for inbox in inboxes]
    first["list"].append(3)
    assert second == {"list": [1]}


async def test_after_cancel_nothing_arrives(bus: Bus) -> None:
    gone, stays = Inbox(), Inbox()
    subscription = await bus.subscribe("news", gone)
    await bus.subscribe("news", stays)
    await subscription.cancel()
    await subscription.cancel()
    await bus.publish("news", {})
    await stays.next()
    assert gone.messages.empty()


async def test_a_handler_may_cancel_its_own_subscription(bus: Bus) -> None:
    heard = Inbox()
    subscriptions: list[Any] = []

    async def once(topic: str, message: Message) -> None:
        await subscriptions[0].cancel()
        await heard(topic, message)

    subscriptions.append(await bus.subscribe("news", once))
    await bus.publish("news", {})
    await asyncio.sleep(0.05)
    await bus.publish("news", {})
    await asyncio.sleep(0.05)
    assert heard.messages.qsize() <= 1


async def test_requests_are_answered_each_to_its_asker(bus: Bus) -> None:
    async def double(topic: str, message: Message) -> Message:
        await asyncio.sleep(0.001 * (5 - message["n"]))
        return {"n": 2 * message["n"]}

    await bus.respond("double", double)
    answers = await asyncio.gather(*(bus.request("double", {"n": n}, timeout_s=LIMIT_S) for n in range(5)))
    assert [answer["n"] for answer in answers] == [0, 2, 4, 6, 8]


async def test_no_answer_is_a_transient_error(bus: Bus) -> None:
    async def stall(topic: str, message: Message) -> Message:
        await asyncio.Event().wait()
        return {}

    await bus.respond("stall", stall)
    for topic in ("stall", "nobody"):
        with pytest.raises(TransientError, match=f"`{topic}`"):
            await bus.request(topic, {}, timeout_s=0.05)


async def test_a_failing_responder_is_a_manager_error_with_its_words(bus: Bus) -> None:
    async def fail(topic: str, message: Message) -> Message:
        raise ManagerError("the cache is upside down")

    await bus.respond("fail", fail)
    for _ in range(2):
        with pytest.raises(ManagerError, match="upside down"):
            await bus.request("fail", {}, timeout_s=LIMIT_S)


async def test_an_answer_that_is_no_json_object_is_a_manager_error(bus: Bus) -> None:
    answers: list[Any] = [{"x": object()}, {"x": "y" * 2**20}, 5, [1]]

    async def answer(topic: str, message: Message) -> Message:
        given: Message = answers[message["n"]]
        return given

    await bus.respond("odd", answer)
    for n in range(len(answers)):
        with pytest.raises(ManagerError):
            await bus.request("odd", {"n": n}, timeout_s=LIMIT_S)


async def test_a_topic_is_free_again_after_its_responder_left(bus: Bus) -> None:
    async def answer(topic: str, message: Message) -> Message:
        return {"ok": True}

    responder = await bus.respond("once", answer)
    await responder.cancel()
    with pytest.raises(TransientError):
        await bus.request("once", {}, timeout_s=0.05)
    await bus.respond("once", answer)
    assert await bus.request("once", {}, timeout_s=LIMIT_S) == {"ok": True}


@pytest.mark.parametrize("message", [{"x": object()}, {"x": "y" * (2**20)}])
async def test_messages_are_bounded_json_objects(bus: Bus, message: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput):
        await bus.publish("news", message)
    with pytest.raises(InvalidInput):
        await bus.request("news", message, timeout_s=LIMIT_S)


@pytest.mark.parametrize("topic", ["", "a..b", ".a", "a b", "a.*", "a.#", "x" * 300, "a\nb"])
async def test_what_is_no_topic_is_refused(bus: Bus, topic: str) -> None:
    with pytest.raises(InvalidInput):
        await bus.publish(topic, {})


async def test_a_megabyte_passes(bus: Bus) -> None:
    inbox = Inbox()
    await bus.subscribe("big", inbox)
    await bus.publish("big", {"x": "y" * (2**20 - 8)})
    assert len((await inbox.next())[1]["x"]) == 2**20 - 8
