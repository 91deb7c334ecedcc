"""Identity v3: several projects, users and roles; what is taken away takes effect at once."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from openstack import exceptions
from tests import plain_http
from tests.contract.openstack.conftest import PASSWORD, Site

USER, SECRET = "ada", "sufficiently long"


@dataclass
class Keystone:
    """HTTP to the Keystone of PoP `access`, as its administrator unless a token is given."""

    site: Site
    cloud: Any

    def __post_init__(self) -> None:
        self.base = f"{self.site.url}/access"
        self.admin = self.cloud.authorize()
        self.http = plain_http.Client(timeout=30)

    def call(self, method: str, path: str, token: str | None = None, **more: Any) -> httpx.Response:
        headers = {"X-Auth-Token": token or self.admin, **more.pop("headers", {})}
        return self.http.request(method, f"{self.base}/identity/v3{path}", headers=headers, **more)

    def login(self, user: str = USER, password: str = SECRET, scope: Any = None) -> httpx.Response:
        who = {"name": user, "password": password, "domain": {"name": "Default"}}
        auth: dict[str, Any] = {"identity": {"methods": ["password"], "password": {"user": who}}}
        return self._login({**auth, **({"scope": scope} if scope else {})})

    def with_credential(self, **proof: Any) -> httpx.Response:
        methods = {"methods": ["application_credential"], "application_credential": proof}
        return self._login({"identity": methods})

    def with_token(self, token: str, scope: Any = None) -> httpx.Response:
        auth: dict[str, Any] = {"identity": {"methods": ["token"], "token": {"id": token}}}
        return self._login({**auth, **({"scope": scope} if scope else {})})

    def _login(self, auth: Any) -> httpx.Response:
        return self.http.post(f"{self.base}/identity/v3/auth/tokens", json={"auth": auth})

    def lists_servers(self, token: str) -> int:
        return self.http.get(f"{self.base}/compute/v2.1/servers", headers={"X-Auth-Token": token}).status_code


@pytest.fixture
def keystone(site: Site, cloud: Any) -> Iterator[Keystone]:
    made = Keystone(site, cloud)
    yield made
    made.http.close()


@dataclass
class Team:
    project: Any
    user: Any
    role: Any

    @property
    def scope(self) -> dict[str, Any]:
        return {"project": {"id": self.project.id}}


@pytest.fixture
def team(cloud: Any) -> Team:
    """Project `blue` with the member `ada`."""
    identity = cloud.identity
    project = identity.create_project(name="blue", description="the blue ones")
    user = identity.create_user(name=USER, password=SECRET, default_project_id=project.id, email="ada@example.org")
    role = identity.find_role("member")
    identity.assign_project_role_to_user(project, user, role)
    return Team(project, user, role)


def token_of(answer: httpx.Response) -> str:
    assert answer.status_code == 201, answer.text
    return str(answer.headers["x-subject-token"])


def test_a_member_works_in_the_own_project_through_the_sdk(site: Site, cloud: Any, team: Team) -> None:
    own = site.connect(username=USER, password=SECRET, project_name="blue")
    network = own.network.create_network(name="blue net")
    assert network.project_id == team.project.id
    assert own.identity.get_project(team.project.id).name == "blue"
    assert [project.name for project in own.identity.user_projects(team.user)] == ["blue"]
    with pytest.raises(exceptions.ForbiddenException):
        list(own.identity.users())
    with pytest.raises(exceptions.ForbiddenException):
        own.identity.create_project(name="red")
    own.close()
    cloud.identity.delete_project(team.project)
    assert cloud.network.get_network(network.id).project_id == team.project.id  # an orphan, visible to admin


def test_scopes(keystone: Keystone, team: Team) -> None:
    by_default = keystone.login().json()["token"]
    assert (by_default["project"]["name"], [role["name"] for role in by_default["roles"]]) == (
        "blue",
        ["member", "reader"],
    )
    named = {"project": {"name": "blue", "domain": {"name": "Default"}}}
    assert keystone.login(scope=named).json()["token"]["project"]["id"] == team.project.id
    assert keystone.login(scope={"project": {"name": "admin", "domain": {"id": "default"}}}).status_code == 401
    assert keystone.login(scope={"system": {"all": True}}).status_code == 401
    assert keystone.login(scope={"domain": {"id": "default"}}).status_code == 401
    unscoped = keystone.login(scope="unscoped")
    assert not {"project", "roles", "catalog"} & unscoped.json()["token"].keys()
    assert keystone.lists_servers(token_of(unscoped)) == 403
    mine = keystone.call("GET", "/auth/projects", token_of(unscoped)).json()["projects"]
    assert [project["name"] for project in mine] == ["blue"]
    system = keystone.login("admin", PASSWORD, {"system": {"all": True}})
    assert system.json()["token"]["system"] == {"all": True}
    assert keystone.call("GET", "/users", token_of(system)).status_code == 200
    assert keystone.lists_servers(token_of(system)) == 403
    domain = keystone.login("admin", PASSWORD, {"domain": {"name": "Default"}})
    assert domain.json()["token"]["domain"]["id"] == "default"
    assert keystone.call("GET", "/auth/system").json()["system"] == [{"all": True}]
    assert [one["id"] for one in keystone.call("GET", "/auth/domains").json()["domains"]] == ["default"]


def test_a_token_got_with_a_token_lives_no_longer(keystone: Keystone, team: Team) -> None:
    first = keystone.login(scope="unscoped")
    second = keystone.with_token(token_of(first), team.scope)
    token = second.json()["token"]
    assert token["expires_at"] == first.json()["token"]["expires_at"]
    assert token["methods"] == ["token", "password"]
    assert token["audit_ids"][1:] == first.json()["token"]["audit_ids"]
    assert "catalog" in token
    shown = keystone.call("GET", "/auth/tokens?nocatalog", headers={"X-Subject-Token": token_of(second)})
    assert "catalog" not in shown.json()["token"]


def test_tokens_are_validated_by_their_owner_and_by_admin(keystone: Keystone, team: Team) -> None:
    own, subject = token_of(keystone.login()), {"X-Subject-Token": keystone.admin}
    assert keystone.call("GET", "/auth/tokens", own, headers=subject).status_code == 403
    assert keystone.call("DELETE", "/auth/tokens", own, headers=subject).status_code == 403
    assert keystone.call("HEAD", "/auth/tokens", headers={"X-Subject-Token": own}).status_code == 200
    assert keystone.call("GET", "/auth/tokens", headers={"X-Subject-Token": "x" * 180}).status_code == 404
    assert keystone.call("GET", "/auth/tokens", "x" * 5000).status_code == 401
    assert keystone.call("GET", "/auth/tokens").status_code == 400
    assert keystone.call("DELETE", "/auth/tokens", headers={"X-Subject-Token": own}).status_code == 204
    assert keystone.lists_servers(own) == 401
    assert keystone.call("HEAD", "/auth/tokens", headers={"X-Subject-Token": own}).status_code == 404


def lose_role(cloud: Any, team: Team) -> None:
    cloud.identity.unassign_project_role_from_user(team.project, team.user, team.role)


TAKEN_AWAY = {
    "the role": lose_role,
    "the project": lambda cloud, team: cloud.identity.delete_project(team.project),
    "the project's life": lambda cloud, team: cloud.identity.update_project(team.project, enabled=False),
    "the user": lambda cloud, team: cloud.identity.delete_user(team.user),
    "the user's life": lambda cloud, team: cloud.identity.update_user(team.user, enabled=False),
    "the password": lambda cloud, team: cloud.identity.update_user(team.user, password="another one"),
}


@pytest.mark.parametrize("what", TAKEN_AWAY)
def test_tokens_end_with_what_they_stand_for(keystone: Keystone, cloud: Any, team: Team, what: str) -> None:
    token = token_of(keystone.login(scope=team.scope))
    assert keystone.lists_servers(token) == 200
    TAKEN_AWAY[what](cloud, team)
    assert keystone.lists_servers(token) == 401
    assert keystone.login(scope=team.scope).status_code == 401


def test_users_change_their_own_password(keystone: Keystone, team: Team) -> None:
    token, path = token_of(keystone.login()), f"/users/{team.user.id}/password"
    wrong = {"user": {"original_password": "guessed", "password": "new one"}}
    assert keystone.call("POST", path, token, json=wrong).status_code == 401
    right = {"user": {"original_password": SECRET, "password": "new one"}}
    assert keystone.call("POST", path, token, json=right).status_code == 204
    assert keystone.lists_servers(token) == 401
    assert keystone.login().status_code == 401
    token_of(keystone.login(password="new one"))


def test_a_user_without_a_password_cannot_log_in(keystone: Keystone, cloud: Any) -> None:
    cloud.identity.create_user(name="nobody")
    for password in ("", "None", "null", PASSWORD):
        assert keystone.login("nobody", password, "unscoped").status_code == 401


def test_application_credentials(keystone: Keystone, cloud: Any, team: Team) -> None:
    token, path = token_of(keystone.login()), f"/users/{team.user.id}/application_credentials"
    wish = {"name": "robot", "roles": [{"name": "reader"}], "expires_at": "2999-01-01T00:00:00.000000"}
    made = keystone.call("POST", path, token, json={"application_credential": wish})
    assert made.status_code == 201
    robot = made.json()["application_credential"]
    assert ([role["name"] for role in robot["roles"]], robot["unrestricted"]) == (["reader"], False)
    shown = keystone.call("GET", f"{path}/{robot['id']}", token).json()["application_credential"]
    assert "secret" not in shown
    assert shown["expires_at"] == wish["expires_at"]
    again = keystone.call("POST", path, token, json={"application_credential": {"name": "robot"}})
    assert again.status_code == 409
    answer = keystone.with_credential(id=robot["id"], secret=robot["secret"])
    by_robot = token_of(answer)
    assert [role["name"] for role in answer.json()["token"]["roles"]] == ["reader"]
    assert keystone.lists_servers(by_robot) == 200
    created = keystone.http.post(
        f"{keystone.base}/network/v2.0/networks", json={"network": {}}, headers={"X-Auth-Token": by_robot}
    )
    assert created.status_code == 403
    further = keystone.call("POST", path, by_robot, json={"application_credential": {"name": "more"}})
    assert further.status_code == 403
    named = {"name": "robot", "user": {"id": team.user.id}}
    assert keystone.with_credential(**named, secret=robot["secret"]).status_code == 201
    assert keystone.with_credential(**named, secret="guessed").status_code == 401
    assert keystone.with_token(by_robot).status_code == 401
    assert keystone.call("DELETE", f"{path}/{robot['id']}", token).status_code == 204
    assert keystone.lists_servers(by_robot) == 401
    assert keystone.with_credential(id=robot["id"], secret=robot["secret"]).status_code == 401


IMPOSSIBLE: list[tuple[dict[str, Any], int]] = [
    ({"roles": [{"name": "admin"}]}, 400),
    ({"roles": [{"name": "unheard of"}]}, 404),
    ({"expires_at": "2001-01-01T00:00:00"}, 400),
    ({"expires_at": "tomorrow"}, 400),
    ({"access_rules": [{"path": "/v2.1/servers", "method": "GET", "service": "compute"}]}, 501),
    ({"name": ""}, 400),
]


def test_credentials_that_cannot_be(keystone: Keystone, team: Team) -> None:
    token, path = token_of(keystone.login()), f"/users/{team.user.id}/application_credentials"
    for changes, status in IMPOSSIBLE:
        body = {"application_credential": {"name": "robot", **changes}}
        assert keystone.call("POST", path, token, json=body).status_code == status, changes


def test_an_expired_credential_is_worthless(keystone: Keystone, team: Team) -> None:
    soon = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 3600))
    token, path = token_of(keystone.login()), f"/users/{team.user.id}/application_credentials"
    body = {"application_credential": {"name": "robot", "expires_at": soon}}
    robot = keystone.call("POST", path, token, json=body).json()["application_credential"]
    token = keystone.with_credential(id=robot["id"], secret=robot["secret"]).json()["token"]
    assert token["expires_at"][:19] == soon[:19]
    tables = keystone.site.clouds["access"].tables.application_credentials
    tables.change(robot["id"], expires_at=time.time() - 1)
    assert keystone.with_credential(id=robot["id"], secret=robot["secret"]).status_code == 401


def test_groups_give_roles(keystone: Keystone, cloud: Any, team: Team) -> None:
    identity = cloud.identity
    group = identity.create_group(name="painters")
    other = identity.create_project(name="red")
    assert keystone.call("PUT", f"/projects/{other.id}/groups/{group.id}/roles/{team.role.id}").status_code == 204
    scope = {"project": {"id": other.id}}
    assert keystone.login(scope=scope).status_code == 401
    assert keystone.call("PUT", f"/groups/{group.id}/users/{team.user.id}").status_code == 204
    assert [user.name for user in identity.group_users(group)] == [USER]
    token = token_of(keystone.login(scope=scope))
    effective = keystone.call("GET", f"/role_assignments?effective&scope.project.id={other.id}&include_names=true")
    found = {(one["user"]["name"], one["role"]["name"]) for one in effective.json()["role_assignments"]}
    assert found == {(USER, "member"), (USER, "reader")}
    identity.delete_group(group)
    assert keystone.lists_servers(token) == 401


def test_grants_are_put_checked_listed_and_taken_away(keystone: Keystone, cloud: Any, team: Team) -> None:
    reader = cloud.identity.find_role("reader")
    grant = f"/projects/{team.project.id}/users/{team.user.id}/roles/{reader.id}"
    assert keystone.call("HEAD", grant).status_code == 404
    assert keystone.call("PUT", grant).status_code == 204
    assert keystone.call("HEAD", grant).status_code == 204
    listed = keystone.call("GET", grant.rpartition("/")[0]).json()["roles"]
    assert {role["name"] for role in listed} == {"member", "reader"}
    assignments = list(cloud.identity.role_assignments(user_id=team.user.id, include_names=True))
    assert {one.role["name"] for one in assignments} == {"member", "reader"}
    assert keystone.call("DELETE", grant).status_code == 204
    assert keystone.call("DELETE", grant).status_code == 404
    assert keystone.call("PUT", grant.replace(reader.id, "nothing")).status_code == 404
    everywhere = keystone.call("GET", "/role_assignments?scope.system=all").json()["role_assignments"]
    assert [one["scope"] for one in everywhere] == [{"system": {"all": True}}]


REFUSED: list[tuple[str, str, Any, int]] = [
    ("POST", "/projects", {"project": {"name": "blue"}}, 409),
    ("POST", "/projects", {"project": {"name": "BLUE"}}, 409),
    ("POST", "/projects", {"project": {}}, 400),
    ("POST", "/projects", {"project": {"name": "p", "enabled": "yes"}}, 400),
    ("POST", "/projects", {"project": {"name": "p" * 65}}, 400),
    ("POST", "/projects", {"project": {"name": "p", "domain_id": "other"}}, 404),
    ("POST", "/projects", {"project": {"name": "p", "parent_id": "other"}}, 501),
    ("POST", "/projects", {"project": {"name": "p", "is_domain": True}}, 501),
    ("POST", "/users", {"user": {"name": USER}}, 409),
    ("POST", "/users", {"user": {"name": "u", "password": 7}}, 400),
    ("POST", "/users", {"user": {"name": "u", "options": {"lock_password": True}}}, 400),
    ("POST", "/roles", {"role": {"name": "admin"}}, 409),
    ("POST", "/roles", {"role": {"name": "r", "unknown": 1}}, 400),
    ("POST", "/domains", {"domain": {"name": "second"}}, 501),
    ("POST", "/services", {"service": {"type": "dns"}}, 501),
    ("POST", "/regions", {"region": {"id": "second"}}, 501),
    ("GET", "/projects/nothing", None, 404),
    ("PATCH", "/users/nothing", {"user": {"name": "x"}}, 404),
    ("DELETE", "/roles/nothing", None, 404),
    ("GET", "/trusts", None, 404),
    ("PUT", "/projects", None, 405),
]


def test_refusals(keystone: Keystone, team: Team) -> None:
    for method, path, body, status in REFUSED:
        answer = keystone.call(method, path, json=body)
        assert answer.status_code == status, (method, path, body)
        assert answer.json()["error"]["code"] == status


def test_what_the_emulation_needs_stays(keystone: Keystone, cloud: Any) -> None:
    admin, project = cloud.identity.find_user("admin"), cloud.identity.find_project("admin")
    role = cloud.identity.find_role("admin")
    for method, path, body in (
        ("DELETE", f"/users/{admin.id}", None),
        ("PATCH", f"/users/{admin.id}", {"user": {"enabled": False}}),
        ("PATCH", f"/users/{admin.id}", {"user": {"password": "mine"}}),
        ("DELETE", f"/projects/{project.id}", None),
        ("PATCH", f"/projects/{project.id}", {"project": {"name": "other"}}),
        ("PATCH", f"/projects/{project.id}", {"project": {"options": {"immutable": False}}}),
        ("DELETE", f"/roles/{role.id}", None),
        ("DELETE", f"/projects/{project.id}/users/{admin.id}/roles/{role.id}", None),
    ):
        assert keystone.call(method, path, json=body).status_code == 403, (method, path)
    assert keystone.lists_servers(keystone.admin) == 200


def test_unknown_attributes_of_users_and_projects_are_kept_and_passwords_never_shown(
    keystone: Keystone, team: Team
) -> None:
    user = keystone.call("GET", f"/users/{team.user.id}").json()["user"]
    assert user["email"] == "ada@example.org"
    assert "password" not in " ".join(user).replace("password_expires_at", "")
    changed = keystone.call("PATCH", f"/projects/{team.project.id}", json={"project": {"cost": 7, "tags": ["a"]}})
    assert (changed.json()["project"]["cost"], changed.json()["project"]["tags"]) == (7, ["a"])
    by_name = keystone.call("GET", "/projects?name=blue&enabled=true").json()["projects"]
    assert [project["id"] for project in by_name] == [team.project.id]
    first = keystone.call("GET", "/projects?limit=1&sort_key=name").json()
    assert [project["name"] for project in first["projects"]] == ["admin"]
    assert "marker=" in first["links"]["next"]
