"""The stock `openstack` command manages projects, users, roles and credentials, and works as one who was made so.

The commands run one after the other in one process of the client, which costs a start each otherwise.
"""

from __future__ import annotations

import json
import subprocess
from typing import Any

import pytest
from tests.contract.openstack.conftest import Site
from tests.contract.openstack.test_cli import COMMAND, Shell

pytestmark = pytest.mark.skipif(COMMAND is None, reason="python-openstackclient is not installed")


class Session(Shell):
    """Many commands for one start of the client, over its interactive mode."""

    def all(self, *lines: str) -> list[Any]:
        """Run commands; what each prints as JSON. Stops at nothing: a failure shows as what is no JSON."""
        done = subprocess.run(
            [str(COMMAND)],
            input="\n".join(lines) + "\n",
            env=self._env,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        self.said = done.stderr
        return list(_documents(done.stdout))


def _documents(text: str) -> Any:
    """The JSON documents in a text, prompts and all else passed over."""
    decoder, at = json.JSONDecoder(), 0
    while at < len(text):
        if text[at] not in "[{":
            at += 1
            continue
        try:
            document, at = decoder.raw_decode(text, at)
        except json.JSONDecodeError:
            at += 1
            continue
        yield document


def test_projects_users_roles_credentials_and_lists(site: Site) -> None:
    shell = Session(site)
    found = shell.all(
        "project create blue --description first --tag sky -f json",
        "project set blue --description changed",
        "project show blue -f json",
        "user create ada --password long-enough --project blue --email ada@example.org -f json",
        "user show ada -f json",
        "role add --project blue --user ada member",
        "role assignment list --user ada --names -f json",
        "role assignment list --effective --project blue --names -f json",
        "role create painter -f json",
        "role list -f json",
        "group create painters -f json",
        "group add user painters ada",
        "group list --user ada -f json",
        "project list -f json",
        "user list --project blue -f json",
        "domain list -f json",
        "region list -f json",
        "service list -f json",
        "endpoint list --interface public -f json",
        "catalog list -f json",
        "quota set --networks 1 --cores 2 blue",
        "quota show blue --usage -f json",
        "quota show blue -f json",
        "token issue -f json",
    )
    names = [sorted({row["Name"] for row in one}) for one in found if isinstance(one, list) and "Name" in one[0]]
    assert found[0]["tags"] == ["sky"], shell.said
    assert found[1]["description"] == "changed"
    assert found[3]["email"] == "ada@example.org"
    assert [row["Role"] for row in found[4]] == ["member"]
    assert {row["Role"] for row in found[5]} == {"member", "reader"}
    assert names[:5] == [
        ["admin", "member", "painter", "reader"],
        ["painters"],
        ["admin", "blue", "service"],
        ["ada"],
        ["Default"],
    ]
    assert found[-1]["id"], shell.said


def test_a_member_logs_in_works_and_makes_credentials(site: Site) -> None:
    Session(site).all(
        "project create blue",
        "user create ada --password long-enough --project blue",
        "role add --project blue --user ada member",
        "quota set --networks 1 blue",
    )
    ada = Session(site, username="ada", password="long-enough", project_name="blue")
    found = ada.all(
        "network create one -f json",
        "network create two -f json",
        "application credential create robot --role reader --expiration 2999-01-01T00:00:00 -f json",
        "application credential list -f json",
        "application credential show robot -f json",
        "application credential delete robot",
        "application credential list -f json",
        "project create red -f json",
    )
    assert found[0]["name"] == "one"
    assert "Quota exceeded" in ada.said
    assert found[1]["Secret"], ada.said
    assert [row["Name"] for row in found[2]] == ["robot"]
    assert found[3]["Name"] == "robot"
    assert found[4:] == [[]]
    assert "403" in ada.said


def test_a_token_is_revoked(site: Site) -> None:
    shell = Session(site)
    (issued,) = shell.all("token issue -f json")
    assert shell.run("token", "revoke", issued["id"]).returncode == 0
    assert shell.run("--os-auth-type", "token", "--os-token", issued["id"], "server", "list").returncode != 0
