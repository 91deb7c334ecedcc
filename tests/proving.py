"""Servers whose programs have run for so long that their end is no failed start."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Any

from sonata.emulator.cloud.compute.servers import PROVING_S


def let_it_prove_itself(server: Any) -> None:
    """Wait until a running server of openstacksdk has done so."""
    launched = datetime.fromisoformat(server.launched_at).replace(tzinfo=UTC).timestamp()
    time.sleep(max(0.0, launched + PROVING_S + 1.0 - time.time()))
