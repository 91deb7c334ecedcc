"""Lines of logs."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import TextIO

from sonata._lib.logs import ShortFile, WholeLines


def test_a_line_tells_what_was_given_besides_the_message() -> None:
    given = {"msg": "server failed", "levelname": "WARNING", "server": "one", "cause": "no room"}
    line = WholeLines("%(levelname)s %(message)s").format(logging.makeLogRecord(given))
    assert line == "WARNING server failed server=one cause=no room"


def test_a_line_without_more_is_as_it_was() -> None:
    assert WholeLines("%(asctime)s %(message)s").format(logging.makeLogRecord({"msg": "ready"})).endswith(" ready")


def test_a_log_file_loses_its_older_half_before_it_grows_for_ever(tmp_path: Path) -> None:
    file = tmp_path / "keeper.log"
    with file.open("w") as stream, stream_of_another(stream.fileno()) as other:
        handler = ShortFile(stream, most_bytes=10_000)
        for number in range(5_000):
            handler.emit(logging.makeLogRecord({"msg": f"line {number}"}))
        other.write("from a child\n")
    lines = file.read_text().splitlines()
    assert file.stat().st_size < 20_000
    assert lines[0] == "... earlier lines were cut off"
    assert lines[-2:] == ["line 4999", "from a child"]
    numbers = [int(line.removeprefix("line ")) for line in lines[1:-1]]
    assert numbers == list(range(numbers[0], 5_000))


def stream_of_another(descriptor: int) -> TextIO:
    """The same open file, as a process has it that inherits it."""
    return os.fdopen(os.dup(descriptor), "w")
