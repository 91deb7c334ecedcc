"""Lines of logs."""

from __future__ import annotations

import logging

from sonata._lib.logs import WholeLines


def test_a_line_tells_what_was_given_besides_the_message() -> None:
    given = {"msg": "server failed", "levelname": "WARNING", "server": "one", "cause": "no room"}
    line = WholeLines("%(levelname)s %(message)s").format(logging.makeLogRecord(given))
    assert line == "WARNING server failed server=one cause=no room"


def test_a_line_without_more_is_as_it_was() -> None:
    assert WholeLines("%(asctime)s %(message)s").format(logging.makeLogRecord({"msg": "ready"})).endswith(" ready")
