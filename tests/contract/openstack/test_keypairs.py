"""Key pairs as openstacksdk, older clients and ssh-keygen see them."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
from openstack.exceptions import BadRequestException, ConflictException, NotFoundException

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGJrmE2xn7aE1lUlDL3y0XmRVEDu6LVgQvIxWGxgTMZt someone@somewhere"


def fingerprint_by_ssh_keygen(folder: Path, public_key: str) -> str:
    """What OpenSSH itself says."""
    path = folder / "key.pub"
    path.write_text(public_key)
    told = subprocess.run(
        ["ssh-keygen", "-l", "-E", "md5", "-f", str(path)], capture_output=True, text=True, check=True, timeout=10
    )
    return told.stdout.split()[1].removeprefix("MD5:")


def test_an_imported_key_has_the_fingerprint_of_openssh(cloud: Any, tmp_path: Path) -> None:
    made = cloud.compute.create_keypair(name="mine", public_key=KEY)
    assert (made.name, made.type, made.public_key, made.private_key) == ("mine", "ssh", KEY, None)
    assert made.fingerprint == fingerprint_by_ssh_keygen(tmp_path, KEY)
    found = cloud.compute.find_keypair("mine", ignore_missing=False)
    assert (found.fingerprint, found.is_deleted, bool(found.created_at)) == (made.fingerprint, False, True)
    assert [pair.name for pair in cloud.compute.keypairs()] == ["mine"]
    cloud.compute.delete_keypair("mine", ignore_missing=False)
    with pytest.raises(NotFoundException, match="Keypair mine not found"):
        cloud.compute.get_keypair("mine")


def test_a_generated_key_is_told_once_and_fits(cloud: Any, tmp_path: Path) -> None:
    made = cloud.compute.create_keypair(name="made here")
    private = tmp_path / "id"
    private.write_text(made.private_key)
    private.chmod(0o600)
    derived = subprocess.run(
        ["ssh-keygen", "-y", "-f", str(private)], capture_output=True, text=True, check=True, timeout=10
    )
    assert derived.stdout.split()[:2] == made.public_key.split()[:2]
    shown = cloud.compute.get("/os-keypairs/made here", microversion="2.10").json()["keypair"]
    assert "private_key" not in shown


@pytest.mark.parametrize(
    ("microversion", "status", "fields"),
    [
        ("2.1", 200, {"name", "public_key", "fingerprint", "user_id"}),
        ("2.2", 201, {"name", "public_key", "fingerprint", "user_id", "type"}),
        ("2.92", 201, {"name", "public_key", "fingerprint", "user_id", "type"}),
    ],
)
def test_each_microversion_answers_in_its_own_way(cloud: Any, microversion: str, status: int, fields: set[str]) -> None:
    body = {"keypair": {"name": "k", "public_key": KEY}}
    answer = cloud.compute.post("/os-keypairs", json=body, microversion=microversion)
    assert (answer.status_code, answer.json()["keypair"].keys()) == (status, fields)
    gone = cloud.compute.delete("/os-keypairs/k", microversion=microversion)
    assert gone.status_code == (202 if microversion == "2.1" else 204)


def test_from_2_92_on_keys_are_only_imported_and_names_are_freer(cloud: Any) -> None:
    refused = cloud.compute.post("/os-keypairs", json={"keypair": {"name": "k"}}, microversion="2.92")
    assert (refused.status_code, "public_key" in refused.json()["badRequest"]["message"]) == (400, True)
    named = {"keypair": {"name": "me@home.org", "public_key": KEY}}
    assert cloud.compute.post("/os-keypairs", json=named, microversion="2.10").status_code == 400
    assert cloud.compute.post("/os-keypairs", json=named, microversion="2.92").status_code == 201


def test_lists_are_paged_from_2_35_on(cloud: Any) -> None:
    for name in "abc":
        cloud.compute.create_keypair(name=name, public_key=KEY)
    first = cloud.compute.get("/os-keypairs?limit=2", microversion="2.35").json()
    assert [one["keypair"]["name"] for one in first["keypairs"]] == ["a", "b"]
    assert "marker=b" in first["keypairs_links"][0]["href"]
    rest = cloud.compute.get("/os-keypairs?marker=b", microversion="2.35").json()
    assert [one["keypair"]["name"] for one in rest["keypairs"]] == ["c"]
    assert len(cloud.compute.get("/os-keypairs?limit=2", microversion="2.10").json()["keypairs"]) == 3


def test_what_is_no_key_is_refused(cloud: Any) -> None:
    for wrong in ("ssh-rsa nonsense", "", "ssh-ed25519 AAAA"):
        with pytest.raises(BadRequestException, match="Keypair data is invalid"):
            cloud.compute.create_keypair(name="k", public_key=wrong)
    cloud.compute.create_keypair(name="k", public_key=KEY)
    with pytest.raises(ConflictException, match="Key pair 'k' already exists"):
        cloud.compute.create_keypair(name="k", public_key=KEY)


def test_a_certificate_has_a_fingerprint_and_is_made_when_asked_for(cloud: Any) -> None:
    made = cloud.compute.create_keypair(name="windows", type="x509")
    assert made.public_key.startswith("-----BEGIN CERTIFICATE-----")
    cloud.compute.delete_keypair("windows")
    again = cloud.compute.create_keypair(name="windows", type="x509", public_key=made.public_key)
    assert (again.fingerprint, again.fingerprint.count(":")) == (made.fingerprint, 19)


def test_a_server_shows_its_key_and_refuses_one_that_is_not_there(cloud: Any) -> None:
    image, flavor = cloud.image.find_image("host"), cloud.compute.find_flavor("tiny")
    asked = {"name": "s", "image_id": image.id, "flavor_id": flavor.id, "networks": "none"}
    with pytest.raises(BadRequestException, match="Invalid key_name provided"):
        cloud.compute.create_server(**asked, key_name="nobody")
    cloud.compute.create_keypair(name="mine", public_key=KEY)
    server = cloud.compute.create_server(**asked, key_name="mine")
    cloud.compute.delete_keypair("mine")
    assert cloud.compute.get_server(server.id).key_name == "mine"
    with pytest.raises(BadRequestException, match="valid base 64"):
        cloud.compute.create_server(**asked, user_data="no base64!")
