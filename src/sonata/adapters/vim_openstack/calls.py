"""Calls to one OpenStack: one openstacksdk connection (login, token renewal, catalogue, discovery), one error mapping.

Synchronous and thread-safe; `vim` runs it in threads. Requests are written out as the API reference has them, so that
an error can name the call that failed.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Mapping
from dataclasses import field
from typing import Any, Literal, get_args

import openstack
from keystoneauth1 import exceptions as keystone
from openstack import exceptions as sdk

from sonata._lib.values import dataclass
from sonata.adapters.vim_openstack.faults import error_of_answer, error_of_session
from sonata.errors import PermanentError

TIMEOUT_S = 10
Service = Literal["compute", "network", "image"]
Document = dict[str, Any]
Filter = str | list[str]


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
        self._connection: Any = None

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

    def find_services(self) -> None:
        """Find all services in the catalogue now, instead of anew with each request.

        One that is not there is told of when it is needed.
        """
        for service in get_args(Service):
            with contextlib.suppress(keystone.ClientException, sdk.SDKException):
                proxy = getattr(self._connected(), service)
                proxy.endpoint_override = proxy.get_endpoint()

    def close(self) -> None:
        """Release the connection."""
        with self._lock:
            if self._connection is not None:
                self._connection.close()
                self._connection = None

    def _call(self, service: Service, method: str, path: str, **arguments: Any) -> Document:
        call = f"{method} {path}"
        try:
            proxy = getattr(self._connected(), service)
            response = proxy.request(path, method, **arguments)
        except (keystone.ClientException, sdk.SDKException) as error:
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

    def _connected(self) -> Any:
        """The connection, made at first use."""
        with self._lock:
            if self._connection is None:
                self._connection = connect(self._login, api_timeout=TIMEOUT_S)
            return self._connection


def connect(login: Login, **options: Any) -> Any:
    """A connection of openstacksdk, never from the environment or clouds.yaml."""
    connection = openstack.connect(
        load_yaml_config=False,
        load_envvars=False,
        auth_type="v3password",
        auth_url=login.auth_url,
        username=login.username,
        password=login.password,
        project_name=login.project,
        user_domain_name=login.user_domain,
        project_domain_name=login.project_domain,
        region_name=login.region,
        verify=login.verify,
        app_name="sonata",
        **options,
    )
    _settle(connection.session, login)
    return connection


def _settle(session: Any, login: Login) -> None:
    """Give a session the proxies and certificates that the environment names for the address of the login.

    Looked up once: each request would read the environment three times over, and look for a .netrc, while the token is
    the only credential.
    """
    connections = session.session
    found = connections.merge_environment_settings(login.auth_url, {}, None, login.verify, None)
    connections.proxies, session.verify = found["proxies"], found["verify"]
    connections.trust_env = False


def _has_next(page: Mapping[str, Any], key: str) -> bool:
    return any(link.get("rel") == "next" for link in page.get(f"{key}_links", ()))
