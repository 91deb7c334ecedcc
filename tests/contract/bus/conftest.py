"""Every bus that is to pass the contract; another adapter joins by an entry here."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

import pytest

from sonata.adapters.bus_local import LocalBus
from sonata.ports.bus import Bus

BUSES: dict[str, Callable[[], Bus]] = {"local": LocalBus}


@pytest.fixture(params=sorted(BUSES))
async def bus(request: pytest.FixtureRequest, anyio_backend: str) -> AsyncIterator[Bus]:
    made = BUSES[request.param]()
    yield made
    await made.close()
