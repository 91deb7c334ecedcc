"""The fabric's side of the link probe: a process with a socket at each end of a link."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import sonata.adapters.fabric_linux.link_probe as link_probe
from sonata.adapters.fabric_linux.netspace import Netspace
from sonata.errors import PermanentError
from sonata.ports.probing import Heard, Probed, ProbePlan, RateOffer

_GRACE_S = 20.0
_RETRIES, _GREETING_SETTLES = 2, 3

Foot = tuple[Netspace, str]
"""A namespace and an IPv4 address in it."""


class LinuxLinkProbe:
    """Implements `ports.probing.LinkProbe` with a process for each plan."""

    def __init__(self, name: str, a: Foot, b: Foot) -> None:
        self._name = name
        self._ends = connected(a, b)
        self._process: subprocess.Popen[bytes] | None = None

    def measure(self, plan: ProbePlan) -> Probed:
        """Carry a plan out; see the port."""
        descriptors = [end.fileno() for end in self._ends]
        program = Path(link_probe.__file__)
        argv = [sys.executable, "-I", "-S", str(program), *map(str, descriptors), json.dumps(_order(plan))]
        self._process = subprocess.Popen(
            argv,
            pass_fds=descriptors,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={"PATH": os.defpath},
            cwd="/",
        )
        try:
            out, err = self._process.communicate(timeout=_RETRIES * _longest_s(plan) + _GRACE_S)
        except subprocess.TimeoutExpired as error:
            raise PermanentError(f"link `{self._name}` could not be measured in time", call="link probe") from error
        finally:
            self.close()
        if self._process.returncode:
            told = err.decode(errors="replace").strip().rpartition("\n")[2]
            raise PermanentError(f"link `{self._name}` could not be measured", call="link probe", answer=told)
        return _probed(json.loads(out), plan)

    def close(self) -> None:
        """End the process and close the sockets."""
        if self._process and self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        for end in self._ends:
            end.close()


def connected(a: Foot, b: Foot) -> tuple[socket.socket, socket.socket]:
    """A UDP socket at each foot, connected to the other one; the caller closes them."""
    ends = []
    for netspace, address in (a, b):
        with netspace.entered():
            end = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        end.bind((address, 0))
        ends.append(end)
    near, far = ends
    for end, other in ((near, far), (far, near)):
        with suppress(OSError):  # unreachable over a link that is down; what is not connected sends nothing
            end.connect(other.getsockname())
    return near, far


def _order(plan: ProbePlan) -> Mapping[str, Any]:
    return {
        "steps": [{"count": step.count, "gap_s": step.gap_s, "early_s": step.early_s} for step in plan.steps],
        "rates": [one and [one.rate_bps / 8, one.seconds, one.frame_bytes] for one in plan.rates],
        "settle_s": plan.settle_s,
    }


def _longest_s(plan: ProbePlan) -> float:
    steps = sum(step.count * step.gap_s + plan.settle_s for step in plan.steps)
    return steps + _GREETING_SETTLES * plan.settle_s + sum(one.seconds + plan.settle_s for one in plan.rates if one)


def _probed(answer: Mapping[str, Any], plan: ProbePlan) -> Probed:
    steps = tuple((Heard(**there), Heard(**back)) for there, back in answer["steps"])
    there, back = (_bits(*pair) for pair in zip(answer["rates"], plan.rates, strict=True))
    return Probed(steps, (there, back))


def _bits(frames: float | None, offer: RateOffer | None) -> float | None:
    return frames * offer.frame_bytes * 8 if frames is not None and offer else None
