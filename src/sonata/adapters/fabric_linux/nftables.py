"""Rule sets of nftables, loaded as one transaction each.

The library is used where it can be loaded, in a process of its own, without starting one for each change; else the
program `nft`.
"""

from __future__ import annotations

import itertools
import logging
import os
import subprocess
from collections import OrderedDict
from contextlib import suppress

import sonata.adapters.fabric_linux.rule_loader as rule_loader
from sonata.adapters.fabric_linux.helper_process import HelperGone, HelperProcess
from sonata.adapters.fabric_linux.netspace import Netspace, failed
from sonata.errors import PermanentError, Unsupported

logger = logging.getLogger(__name__)

MOST_CONTEXTS = 4
"""Namespaces in which the library stays; each takes more than half a mebibyte."""
_TIMEOUT_S = 60.0


class Nftables:
    """Loads rule sets into namespaces. Its process ends with `close`, and with the thread that started it."""

    def __init__(self) -> None:
        self._process = HelperProcess(rule_loader.__file__, answer_s=_TIMEOUT_S)
        self._numbers = itertools.count()
        self._stays: OrderedDict[Netspace, int] = OrderedDict()
        self._has_library = True

    @property
    def pid(self) -> int | None:
        """Process id, None while no rules needed it."""
        return self._process.pid

    def begin(self) -> None:
        """Have the process start meanwhile: rules are about to be loaded."""
        with suppress(HelperGone):  # the first load tells
            self._process.begin()

    def load(self, netspace: Netspace, rules: str) -> None:
        """Load rules in a namespace: all of them or none.

        Raises:
            PermanentError: nftables refused; the answer tells where. Or its process does not come up.
            Unsupported: neither library nor program is installed.
        """
        try:
            answer = self._loaded(netspace, rules)
        except OSError as error:
            raise failed(netspace.name, error) from error
        if answer:
            raise PermanentError(
                f"nftables refused the rules of `{netspace.name}`: {answer.splitlines()[0]}",
                hint="`sonata doctor` tells which kernel modules are missing",
                call="nft -f",
                answer=answer,
            )

    def close(self) -> None:
        """End the process. Idempotent."""
        for netspace in list(self._stays):
            self._forget(netspace)
        self._process.close()

    def _loaded(self, netspace: Netspace, rules: str) -> str:
        """Load rules, and return what went wrong, empty if nothing did."""
        if self._has_library:
            try:
                return self._by_library(netspace, rules)
            except HelperGone as gone:
                logger.warning("the process that loads rules is started again: %s", gone)
                self.close()
            try:
                return self._by_library(netspace, rules)
            except HelperGone as gone:
                self.close()
                raise PermanentError(
                    f"the rules of `{netspace.name}` are not loaded: the process that does so does not answer: {gone}",
                    hint="the kernel's log tells whether memory was short; try again",
                ) from gone
        return _by_program(netspace, rules)

    def _by_library(self, netspace: Netspace, rules: str) -> str:
        """Ask the process.

        Raises:
            HelperGone: it has ended, or hangs.
        """
        left = self._too_many(netspace)
        order = {"do": "load", "space": self._number(netspace), "leave": left}
        with open(os.memfd_create("rules"), "w+b", buffering=0) as file:
            file.write(rules.encode())
            answer = self._process.ask(order, (netspace.descriptor, file.fileno()))
        if not answer["ok"]:
            return str(answer["error"])
        if not answer["library"]:
            logger.info("libnftables is not installed; starting nft for each change")
            self.close()
            self._has_library = False
            return _by_program(netspace, rules)
        return str(answer["refused"])

    def _number(self, netspace: Netspace) -> int:
        """By which the process knows a namespace in which the library is to stay."""
        if netspace not in self._stays:
            self._stays[netspace] = next(self._numbers)
            netspace.closed_with_it["nftables"] = lambda: self._leave(netspace)
        self._stays.move_to_end(netspace)
        return self._stays[netspace]

    def _too_many(self, wanted: Netspace) -> list[int]:
        """Forget the namespace that was used least lately, where there is no room for another; its number."""
        if wanted in self._stays or len(self._stays) < MOST_CONTEXTS:
            return []
        return [self._forget(next(iter(self._stays)))]

    def _leave(self, netspace: Netspace) -> None:
        """Have nothing open in a namespace any more: it is about to be closed."""
        with suppress(HelperGone):  # then nothing is
            self._process.ask({"do": "leave", "spaces": [self._forget(netspace)]})

    def _forget(self, netspace: Netspace) -> int:
        del netspace.closed_with_it["nftables"]
        return self._stays.pop(netspace)


def _by_program(netspace: Netspace, rules: str) -> str:
    with netspace.entered():
        try:
            result = subprocess.run(
                ["nft", "-f", "-"], input=rules, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False
            )
        except FileNotFoundError as error:
            raise Unsupported(
                "nftables is not installed: chains and routers need it", hint="install the package `nftables`"
            ) from error
    return (result.stderr.strip() or "no reason given") if result.returncode else ""
