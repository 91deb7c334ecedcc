"""The wide area of an emulation as Python calls."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

from sonata.sdk.emulation_records import EmulationRecord
from sonata.sdk.emulator_http import EmulatorHttp

Document = Mapping[str, Any]
Rows = Sequence[Document]


class WanClient(EmulatorHttp):
    """Links, paths and connections between the sites of one running emulation, over HTTP."""

    @classmethod
    def of(cls, record: EmulationRecord) -> WanClient:
        """A client of a recorded emulation."""
        return cls(record.url, record.token)

    def links(self) -> Rows:
        """Links between sites, with what is reserved and left of each direction."""
        answer: Rows = self._json("GET", "/wan/links")
        return answer

    def path(self, origin: str, target: str) -> Document:
        """Where packets between two sites, or those of endpoints, pass now.

        Raises:
            NotFound: no such site or endpoint.
            Conflict: there is no path.
        """
        answer: Document = self._json("GET", "/wan/paths", params={"from": origin, "to": target})
        return answer

    def networks(self) -> Rows:
        """Networks that can be joined, with the tag of the connection that each is in."""
        answer: Rows = self._json("GET", "/wan/networks")
        return answer

    def connections(self, tag_prefix: str = "", *, pop: str = "", endpoint: str = "") -> Rows:
        """Connections whose tag begins so, with an end in a site or in that of an endpoint."""
        asked = {"tag_prefix": tag_prefix, "pop": pop, "endpoint": endpoint}
        answer: Rows = self._json("GET", "/wan/connections", params={key: one for key, one in asked.items() if one})
        return answer

    def connect(self, tag: str, members: Mapping[str, str], bounds: Mapping[str, float | None]) -> Document:
        """Join networks, given by site; the same tag gives the same connection.

        Args:
            tag: names the connection.
            members: network id by site.
            bounds: `rate_bps`, `max_rate_bps`, `max_delay_s`.

        Raises:
            Conflict: no path keeps the bounds, a link has not enough left, or tag or networks are in use.
        """
        body = {"tag": tag, "members": dict(members), **bounds}
        answer: Document = self._json("POST", "/wan/connections", json=body)
        return answer

    def change(self, connection_id: str, changes: Mapping[str, Any]) -> Document:
        """Give a connection other `members` or bounds, all of them or none; what is not given stays."""
        answer: Document = self._json("PATCH", f"/wan/connections/{quote(connection_id, safe='')}", json=dict(changes))
        return answer

    def disconnect(self, connection_id: str) -> None:
        """Take a connection apart; the networks stay."""
        self._call("DELETE", f"/wan/connections/{quote(connection_id, safe='')}")
