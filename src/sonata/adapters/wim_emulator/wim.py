"""`EmulatorWim`: `ports.wim.Wim` over HTTP against `/emulator/v1/wan`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import httpx

from sonata.errors import NotFound, PermanentError, SonataError, TransientError
from sonata.model.figures import Cost, Energy
from sonata.model.infrastructure import AttachedEndpoint, PopFigures, WanEdge, WanGraph
from sonata.ports.wim import ConnectionRequest

TIMEOUT_S = 10.0
MAX_ANSWER = 500
WAN = "/emulator/v1/wan"


class WimNotFound(NotFound):
    """The wide area knows no such PoP, network or connection; tells the call and the answer."""

    def __init__(self, message: str, *, hint: str = "", call: str = "", answer: str = "") -> None:
        super().__init__(message, hint=hint)
        self.call = call
        self.answer = answer


class EmulatorWim:
    """Implements `ports.wim.Wim`.

    Args:
        url: of the emulator, e.g. `http://127.0.0.1:8901`.
        token: bearer token of the emulator's own API; in no log and no error.
    """

    def __init__(self, url: str, token: str | None = None) -> None:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._url = url.rstrip("/")
        # Certificates are read for TLS alone: that takes a good part of what a whole service takes.
        verify = self._url.startswith("https:")
        self._http = httpx.AsyncClient(
            base_url=self._url + WAN, headers=headers, timeout=TIMEOUT_S, trust_env=False, verify=verify
        )

    async def graph(self) -> WanGraph:
        """PoPs, links with their delay and capacity, endpoints with their address."""
        document = await self._call("GET", "/graph")
        edges = (_edge(edge) for edge in document["edges"])
        endpoints = (AttachedEndpoint(e["name"], e["pop"], e["address"], e["delay_s"]) for e in document["endpoints"])
        figures = {
            pop: PopFigures(Cost(**one["cost"]), Energy(**one["energy"]))
            for pop, one in document.get("figures", {}).items()
        }
        known = {endpoint.name: endpoint for endpoint in endpoints}
        return WanGraph(tuple(document["pops"]), tuple(edges), known, figures)

    async def ensure_connection(self, request: ConnectionRequest) -> str:
        """Find or create a connection; returns its id. The emulator itself keeps a tag unique.

        Raises:
            PermanentError: no path keeps the bounds, or the tag stands for other members.
        """
        body = {
            "tag": request.tag,
            "members": dict(request.members),
            "rate_bps": request.rate_bps,
            "max_delay_s": request.max_delay_s,
            "max_rate_bps": request.max_rate_bps,
        }
        created = await self._call("POST", "/connections", json=body)
        return str(created["id"])

    async def leftovers(self, tag_prefix: str) -> Sequence[str]:
        """Ids of connections whose tag begins so."""
        return tuple(str(connection["id"]) for connection in await self._connections(tag_prefix))

    async def sweep(self, tag_prefix: str) -> None:
        """Remove connections whose tag begins so; those that are gone already do not matter."""
        for connection_id in await self.leftovers(tag_prefix):
            try:
                await self._call("DELETE", f"/connections/{connection_id}")
            except NotFound:
                continue

    async def close(self) -> None:
        """Release connections."""
        await self._http.aclose()

    async def _connections(self, tag_prefix: str) -> Sequence[Mapping[str, Any]]:
        answer = await self._call("GET", "/connections", params={"tag_prefix": tag_prefix})
        found = answer["connections"] if isinstance(answer, Mapping) else answer
        return [connection for connection in found if connection["tag"].startswith(tag_prefix)]

    async def _call(self, method: str, path: str, **arguments: Any) -> Any:
        call = f"{method} {WAN}{path}"
        try:
            response = await self._http.request(method, path, **arguments)
        except httpx.TransportError as error:
            answer = str(error) or type(error).__name__
            hint = (
                "is the emulation running? see `sonata wim ls`; `sonata wim rm NAME` forgets one that is gone for good"
            )
            message = f"WIM `{self._url}` cannot be reached for `{call}`"
            raise TransientError(message, hint=hint, call=call, answer=answer, retry_after_s=1.0) from error
        if response.is_error:
            raise self._error(call, response)
        return response.json() if response.content else {}

    def _error(self, call: str, response: httpx.Response) -> SonataError:
        answer = _answer(response)
        message = f"WIM `{self._url}` answered {response.status_code} to `{call}`: {answer}"
        if response.status_code == 404:
            return WimNotFound(message, call=call, answer=answer)
        if response.status_code >= 500 or response.status_code == 429:
            return TransientError(message, call=call, answer=answer, retry_after_s=1.0)
        return PermanentError(message, call=call, answer=answer)


def _edge(told: Mapping[str, Any]) -> WanEdge:
    """An edge of the graph; emulators of earlier versions tell neither price nor what is left."""
    known = (told["name"], told["a"], told["b"], told["delay_s"], told["rate_bps"])
    return WanEdge(*known, told.get("price", 0.0), told.get("available_bps"))


def _answer(response: httpx.Response) -> str:
    """The reason in an error body, wherever it stands there."""
    try:
        document = response.json()
    except ValueError:
        document = None
    if isinstance(document, dict):
        for field in ("detail", "message", "error"):
            if isinstance(document.get(field), str):
                return str(document[field])[:MAX_ANSWER]
    return response.text.strip()[:MAX_ANSWER] or "nothing"
