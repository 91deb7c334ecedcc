"""The command `sonata` in the process of the tests: one of its own would take most of a second to start each time."""

from __future__ import annotations

import io
import os
import subprocess
from collections.abc import Mapping
from contextlib import redirect_stderr, redirect_stdout
from unittest import mock

import pytest

from sonata.cli.main import main


def sonata_here(
    *arguments: str, env: Mapping[str, str] = os.environ, stdin: str = ""
) -> subprocess.CompletedProcess[str]:
    """Run the command to its end; not for several threads at once, as its outputs are the process's."""
    environment = {**env, "COLUMNS": "80"}  # as where no output is a terminal
    out, err, given = _stream(), _stream(), _stream(stdin)
    with (
        mock.patch.dict(os.environ, environment, clear=True),
        mock.patch("sys.argv", ["sonata", *arguments]),
        mock.patch("sys.stdin", given),
        redirect_stdout(out),
        redirect_stderr(err),
        pytest.raises(SystemExit) as ended,
    ):
        main(arguments)
    assert isinstance(ended.value.code, int)
    return subprocess.CompletedProcess(arguments, ended.value.code, _told(out), _told(err))


def _stream(text: str = "") -> io.TextIOWrapper:
    return io.TextIOWrapper(io.BytesIO(text.encode()), encoding="utf-8", write_through=True)


def _told(stream: io.TextIOWrapper) -> str:
    stream.seek(0)
    return stream.read()
