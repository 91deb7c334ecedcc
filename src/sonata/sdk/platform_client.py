"""A platform's northbound API as Python calls, for the command line and for scripts.

Example:
    >>> from pathlib import Path
    >>> from sonata.sdk.platform_client import PlatformClient
    >>> def run_service() -> None:
    ...     with PlatformClient.connect(Path("/var/lib/sonata")) as client:
    ...         client.onboard(Path("cdn.tgo").read_bytes())
    ...         request = client.instantiate("cdn", ingress="users", egress="origin")
    ...         print(client.wait(request["id"])["state"])
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import quote

import httpx

from sonata import errors
from sonata.sdk import platform_records
from sonata.sdk.emulation_records import EmulationRecord

Document = Mapping[str, Any]
Rows = Sequence[Document]

_TIMEOUT = httpx.Timeout(60.0)
_PAGE = 1000
_PROJECT = _USER = "admin"


class PlatformClient:
    """One running platform over HTTP. Raises the same errors as the platform itself."""

    def __init__(self, url: str, token: str) -> None:
        self.url = url
        self._http = httpx.Client(
            base_url=f"{url}/api/v3",
            headers={"Authorization": f"Bearer {token}"},
            timeout=_TIMEOUT,
            trust_env=False,
            verify=url.startswith("https:"),  # certificates take long to read, and are for TLS alone
        )

    @classmethod
    def connect(cls, data: Path | None = None) -> PlatformClient:
        """A client of the platform that runs on a data folder.

        Raises:
            NotFound: none runs.
        """
        record = platform_records.find(data or platform_records.default_data())
        return cls(record.url, record.token)

    def __enter__(self) -> PlatformClient:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._http.close()

    def status(self) -> Document:
        """What the platform has and does."""
        return self._document("GET", "/status")

    def onboard(self, archive: bytes, name: str = "package.tgo") -> Document:
        """On-board a package; the same package again changes nothing."""
        return self._document("POST", "/packages", files={"package": (name, archive, "application/zip")})

    def list(self, what: str, **filters: str) -> Rows:
        """A whole collection: `packages`, `services`, `functions`, `operations`, `records/services`, `vims`, ..."""
        rows: list[Document] = []
        while True:
            params = {"limit": str(_PAGE), "offset": str(len(rows)), **filters}
            response = self._call("GET", f"/{what}", params=params)
            rows += response.json()
            if len(rows) >= int(response.headers["Record-Count"]):
                return rows

    def show(self, what: str, key: str) -> Document:
        """One object of a collection by UUID or name."""
        return self._document("GET", f"/{what}/{quote(key, safe='')}")

    def remove(self, what: str, key: str) -> None:
        """Remove one object of a collection: `packages`, `vims`, `wims`."""
        self._call("DELETE", f"/{what}/{quote(key, safe='')}")

    def add_vim(self, **fields: Any) -> Document:
        """Register a VIM: `name`, `endpoint`, `username`, `password`, `project`, and what else the API takes."""
        return self._document("POST", "/vims", json=fields)

    def add_wim(self, name: str, endpoint: str, token: str) -> Document:
        """Register a WIM."""
        return self._document("POST", "/wims", json={"name": name, "endpoint": endpoint, "token": token})

    def attach_emulation(self, record: EmulationRecord) -> None:
        """Register all sites of a running emulation as VIMs and its wide area as WIM; replaces earlier registrations.

        A PoP that another one manages is no VIM of its own.
        """
        for site in record.topology.sites:
            self.add_vim(
                name=site.name,
                endpoint=f"{record.url}/{site.name}/identity/v3",
                username=_USER,
                password=record.admin_password,
                project=_PROJECT,
                replace=True,
            )
        self.add_wim(record.name, record.url, record.wan_token)

    def instantiate(
        self, service: str, *, name: str = "", ingress: str = "", egress: str = "", **params: Any
    ) -> Document:
        """Ask for an instance of a service; returns the request, whose id is that of the operation.

        Args:
            service: UUID or name.
            name: of the instance.
            ingress: endpoint from which users come.
            egress: endpoint that users address.
            params: `placement`, `on_manager_failure`, `allowed_pops`, `pinned`, `manager_timeout_s`.
        """
        body = {
            "request_type": "CREATE_SERVICE",
            "service_uuid": service,
            "name": name,
            "ingresses": [ingress] if ingress else [],
            "egresses": [egress] if egress else [],
            "params": params,
        }
        return self._document("POST", "/requests", json=body)

    def terminate(self, instance: str) -> Document:
        """Ask for the termination of an instance by UUID or name."""
        return self._document(
            "POST", "/requests", json={"request_type": "TERMINATE_SERVICE", "instance_uuid": instance}
        )

    def watch(self, operation_id: str, timeout_s: float | None = None) -> Iterator[tuple[str, Document]]:
        """Steps and states of an operation as they happen, as (`step` or `operation`, document), until it ends.

        Raises:
            TransientError: nothing was heard within `timeout_s`, or the platform went away.
        """
        path = f"/operations/{quote(operation_id, safe='')}/events"
        try:
            with self._http.stream("GET", path, timeout=httpx.Timeout(60.0, read=timeout_s)) as response:
                if response.is_error:
                    response.read()
                    raise _as_error(response)
                yield from _events(response.iter_lines())
        except httpx.TransportError as error:
            raise _no_answer(f"GET {path}", error) from error

    def wait(self, operation_id: str, timeout_s: float | None = None) -> Document:
        """Wait until an operation has ended and return it with its steps; a failed one is returned, too."""
        for _ in self.watch(operation_id, timeout_s):
            continue
        return self.show("operations", operation_id)

    def _document(self, method: str, path: str, **options: Any) -> Document:
        answer: Document = self._call(method, path, **options).json()
        return answer

    def _call(self, method: str, path: str, **options: Any) -> httpx.Response:
        try:
            response = self._http.request(method, path, **options)
        except httpx.TransportError as error:
            raise _no_answer(f"{method} {path}", error) from error
        if response.is_error:
            raise _as_error(response)
        return response


def _no_answer(call: str, error: httpx.TransportError) -> errors.TransientError:
    return errors.TransientError(f"the platform does not answer: {error}", call=call, hint="see `sonata status`")


def _events(lines: Iterator[str]) -> Iterator[tuple[str, Document]]:
    kind = ""
    for line in lines:
        if line.startswith("event: "):
            kind = line.removeprefix("event: ")
        elif line.startswith("data: "):
            yield kind, json.loads(line.removeprefix("data: "))


def _as_error(response: httpx.Response) -> errors.SonataError:
    """The problem document of an answer, as an exception of the class that the platform raised."""
    call = f"{response.request.method} {response.request.url.path}"
    try:
        problem = response.json()
        kind, detail, hint = errors.error_class(problem["code"]), problem["detail"], problem["hint"]
    except (ValueError, KeyError, TypeError):
        return errors.PermanentError(f"the platform answered {response.status_code}", call=call, answer=response.text)
    if issubclass(kind, errors.InvalidInput):
        found = [errors.Diagnostic(**diagnostic) for diagnostic in problem.get("diagnostics", ())]
        return kind(detail, diagnostics=found, hint=hint)
    return kind(detail, hint=hint)
