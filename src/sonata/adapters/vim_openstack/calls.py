"""Calls to one OpenStack: one keystoneauth session (login, token renewal, catalogue, discovery), one error mapping.

Synchronous and thread-safe; `vim` runs it in threads. Requests are written out as the API reference has them, so that
an error can name the call that failed. keystoneauth is what openstacksdk itself speaks through; the SDK's own layers
would be a quarter of the platform's memory and half of its start, and nothing of them is used here.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from keystoneauth1 import exceptions as keystone
from keystoneauth1.adapter import Adapter
from keystoneauth1.identity.v3 import Password
from keystoneauth1.session import Session

from sonata.adapters.vim_openstack.faults import error_of_answer, error_of_session
from sonata.errors import PermanentError

TIMEOUT_S = 10
Service = Literal["compute", "network", "image"]
Document = dict[str, Any]
Filter = str | list[str]

_NETWORK_API = "v2.0"
_VERSIONS: Mapping[Service, Mapping[str, str]] = {
    "compute": {"min_version": "2", "max_version": "2.latest"},
    "image": {"min_version": "2", "max_version": "2.latest"},
    "network": {},  # old clouds show what versions they have to nobody; all have this one
}
"""What is asked for in the discovery of each service."""


@dataclass(frozen=True, slots=True)
class Login:
    """Where an OpenStack is and who we are there; the password shows in no representation."""

    auth_url: str
    username: str
    password: str = field(repr=False)
    project: str
    user_domain: str = "Default"
    project_domain: str = "Default"
    region: str | None = None
    verify: bool | str = True


class Calls:
    """GET, POST, PUT and DELETE on the services of one VIM."""

    def __init__(self, vim: str, login: Login) -> None:
        self.vim = vim
        self._login = login
        self._lock = threading.Lock()
        self._session: Any = None
        self._doors: dict[Service, Any] = {}

    def get(self, service: Service, path: str, *, microversion: str | None = None, **filters: Filter) -> Document:
        """GET a document."""
        return self._call(service, "GET", path, params=filters, microversion=microversion)

    def list(self, service: Service, path: str, *, key: str = "", **filters: Filter) -> list[Document]:
        """GET all objects of a collection, following pages; `key` is its name in the answer if not the path's end.

        A filter with several values lets any of them through.
        """
        key = key or path.rpartition("/")[2]
        found: list[Document] = []
        marker: dict[str, Filter] = {}
        while True:
            page = self._call(service, "GET", path, params={**filters, **marker}, microversion=None)
            found += page[key]
            if not page[key] or not _has_next(page, key):
                return found
            marker = {"marker": page[key][-1]["id"]}

    def post(self, service: Service, path: str, body: Document) -> Document:
        """POST a document."""
        return self._call(service, "POST", path, json=body)

    def put(self, service: Service, path: str, body: Document) -> Document:
        """PUT a document."""
        return self._call(service, "PUT", path, json=body)

    def delete(self, service: Service, path: str) -> None:
        """DELETE an object."""
        self._call(service, "DELETE", path)

    def close(self) -> None:
        """Release the connections."""
        with self._lock:
            if self._session is not None:
                self._session.session.close()
                self._session = None
                self._doors.clear()

    def _call(self, service: Service, method: str, path: str, **arguments: Any) -> Document:
        call = f"{method} {path}"
        try:
            response = self._door(service).request(path, method, raise_exc=False, **arguments)
        except keystone.ClientException as error:
            raise error_of_session(self.vim, call, error) from error
        if response.status_code >= 400:
            raise error_of_answer(self.vim, call, response.status_code, response.headers, response.text)
        return self._document(call, response)

    def _document(self, call: str, response: Any) -> Document:
        if not response.content:
            return {}
        try:
            document = response.json()
        except ValueError as error:
            answer = response.text[:200]
            raise PermanentError(f"VIM `{self.vim}` answered no JSON to `{call}`", call=call, answer=answer) from error
        if not isinstance(document, dict):
            raise PermanentError(
                f"VIM `{self.vim}` answered no object to `{call}`", call=call, answer=str(document)[:200]
            )
        return document

    def _door(self, service: Service) -> Any:
        """The way to a service; found in the catalogue at first use, and found again by whoever comes at that moment.

        Raises:
            keystone.EndpointNotFound: the catalogue has no such service.
        """
        door = self._doors.get(service)
        if door is None:
            filters = {"service_type": service, "interface": "public", "region_name": self._login.region}
            door = Adapter(self._connected(), **filters, **_VERSIONS[service])
            door.endpoint_override = _root(door, service)
            self._doors[service] = door
        return door

    def _connected(self) -> Any:
        """The session, made at first use and never from the environment or clouds.yaml."""
        with self._lock:
            if self._session is None:
                login = Password(
                    auth_url=self._login.auth_url,
                    username=self._login.username,
                    password=self._login.password,
                    project_name=self._login.project,
                    user_domain_name=self._login.user_domain,
                    project_domain_name=self._login.project_domain,
                )
                session = Session(login, timeout=TIMEOUT_S, app_name="sonata")
                self._session = _settled(session, self._login)
            return self._session


def _settled(session: Any, login: Login) -> Any:
    """The session, with the proxies and certificates that the environment names for the address of the login.

    Looked up once: each request would read the environment three times over, and look for a .netrc, while the token is
    the only credential.
    """
    connections = session.session
    found = connections.merge_environment_settings(login.auth_url, {}, None, login.verify, None)
    connections.proxies, session.verify = found["proxies"], found["verify"]
    connections.trust_env = False
    return session


def _root(door: Any, service: Service) -> str:
    """Below which the paths of a service are."""
    root: str | None = door.get_endpoint()
    if root is None:
        raise keystone.EndpointNotFound(f"the catalogue has no service `{service}`")
    root = root.rstrip("/")
    is_bare = service == "network" and not root.endswith(f"/{_NETWORK_API}")
    return f"{root}/{_NETWORK_API}" if is_bare else root


def _has_next(page: Mapping[str, Any], key: str) -> bool:
    return any(link.get("rel") == "next" for link in page.get(f"{key}_links", ()))
