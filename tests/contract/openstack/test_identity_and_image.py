"""Identity and Image APIs, and what all services have in common."""

from __future__ import annotations

import io
from typing import Any

import pytest
from openstack import exceptions
from tests import plain_http
from tests.contract.openstack.conftest import PASSWORD, Site


def token_request(**changes: Any) -> dict[str, Any]:
    """The body of a password login."""
    user = {"name": "admin", "password": PASSWORD, "domain": {"name": "Default"}, **changes}
    scope = {"project": {"name": "admin", "domain": {"id": "default"}}}
    return {"auth": {"identity": {"methods": ["password"], "password": {"user": user}}, "scope": scope}}


def test_the_catalog_follows_the_address_that_the_client_used(site: Site) -> None:
    base = site.url.replace("127.0.0.1", "localhost")
    answer = plain_http.post(f"{base}/core/identity/v3/auth/tokens", json=token_request())
    assert answer.status_code == 201
    urls = {service["type"]: service["endpoints"][0]["url"] for service in answer.json()["token"]["catalog"]}
    project = answer.json()["token"]["project"]["id"]
    expected = {
        "identity": f"{base}/core/identity/v3",
        "compute": f"{base}/core/compute/v2.1",
        "network": f"{base}/core/network",
        "image": f"{base}/core/image",
        "block-storage": f"{base}/core/volume/v3/{project}",
        "volumev3": f"{base}/core/volume/v3/{project}",
    }
    assert expected.items() <= urls.items()
    assert all(url.startswith(f"{base}/core/") for url in urls.values())


def test_discovery_documents_lead_back_to_where_they_are(site: Site) -> None:
    root = f"{site.url}/access"
    identity = plain_http.get(f"{root}/identity")
    assert identity.status_code == 300
    assert identity.json()["versions"]["values"][0]["links"][0]["href"] == f"{root}/identity/v3/"
    compute = plain_http.get(f"{root}/compute/v2.1/").json()["version"]
    assert (compute["version"], compute["links"][0]["href"]) == ("2.96", f"{root}/compute/v2.1/")
    assert plain_http.get(f"{root}/image").status_code == 300
    assert plain_http.get(f"{root}/image/versions").status_code == 200
    assert plain_http.get(f"{root}/network/").json()["versions"][0]["id"] == "v2.0"


@pytest.mark.parametrize(
    "changes", [{"password": "wrong"}, {"name": "nobody"}, {"password": None}, {"domain": {"name": "Other"}}]
)
def test_wrong_credentials_are_401(site: Site, changes: dict[str, Any]) -> None:
    answer = plain_http.post(f"{site.url}/access/identity/v3/auth/tokens", json=token_request(**changes))
    assert answer.status_code == 401
    assert answer.json()["error"]["title"] == "Unauthorized"
    assert "x-subject-token" not in answer.headers
    with pytest.raises(exceptions.SDKException, match="HTTP 401"):
        site.connect(password="wrong").authorize()


def test_an_unknown_project_is_401(site: Site) -> None:
    with pytest.raises(exceptions.SDKException, match="HTTP 401"):
        site.connect(project_name="nobody").authorize()


def test_tokens_are_shown_checked_and_revoked_and_good_for_one_pop(site: Site, cloud: Any) -> None:
    token = cloud.authorize()
    url = f"{site.url}/access/identity/v3/auth/tokens"
    headers = {"X-Auth-Token": token, "X-Subject-Token": token}
    shown = plain_http.get(url, headers=headers).json()["token"]
    assert (shown["project"]["name"], shown["user"]["name"]) == ("admin", "admin")
    assert plain_http.head(url, headers=headers).status_code == 200
    assert plain_http.get(f"{site.url}/core/compute/v2.1/servers", headers=headers).status_code == 401
    assert plain_http.get(f"{site.url}/access/compute/v2.1/servers", headers=headers).status_code == 200
    renewed = {"auth": {"identity": {"methods": ["token"], "token": {"id": token}}}}
    assert plain_http.post(url, json=renewed).status_code == 201
    assert plain_http.delete(url, headers=headers).status_code == 204
    refused = plain_http.get(f"{site.url}/access/compute/v2.1/servers", headers=headers)
    assert refused.status_code == 401
    assert "www-authenticate" in refused.headers
    assert plain_http.get(f"{site.url}/access/compute/v2.1/servers").status_code == 401


def test_pops_know_nothing_of_one_another(site: Site, cloud: Any) -> None:
    cloud.network.create_network(name="here")
    other = site.connect("core")
    assert other.network.find_network("here") is None
    assert other.session.get_project_id() != cloud.session.get_project_id()
    other.close()


