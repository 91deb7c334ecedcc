"""The stock `openstack` command in this process, since each process of its own costs seconds to start."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import io
import json
import logging
import os
import shlex
import time
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from unittest import mock

import pytest

needs_client = pytest.mark.skipif(
    importlib.util.find_spec("openstackclient") is None, reason="python-openstackclient is not installed"
)


LONGEST_PAUSE_S = 0.2
_sleep = time.sleep


@dataclass(frozen=True)
class Said:
    """How a command ended and what it printed."""

    status: int
    out: str
    err: str


class StockClient:
    """`openstack` with the variables of an openrc file and nothing else of the environment that it reads.

    Args:
        login: `OS_...` variables.
    """

    def __init__(self, login: Mapping[str, str]) -> None:
        self._login = dict(login)
        self._shell = importlib.import_module("openstackclient.shell")

    def run(self, line: str, *more: str) -> Said:
        """A command line, and arguments that need no quoting.

        Returns: its exit status and output, whatever they are.
        """
        out, err = io.StringIO(), io.StringIO()
        with self._alone(), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            try:
                status = self._shell.main([*shlex.split(line), *more])
            except SystemExit as left:  # how argparse refuses
                status = int(left.code or 0)
        return Said(int(status or 0), out.getvalue(), err.getvalue())

    def ok(self, line: str, *more: str) -> str:
        """A command that must succeed; what it prints."""
        said = self.run(line, *more)
        assert said.status == 0, f"`openstack {shlex.join([line, *more])}`: {said.err or said.out}"
        return said.out

    def json(self, line: str, *more: str) -> Any:
        """What a command that must succeed prints as JSON."""
        return json.loads(self.ok(line, *more, "-f", "json"))

    def fails(self, line: str, *more: str) -> str:
        """A command that must be refused; what it complains."""
        said = self.run(line, *more)
        assert said.status != 0, f"`openstack {shlex.join([line, *more])}` has succeeded: {said.out}"
        return said.err

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """Only our login in the environment and short pauses of `--wait`, which are 3 and 5 seconds otherwise.

        Afterwards the client's logging and warning filters are gone again; what it logs for debugging is not kept.
        """
        kept = {key: value for key, value in os.environ.items() if not key.startswith("OS_")}
        root = logging.getLogger()
        level, handlers = root.level, list(root.handlers)
        environment = mock.patch.dict(os.environ, {**kept, **self._login}, clear=True)
        pauses = mock.patch("time.sleep", lambda asked: _sleep(min(asked, LONGEST_PAUSE_S)))
        clients = mock.patch("osc_lib.clientmanager.ClientCache.__get__", _client_of)
        with environment, pauses, clients, warnings.catch_warnings():
            logging.disable(logging.INFO)
            try:
                yield
            finally:
                logging.disable(logging.NOTSET)
                root.setLevel(level)
                root.handlers[:] = handlers


def _client_of(cache: Any, manager: Any, _owner: type) -> Any:
    """A service's client as this manager's login has it; osc-lib keeps the first one for the whole process."""
    known = vars(manager).setdefault("_clients_by_cache", {})
    if cache not in known:
        known[cache] = cache.factory(manager)
    return known[cache]
