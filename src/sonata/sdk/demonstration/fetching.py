"""Fetches by a user's endpoint, with their times."""

from __future__ import annotations

import json
from pathlib import Path

import sonata.sdk.demonstration.probe as probe
from sonata._lib.values import dataclass
from sonata.errors import PermanentError
from sonata.sdk.emulator_client import EmulatorClient

USERS = "users"


@dataclass(frozen=True, slots=True)
class Fetch:
    """One HTTP GET by a user.

    Args:
        first_byte_ms: from the start of the TCP connection to the first byte of the answer.
        total_ms: to its last byte.
        cache: `HIT`, `MISS`, or empty when no cache was on the way.
    """

    path: str
    size_bytes: int
    first_byte_ms: float
    total_ms: float
    cache: str = ""

    @property
    def rate_mbps(self) -> float:
        """Goodput of the body in Mbit/s, connection set-up included."""
        return self.size_bytes * 8 / self.total_ms / 1000


def fetch(emulator: EmulatorClient, address: str, *paths: str) -> tuple[Fetch, ...]:
    """Let the endpoint `users` fetch objects from an address, one after another.

    Raises:
        PermanentError: one could not be fetched; told with what the endpoint said.
    """
    program = Path(probe.__file__).read_bytes()
    status, out, err = emulator.exec(USERS, ["/usr/bin/python3", "-", address, *paths], program)
    if status:
        told = err.decode(errors="replace")[-500:].strip()
        raise PermanentError(f"the users could not fetch {', '.join(paths)} from {address}: {told}")
    return tuple(Fetch(**json.loads(line)) for line in out.decode().splitlines())
