"""The stock `openstack` command manages projects, users, roles and credentials, and works as one who was made so."""

from __future__ import annotations

import pytest
from tests.contract.openstack.conftest import Site
from tests.stock_client import StockClient, needs_client

pytestmark = needs_client


def names_in(rows: list[dict[str, str]]) -> list[str]:
    return sorted({row["Name"] for row in rows})


def test_projects_users_roles_credentials_and_lists(site: Site) -> None:
    openstack = StockClient(site.openrc())
    assert openstack.json("project create blue --description first --tag sky")["tags"] == ["sky"]
    openstack.ok("project set blue --description changed")
    assert openstack.json("project show blue")["description"] == "changed"
    openstack.ok("user create ada --password long-enough --project blue --email ada@example.org")
    assert openstack.json("user show ada")["email"] == "ada@example.org"
    openstack.ok("role add --project blue --user ada member")
    assigned = openstack.json("role assignment list --user ada --names")
    assert [row["Role"] for row in assigned] == ["member"]
    effective = openstack.json("role assignment list --effective --project blue --names")
    assert {row["Role"] for row in effective} == {"member", "reader"}
    openstack.ok("role create painter")
    assert names_in(openstack.json("role list")) == ["admin", "member", "painter", "reader"]
    openstack.ok("group create painters")
    openstack.ok("group add user painters ada")
    assert names_in(openstack.json("group list --user ada")) == ["painters"]
    assert names_in(openstack.json("project list")) == ["admin", "blue", "service"]
    assert names_in(openstack.json("user list --project blue")) == ["ada"]
    assert names_in(openstack.json("domain list")) == ["Default"]
    openstack.ok("quota set --networks 1 --cores 2 blue")
    limits = {row["Resource"]: row["Limit"] for row in openstack.json("quota show blue")}
    assert (limits["networks"], limits["cores"]) == (1, 2)


@pytest.mark.parametrize(
    "line",
    ["region list", "service list", "endpoint list --interface public", "catalog list", "quota show --usage admin"],
)
def test_lists_of_what_there_is(site: Site, line: str) -> None:
    assert StockClient(site.openrc()).json(line)


def test_a_member_logs_in_works_and_makes_credentials(site: Site) -> None:
    admin = StockClient(site.openrc())
    admin.ok("project create blue")
    admin.ok("user create ada --password long-enough --project blue")
    admin.ok("role add --project blue --user ada member")
    admin.ok("quota set --networks 1 blue")
    ada = StockClient(site.openrc(username="ada", password="long-enough", project_name="blue"))
    assert ada.json("network create one")["name"] == "one"
    assert "Quota exceeded" in ada.fails("network create two")
    credential = "application credential"
    assert ada.json(f"{credential} create robot --role reader --expiration 2999-01-01T00:00:00")["Secret"]
    assert names_in(ada.json(f"{credential} list")) == ["robot"]
    assert ada.json(f"{credential} show robot")["Name"] == "robot"
    ada.ok(f"{credential} delete robot")
    assert ada.json(f"{credential} list") == []
    assert "403" in ada.fails("project create red")


def test_a_token_is_revoked(site: Site) -> None:
    openstack = StockClient(site.openrc())
    token = openstack.json("token issue")["id"]
    others = {key: value for key, value in site.openrc().items() if not key.startswith(("OS_USER", "OS_PASSWORD"))}
    holder = StockClient({**others, "OS_AUTH_TYPE": "token", "OS_TOKEN": token})
    holder.ok("network list")
    openstack.ok(f"token revoke {token}")
    holder.fails("network list")
