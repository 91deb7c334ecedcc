"""One OpenStack of an emulation, asked over connections that each serve one request."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import httpx

from sonata.errors import PermanentError
from sonata.sdk.emulation_records import EmulationRecord

PATIENCE_S = 60.0
PAUSE_S, LONGEST_PAUSE_S = 0.002, 0.05
NEWEST = {"OpenStack-API-Version": "compute 2.96"}


class Refused(PermanentError):
    """An answer that is no success; `status` is its HTTP status."""

    def __init__(self, call: str, status: int, said: str) -> None:
        super().__init__(f"{call} was answered {status}: {said[:300]}", call=call, answer=said)
        self.status = status


class Site:
    """One PoP's OpenStack, and its administrator, who logs in again whenever the token has expired."""

    def __init__(self, record: EmulationRecord, pop: str) -> None:
        self.pop = pop
        self._record = record
        alone = httpx.Limits(max_keepalive_connections=0)
        self._http = httpx.Client(base_url=f"{record.url}/{pop}", limits=alone, timeout=PATIENCE_S, trust_env=False)
        self.token = ""
        self.project = ""
        self.log_in()

    def log_in(self, scoped: bool = True) -> str:
        """Get a token, and use it from now on when it is for the project."""
        user = {"name": "admin", "password": self._record.admin_password, "domain": {"id": "default"}}
        auth: dict[str, Any] = {"identity": {"methods": ["password"], "password": {"user": user}}}
        if scoped:
            auth["scope"] = {"project": {"name": "admin", "domain": {"id": "default"}}}
        answer = self._http.post("/identity/v3/auth/tokens", json={"auth": auth})
        if answer.status_code != 201:
            raise Refused("log in", answer.status_code, answer.text)
        token = answer.headers["x-subject-token"]
        if scoped:
            self.token, self.project = token, answer.json()["token"]["project"]["id"]
        return token

    def ask(self, method: str, path: str, body: Any = None, **headers: str) -> Any:
        """The decoded answer to a request.

        Raises:
            Refused: it is no success.
        """
        for token in (self.token, ""):
            used = {"X-Auth-Token": token or self.log_in(), **NEWEST, **headers}
            content = {"content": body} if isinstance(body, bytes) else {} if body is None else {"json": body}
            answer = self._http.request(method, path, headers=used, **content)
            if answer.status_code != 401 or "X-Auth-Token" in headers:
                break
        if answer.status_code >= 400:
            raise Refused(f"{method} /{self.pop}{path}", answer.status_code, answer.text)
        told = answer.headers.get("content-type", "")
        return answer.json() if answer.content and "json" in told else answer.text

    def make(self, path: str, kind: str, **values: Any) -> Any:
        """Create something by a body of one key, and return what it is."""
        return self.ask("POST", path, {kind: values})[kind]

    def drop(self, path: str) -> None:
        """Delete something, which may be gone already."""
        try:
            self.ask("DELETE", path)
        except Refused as refusal:
            if refusal.status != 404:
                raise

    def named(self, path: str, kind: str, name: str) -> Any:
        """The only thing of a name."""
        (found,) = (one for one in self.ask("GET", path)[kind] if one["name"] == name)
        return found

    def settled(self, path: str, kind: str, is_settled: Callable[[Any], bool]) -> Any:
        """Wait until something is settled, asking less and less often; None when it is gone."""
        deadline, pause_s = time.monotonic() + PATIENCE_S, PAUSE_S
        while True:
            try:
                found = self.ask("GET", path)[kind]
            except Refused as refusal:
                if refusal.status == 404:
                    return None
                raise
            if is_settled(found):
                return found
            if time.monotonic() > deadline:
                raise PermanentError(f"{path} does not settle: {found}")
            time.sleep(pause_s)
            pause_s = min(1.5 * pause_s, LONGEST_PAUSE_S)

    def server(self, server_id: str) -> Any:
        """A server once nothing goes on with it."""
        return self.settled(
            f"/compute/v2.1/servers/{server_id}",
            "server",
            lambda one: one["OS-EXT-STS:task_state"] is None and one["status"] != "BUILD",
        )

    def close(self) -> None:
        """Hang up."""
        self._http.close()
