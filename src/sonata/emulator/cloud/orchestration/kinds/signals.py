"""Types of resources that wait for signals: handles with a secret of their own, and conditions."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar
from urllib.parse import quote

from sonata._lib.values import dataclass
from sonata.emulator.cloud.entities.orchestration import Stack, StackResource
from sonata.emulator.cloud.orchestration.kinds.base import Changed, Kind
from sonata.emulator.cloud.orchestration.schema import type_schemas
from sonata.emulator.cloud.orchestration.signalling import SERVER_URL
from sonata.emulator.cloud.orchestration.work import ResourceFailed, Work
from sonata.errors import InvalidInput

MOST_SIGNALS = 10_000


class WaitConditionFailure(ResourceFailed):
    """A signal told a failure."""


class WaitConditionTimeout(ResourceFailed):
    """Too few signals came in time."""


def signal_kinds() -> Iterable[Kind]:
    """Wait conditions and their handles."""
    schemas = type_schemas()
    yield WaitConditionHandle(schema=schemas["OS::Heat::WaitConditionHandle"])
    yield WaitConditionHandle(schema=schemas["OS::Heat::UpdateWaitConditionHandle"])
    yield WaitCondition(schema=schemas["OS::Heat::WaitCondition"], replaces_first=True)


def signal_path(stack: Stack, resource: StackResource) -> str:
    """Path of a resource's signals below the API's version."""
    return f"/{stack.project_id}/stacks/{quote(stack.name)}/{stack.id}/resources/{quote(resource.name)}/signal"


def server_endpoint(work: Work) -> str:
    """Where servers send a resource's signals: they reach the metadata address, and not that of the API."""
    return SERVER_URL + signal_path(work.stack, work.row)


@dataclass(frozen=True, kw_only=True)
class Signalled(Kind):
    """A resource that takes signals from who knows its secret."""

    signalled: ClassVar[bool] = True

    async def create(self, work: Work) -> None:
        """Draw the secret."""
        work.remember(secret=secrets.token_urlsafe(32))
        work.made(work.physical_name)

    def endpoint(self, work: Work) -> str:
        """Where signals go: to the API as the stack's owner reached it."""
        return work.stack.base_url + signal_path(work.stack, work.row)

    def signed_url(self, work: Work) -> str:
        """The same with the secret in it."""
        return self.signed(work, self.endpoint(work))

    def signed(self, work: Work, endpoint: str) -> str:
        """An endpoint with the secret in it."""
        return f"{endpoint}?signature={work.row.data.get('secret', '')}"


@dataclass(frozen=True, kw_only=True)
class WaitConditionHandle(Signalled):
    """Takes signals `{status, id, data, reason}`; a signal with a known id takes the place of the first."""

    def endpoint(self, work: Work) -> str:
        """Where servers send signals."""
        return server_endpoint(work)

    async def signal(self, work: Work, details: Any) -> None:
        """Keep a signal.

        Raises:
            InvalidInput: its status is neither SUCCESS nor FAILURE.
        """
        given = details if isinstance(details, Mapping) else {}
        status = given.get("status", "SUCCESS")
        if status not in ("SUCCESS", "FAILURE"):
            raise InvalidInput(f"Metadata failed validation: status {status!r} is neither SUCCESS nor FAILURE")
        signals = dict(work.row.metadata)
        if len(signals) >= MOST_SIGNALS:
            raise InvalidInput(f"a handle keeps at most {MOST_SIGNALS} signals")
        key = str(given.get("id", len(signals) + 1))
        signals[key] = {
            "status": status,
            "data": given.get("data"),
            "reason": str(given.get("reason") or f"Signal {key} received"),
        }
        work.engine.tables.stack_resources.change(work.resource_id, metadata=signals)

    async def shown(self, work: Work) -> Mapping[str, Any]:
        """Token, endpoint, and a command line with both."""
        token, endpoint = work.row.data.get("secret", ""), self.endpoint(work)
        headers = "-H 'Content-Type: application/json' -H 'Accept: application/json'"
        curl = f"curl -i -X POST -H 'X-Auth-Token: {token}' {headers} {endpoint}"
        signal = json.dumps({"alarm_url": self.signed_url(work)})
        return {"token": token, "endpoint": endpoint, "curl_cli": curl, "signal": signal}


@dataclass(frozen=True, kw_only=True)
class WaitCondition(Kind):
    """Is complete when its handle has got enough signals of success."""

    async def create(self, work: Work) -> None:
        """Wait for the signals.

        Raises:
            WaitConditionFailure: a signal tells a failure.
            WaitConditionTimeout: too few came in time.
        """
        work.made(work.physical_name)
        work.remember(handle=work.properties["handle"])
        ends_at = time.monotonic() + work.properties["timeout"]
        count = work.properties.get("count", 1)

        def enough() -> bool:
            signals = _signals(work)
            if failed := [one["reason"] for one in signals.values() if one["status"] == "FAILURE"]:
                raise WaitConditionFailure(";".join(failed))
            if time.monotonic() > ends_at and len(signals) < count:
                raise WaitConditionTimeout(f"{len(signals)} of {count} received")
            return len(signals) >= int(count)

        await work.until(enough)

    async def update(self, work: Work, changed: Changed) -> None:
        """Wait for more signals."""
        await self.create(work)

    async def shown(self, work: Work) -> Mapping[str, Any]:
        """The data of all signals as JSON text by their ids."""
        return {"data": json.dumps({key: one.get("data") for key, one in _signals(work).items()})}


def _signals(work: Work) -> Mapping[str, Any]:
    handle = str(work.row.data.get("handle", ""))
    for row in work.engine.tables.stack_resources:
        if row.physical_id == handle and row.project_id == work.stack.project_id:
            return row.metadata
    raise ResourceFailed(f"there is no wait condition handle {handle}")