def test_identity_lists(cloud: Any) -> None:
    identity = cloud.identity
    assert {project.name for project in identity.projects()} == {"admin", "service"}
    assert identity.find_project("admin").id == cloud.session.get_project_id()
    assert identity.find_project("nobody") is None
    assert [user.name for user in identity.users()] == ["admin"]
    services = {service.id: service.type for service in identity.services()}
    assert set(services.values()) >= {"identity", "compute", "network", "image", "block-storage"}
    assert {services[endpoint.service_id] for endpoint in identity.endpoints()} == set(services.values())
    assert identity.get_service(next(iter(services))).type in services.values()
    assert {role.name for role in identity.roles()} == {"admin", "member", "reader"}


@pytest.mark.parametrize(
    ("service", "path", "key"),
    [
        ("identity", "/v3/nothing", "error"),
        ("compute", "/v2.1/nothing", "itemNotFound"),
        ("compute", "/v2.1/servers/nothing", "itemNotFound"),
        ("network", "/v2.0/networks/nothing", "NeutronError"),
        ("image", "/v2/images/nothing", "error"),
    ],
)
def test_unknown_things_are_404_in_the_services_own_words(
    site: Site, cloud: Any, service: str, path: str, key: str
) -> None:
    headers = {"X-Auth-Token": cloud.authorize()}
    answer = plain_http.get(f"{site.url}/access/{service}{path}", headers=headers)
    assert answer.status_code == 404
    assert answer.json()[key]["message"]
    assert answer.headers["x-openstack-request-id"].startswith("req-")


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"\xff\xfe", b'"text"', b"null"])
@pytest.mark.parametrize(
    "path", ["compute/v2.1/servers", "network/v2.0/networks", "image/v2/images", "identity/v3/auth/tokens"]
)
def test_a_body_that_is_no_object_is_400(site: Site, cloud: Any, path: str, body: bytes) -> None:
    headers = {"X-Auth-Token": cloud.authorize(), "Content-Type": "application/json"}
    answer = plain_http.post(f"{site.url}/access/{path}", content=body, headers=headers)
    assert answer.status_code == 400


def test_methods_that_a_path_has_not_are_405(site: Site, cloud: Any) -> None:
    headers = {"X-Auth-Token": cloud.authorize()}
    assert plain_http.patch(f"{site.url}/access/network/v2.0/networks", headers=headers).status_code == 405


def test_an_unknown_pop_is_404(site: Site) -> None:
    assert plain_http.get(f"{site.url}/mars/identity/v3").status_code == 404
    assert plain_http.get(f"{site.url}/access/dns/v2").status_code == 404
    assert plain_http.get(f"{site.url}/").status_code == 404


def test_images_of_the_store_are_public(cloud: Any) -> None:
    images = {image.name: image for image in cloud.image.images()}
    assert {"host", "web", "broken"} == set(images)
    assert images["host"].status == "active"
    assert cloud.image.find_image("host").id == images["host"].id
    assert cloud.image.find_image("nothing") is None
    assert [image.name for image in cloud.image.images(name="web")] == ["web"]
    ids = f"in:{images['web'].id},{images['host'].id}"
    assert len(cloud.image.get(f"/images?id={ids}").json()["images"]) == 2
    with pytest.raises(exceptions.ConflictException):
        cloud.image.delete_image(images["host"], ignore_missing=False)


def test_an_upload_boots_in_its_pop_alone(site: Site, cloud: Any) -> None:
    image = cloud.image.create_image(
        name="mine",
        data=io.BytesIO(b"OCI" + b"x" * 100_000),
        container_format="docker",
        disk_format="raw",
        flavour="own",
    )
    image = cloud.image.get_image(image.id)
    assert (image.status, image.size, image.name) == ("active", 100_003, "mine")
    other = site.connect("core")
    assert other.image.find_image("mine") is None
    assert all(not found.name.startswith("upload") for found in other.image.images())
    other.close()
    updated = cloud.image.update_image(image, name="renamed")
    assert updated.name == "renamed"
    cloud.image.delete_image(image, ignore_missing=False)
    assert cloud.image.find_image("renamed") is None


def test_a_wrong_upload_is_400(site: Site, cloud: Any) -> None:
    image = cloud.image.post("/images", json={"name": "bad", "disk_format": "raw", "container_format": "docker"}).json()
    headers = {"X-Auth-Token": cloud.authorize(), "Content-Type": "application/octet-stream"}
    url = f"{site.url}/access/image/v2/images/{image['id']}/file"
    assert plain_http.put(url, content=b"ELF", headers=headers).status_code == 400
    assert plain_http.put(url, content=b"OCI", headers={**headers, "Content-Type": "text/plain"}).status_code == 415
    assert cloud.image.get_image(image["id"]).status == "queued"


def test_image_documents_fulfil_their_own_schema(cloud: Any) -> None:
    schema = cloud.image.get("/schemas/image").json()
    kinds = {str: "string", int: "integer", bool: "boolean", list: "array", type(None): "null"}
    for image in cloud.image.get("/images").json()["images"]:
        for name, value in image.items():
            expected = schema["properties"].get(name, schema["additionalProperties"])["type"]
            assert kinds[type(value)] in ([expected] if isinstance(expected, str) else expected), name
