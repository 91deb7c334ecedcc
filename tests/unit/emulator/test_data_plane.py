"""The thread in which the fabric lives, and who looks after it."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Iterator

import pytest
from tests.fakes.fabric import FakeFabric

import sonata.emulator.data_plane as data_plane
from sonata.emulator.data_plane import DataPlane
from sonata.errors import PermanentError

pytestmark = pytest.mark.anyio


class Enough(Exception):
    """Nothing more is to be seen."""


class Ailing(FakeFabric):
    """A fabric that cannot mend itself for a while."""

    def __init__(self, answers: Iterator[str]) -> None:
        super().__init__()
        self._answers = answers

    def mend(self) -> list[str]:
        """The next answer: an error, or none."""
        try:
            message = next(self._answers)
        except StopIteration:
            raise Enough from None
        if message:
            raise PermanentError(message, hint="wait")
        return []


async def test_what_cannot_be_mended_is_told_once_and_again_when_it_comes_back(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(data_plane, "MEND_EVERY_S", 0)
    plane = DataPlane(Ailing(iter(["", "dead", "dead", "", "dead", "worse", "worse"])))
    with caplog.at_level(logging.WARNING), pytest.raises(Enough):
        await plane.keep_going()
    assert caplog.messages == ["dead; wait", "dead; wait", "worse; wait"]
    await plane.close()


class Called(FakeFabric):
    """A fabric that is called by what is written to `caller`, and fails at the first call."""

    def __init__(self) -> None:
        super().__init__()
        self.caller, self._heard = socket.socketpair()
        self.answered: list[bytes] = []

    @property
    def calls(self) -> int:
        return self._heard.fileno()

    def answer_calls(self) -> None:
        self.answered.append(self._heard.recv(64))
        self.networks.missing_routers = {"r": "no room"} if len(self.answered) == 1 else {}
        if self.networks.missing_routers:
            raise PermanentError("no room", hint="make some")

    def close(self) -> None:
        self.caller.close()
        self._heard.close()


async def test_calls_are_answered_as_long_as_the_fabric_lives(caplog: pytest.LogCaptureFixture) -> None:
    fabric = Called()
    plane = DataPlane(fabric)
    await plane.run(lambda _: None)
    calls = [b"one", b"two", b"three"]
    async with asyncio.timeout(10):
        for count, call in enumerate(calls, 1):
            fabric.caller.send(call)
            while len(fabric.answered) < count:
                await asyncio.sleep(0.001)
            assert plane.missing_routers == ({"r": "no room"} if count == 1 else {})
    assert fabric.answered == calls
    await plane.close()
    assert caplog.messages == ["no room; make some"]
    assert caplog.records[0].__dict__["routers"] == {"r": "no room"}
