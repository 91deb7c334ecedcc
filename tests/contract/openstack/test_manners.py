"""What all services have in common on the wire: headers, methods, sizes, slashes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from tests import plain_http
from tests.contract.openstack.conftest import Site

from sonata.api.openstack.call import DEEPEST_BODY, LONGEST_BODY

KEYS = {"identity": "error", "compute": "badMethod", "network": "NeutronError", "image": "error"}
COLLECTIONS = {
    "identity": "/v3/projects",
    "compute": "/v2.1/servers",
    "network": "/v2.0/networks",
    "image": "/v2/images",
}


@pytest.fixture
def http(site: Site, cloud: Any) -> Iterator[httpx.Client]:
    headers = {"X-Auth-Token": cloud.authorize()}
    with plain_http.Client(base_url=f"{site.url}/access", headers=headers, timeout=30) as client:
        yield client


@pytest.mark.parametrize("service", KEYS)
def test_manners(http: httpx.Client, service: str) -> None:
    path = f"/{service}{COLLECTIONS[service]}"
    refused = http.request("PATCH", path, json={})
    assert refused.status_code == 405
    assert {"GET", "HEAD", "POST"} <= set(refused.headers["allow"].split(", "))
    assert refused.json()[KEYS[service]]["message"]
    assert refused.headers["x-openstack-request-id"].startswith("req-")
    if service == "compute":
        assert refused.headers["x-compute-request-id"] == refused.headers["x-openstack-request-id"]
    assert http.get(f"{path}/").status_code == http.get(path).status_code == 200
    assert http.request("HEAD", path).content == b""
    too_long = http.post(path, content=b'{"a": "' + b"x" * LONGEST_BODY + b'"}')
    assert too_long.status_code == 413
    assert http.post(path, content=b"{").status_code == 400


@pytest.mark.parametrize("service", KEYS)
@pytest.mark.parametrize("depth", [DEEPEST_BODY + 1, 20_000])
def test_bodies_that_are_nested_too_deeply_are_refused(http: httpx.Client, service: str, depth: int) -> None:
    for opened, closed in ((b"[", b"]"), (b'{"a":', b"}")):
        content = b'{"a": ' + opened * depth + b"1" + closed * depth + b"}"
        refused = http.post(f"/{service}{COLLECTIONS[service]}", content=content)
        assert (refused.status_code, "Malformed request body" in refused.text) == (400, True), refused.text


def test_data_of_a_flavor_profile_that_are_nested_too_deeply_are_refused(http: httpx.Client) -> None:
    profile = {"name": "deep", "provider_name": "haproxy", "flavor_data": '{"a":' * 5000 + "1" + "}" * 5000}
    refused = http.post("/load-balancer/v2/lbaas/flavorprofiles", json={"flavorprofile": profile})
    assert (refused.status_code, "is not a JSON object" in refused.text) == (400, True)


@pytest.mark.parametrize("service", ["compute", "network", "image"])
@pytest.mark.parametrize("path", ["", "/nothing/of/this"])
def test_who_has_no_token_is_told_where_to_get_one(site: Site, http: httpx.Client, service: str, path: str) -> None:
    answer = plain_http.get(f"{site.url}/access/{service}{path or COLLECTIONS[service]}")
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == f'Keystone uri="{site.url}/access/identity"'
