"""Stacks over the wire: openstacksdk and the stock `openstack stack` commands against a PoP."""

from __future__ import annotations

import importlib.util
import time
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from tests import plain_http
from tests.contract.openstack.conftest import Site
from tests.stock_client import StockClient, needs_client

CHAIN = """
heat_template_version: rocky
description: a server on a network of its own
parameters:
  cidr: {type: string, default: 10.7.0.0/24}
  flavor: {type: string, default: tiny}
  label: {type: string, default: a}
resources:
  net: {type: OS::Neutron::Net, properties: {name: blue}}
  subnet: {type: OS::Neutron::Subnet, properties: {network: {get_resource: net}, cidr: {get_param: cidr}}}
  port:
    type: OS::Neutron::Port
    properties: {network: {get_resource: net}, fixed_ips: [{subnet: {get_resource: subnet}}]}
  server:
    type: OS::Nova::Server
    properties:
      image: host
      flavor: {get_param: flavor}
      networks: [{port: {get_resource: port}}]
      metadata: {label: {get_param: label}}
outputs:
  address: {value: {get_attr: [server, first_address]}}
  by_name: {value: {get_attr: [server, networks, blue]}}
"""
VALUES = """
heat_template_version: rocky
resources:
  first: {type: OS::Heat::TestResource, properties: {value: one}}
  second: {type: OS::Heat::Value, properties: {value: {get_attr: [first, output]}}}
outputs:
  told: {value: {get_attr: [second, value]}}
"""


class Heat:
    """Stacks of one PoP as a test handles them."""

    def __init__(self, site: Site) -> None:
        self.cloud = site.connect()
        self.project = self.cloud.current_project_id
        self.base = f"{site.url}/access/orchestration/v1/{self.project}"
        self.headers = {"X-Auth-Token": self.cloud.auth_token}

    def call(self, method: str, path: str, body: Any = None) -> httpx.Response:
        """A request as it goes over the wire; redirects are not followed."""
        return plain_http.request(method, self.base + path, json=body, headers=self.headers, timeout=10)

    def create(self, name: str, template: str, **more: Any) -> dict[str, Any]:
        """A stack after its creation, however that ended."""
        made = self.call("POST", "/stacks", {"stack_name": name, "template": yaml.safe_load(template), **more})
        assert made.status_code == 201, made.text
        return self.settled(name, made.json()["stack"]["id"])

    def update(self, name: str, template: str, **more: Any) -> dict[str, Any]:
        """A stack after its update."""
        stack = self.show(name)
        path = f"/stacks/{name}/{stack['id']}"
        done = self.call("PUT", path, {"template": yaml.safe_load(template), **more})
        assert done.status_code == 202, done.text
        return self.settled(name, stack["id"])

    def show(self, name: str) -> dict[str, Any]:
        """A stack by its name."""
        location = self.call("GET", f"/stacks/{name}").headers["location"]
        found: dict[str, Any] = plain_http.get(location, headers=self.headers).json()["stack"]
        return found

    def settled(self, name: str, stack_id: str) -> dict[str, Any]:
        """A stack when nothing goes on with it any more."""
        for _ in range(400):
            answer = self.call("GET", f"/stacks/{name}/{stack_id}")
            if answer.status_code == 404:
                return {"stack_status": "GONE"}
            stack: dict[str, Any] = answer.json()["stack"]
            if not stack["stack_status"].endswith("IN_PROGRESS"):
                return stack
            time.sleep(0.02)
        raise AssertionError(f"stack {name} does not come to an end")

    def delete(self, name: str) -> dict[str, Any]:
        """What is left of a stack after its deletion."""
        stack_id = self.show(name)["id"]
        assert self.call("DELETE", f"/stacks/{name}/{stack_id}").status_code == 204
        return self.settled(name, stack_id)

    def resources(self, name: str, query: str = "") -> dict[str, Any]:
        """Resources of a stack by name."""
        path = f"/stacks/{name}/{self.show(name)['id']}/resources{query}"
        return {one["resource_name"]: one for one in self.call("GET", path).json()["resources"]}

    def events(self, name: str) -> list[tuple[str, str]]:
        """Names and states of the events of a stack."""
        path = f"/stacks/{name}/{self.show(name)['id']}/events"
        found = self.call("GET", path).json()["events"]
        return [(one["resource_name"], one["resource_status"]) for one in found]


def outputs(stack: dict[str, Any]) -> dict[str, Any]:
    """Outputs of a stack by key."""
    return {one["output_key"]: one["output_value"] for one in stack["outputs"]}


@pytest.fixture
def heat(site: Site) -> Any:
    """Stacks of PoP `access`."""
    found = Heat(site)
    yield found
    found.cloud.close()


def test_a_server_with_its_network_is_made_changed_and_taken_down(heat: Heat) -> None:
    stack = heat.create("chain", CHAIN)
    assert stack["stack_status"] == "CREATE_COMPLETE", stack["stack_status_reason"]
    assert outputs(stack) == {"address": "10.7.0.2", "by_name": ["10.7.0.2"]}
    server = heat.cloud.compute.get_server(heat.resources("chain")["server"]["physical_resource_id"])
    assert (server.status, server.metadata) == ("ACTIVE", {"label": "a"})
    order = heat.events("chain")
    assert order.index(("subnet", "CREATE_COMPLETE")) < order.index(("port", "CREATE_IN_PROGRESS"))
    assert (order[0], order[-1]) == (("chain", "CREATE_IN_PROGRESS"), ("chain", "CREATE_COMPLETE"))

    # Metadata change in place; another range needs another subnet, and so another port and server.
    heat.update("chain", CHAIN, parameters={"label": "b"})
    again = heat.cloud.compute.get_server(server.id)
    assert (again.status, again.metadata) == ("ACTIVE", {"label": "b"})
    before = {name: one["physical_resource_id"] for name, one in heat.resources("chain").items()}
    moved = heat.update("chain", CHAIN, parameters={"label": "b", "cidr": "10.8.0.0/24"})
    assert moved["stack_status"] == "UPDATE_COMPLETE", moved["stack_status_reason"]
    assert outputs(moved)["address"] == "10.8.0.2"
    assert len(list(heat.cloud.compute.servers())) == 1
    after = {name: one["physical_resource_id"] for name, one in heat.resources("chain").items()}
    assert (before["net"] == after["net"], before["subnet"] == after["subnet"]) == (True, False)

    assert heat.delete("chain") == {"stack_status": "GONE"}
    assert [network.name for network in heat.cloud.network.networks()] == ["external"]
    assert list(heat.cloud.compute.servers()) == []


def test_a_failure_is_told_and_rolled_back_when_wanted(heat: Heat) -> None:
    wrong = CHAIN.replace("image: host", "image: nothing")
    failed = heat.create("kept", wrong)
    assert failed["stack_status"] == "CREATE_FAILED"
    assert "Resource CREATE failed" in failed["stack_status_reason"]
    assert "nothing" in failed["stack_status_reason"]
    assert heat.resources("kept")["server"]["resource_status"] == "CREATE_FAILED"
    assert heat.delete("kept") == {"stack_status": "GONE"}
    rolled = heat.create("rolled", wrong, disable_rollback=False)
    assert rolled["stack_status"] == "ROLLBACK_COMPLETE"
    assert [network.name for network in heat.cloud.network.networks()] == ["external"]


def test_an_update_that_fails_goes_back_to_what_was_before(heat: Heat) -> None:
    heat.create("back", VALUES, disable_rollback=False)
    failing = VALUES.replace("{value: one}", "{value: two, fail: true}")
    stack = heat.update("back", failing, disable_rollback=False)
    assert stack["stack_status"] == "ROLLBACK_COMPLETE", stack["stack_status_reason"]
    assert outputs(stack) == {"told": "one"}


def test_nested_stacks_groups_and_environments(heat: Heat) -> None:
    template = """
heat_template_version: rocky
resources:
  inner: {type: My::Thing, properties: {text: hello}}
  group:
    type: OS::Heat::ResourceGroup
    properties:
      count: 3
      resource_def: {type: OS::Heat::Value, properties: {value: "number %index%"}}
outputs:
  said: {value: {get_attr: [inner, said]}}
  all: {value: {get_attr: [group, value]}}
  one: {value: {get_attr: [group, resource.1.value]}}
  map: {value: {get_attr: [group, attributes, value]}}
"""
    thing = """
heat_template_version: rocky
parameters: {text: {type: string}}
resources:
  keep:
    type: OS::Heat::Value
    properties: {value: {str_replace: {template: T!, params: {T: {get_param: text}}}}}
outputs: {said: {value: {get_attr: [keep, value]}}}
"""
    given = {"files": {"thing.yaml": thing}, "environment": {"resource_registry": {"My::Thing": "thing.yaml"}}}
    stack = heat.create("outer", template, **given)
    assert stack["stack_status"] == "CREATE_COMPLETE", stack["stack_status_reason"]
    numbers = [f"number {index}" for index in range(3)]
    told = outputs(stack)
    assert (told["said"], told["all"], told["one"]) == ("hello!", numbers, "number 1")
    assert told["map"] == {"0": "number 0", "1": "number 1", "2": "number 2"}
    assert {"keep", "0", "1", "2"} <= heat.resources("outer", "?nested_depth=2").keys()
    policy = "removal_policies: [{resource_list: ['1']}]\n      count: 2"
    fewer = heat.update("outer", template.replace("count: 3", policy).replace("resource.1", "resource.2"), **given)
    assert outputs(fewer)["all"] == ["number 0", "number 2"]
    assert len(heat.call("GET", "/stacks").json()["stacks"]) == 1
    assert len(heat.call("GET", "/stacks?show_nested=true").json()["stacks"]) == 3
    assert heat.delete("outer") == {"stack_status": "GONE"}
    assert heat.call("GET", "/stacks?show_nested=true").json()["stacks"] == []


def test_a_wait_condition_is_released_by_a_signal_with_its_own_secret(heat: Heat) -> None:
    template = """
heat_template_version: rocky
resources:
  handle: {type: OS::Heat::WaitConditionHandle}
  wait: {type: OS::Heat::WaitCondition, properties: {handle: {get_resource: handle}, timeout: 60, count: 2}}
outputs:
  data: {value: {get_attr: [wait, data]}}
"""
    made = heat.call("POST", "/stacks", {"stack_name": "waiting", "template": template}).json()["stack"]
    path = f"/stacks/waiting/{made['id']}/resources/handle"
    for _ in range(200):
        shown = heat.call("GET", path).json().get("resource", {})
        if (token := (shown.get("attributes") or {}).get("token")) is not None:
            break
        time.sleep(0.02)
    for_servers = shown["attributes"]["endpoint"]
    assert for_servers.startswith("http://169.254.169.254/orchestration/v1/")
    url = heat.base + path + "/signal"
    assert plain_http.post(url, json={"id": "a"}, headers={"X-Auth-Token": "wrong"}).status_code == 401
    for signal in ({"id": "a", "data": "x"}, {"id": "b", "data": 7}):
        assert plain_http.post(url, json=signal, headers={"X-Auth-Token": token}).status_code == 200
    stack = heat.settled("waiting", made["id"])
    assert stack["stack_status"] == "CREATE_COMPLETE", stack["stack_status_reason"]
    assert yaml.safe_load(outputs(stack)["data"]) == {"a": "x", "b": 7}
    # The secret of a suspended resource opens nothing, and nobody else signals it either.
    for action, by_secret, by_owner in (("suspend", 401, 400), ("resume", 200, 200)):
        heat.call("POST", f"/stacks/waiting/{made['id']}/actions", {action: None})
        heat.settled("waiting", made["id"])
        assert plain_http.post(url, json={"id": "a"}, headers={"X-Auth-Token": token}).status_code == by_secret
        assert plain_http.post(url, json={"id": "a"}, headers=heat.headers).status_code == by_owner


def test_a_scaling_policy_changes_its_group(heat: Heat) -> None:
    template = """
heat_template_version: rocky
resources:
  group:
    type: OS::Heat::AutoScalingGroup
    properties: {min_size: 1, max_size: 3, resource: {type: OS::Heat::Value, properties: {value: v}}}
  out:
    type: OS::Heat::ScalingPolicy
    properties:
      {auto_scaling_group_id: {get_resource: group}, scaling_adjustment: 5, adjustment_type: change_in_capacity}
outputs:
  size: {value: {get_attr: [group, current_size]}}
  url: {value: {get_attr: [out, alarm_url]}}
  values: {value: {get_attr: [group, outputs_list, value]}}
"""
    stack = heat.create("scaled", template)
    assert outputs(stack)["size"] == 1
    assert plain_http.post(outputs(stack)["url"]).status_code == 200
    told: dict[str, Any] = {}
    for _ in range(200):
        told = outputs(heat.show("scaled"))
        if told["values"] == ["v"] * 3:
            break
        time.sleep(0.02)
    assert (told["size"], told["values"]) == (3, ["v"] * 3)


def test_what_cannot_be_is_refused_in_heats_form(heat: Heat) -> None:
    heat.create("taken", VALUES)
    taken = heat.call("POST", "/stacks", {"stack_name": "taken", "template": VALUES})
    assert taken.status_code == 409
    assert (taken.json()["error"]["type"], taken.json()["code"]) == ("StackExists", 409)
    missing = heat.call("GET", "/stacks/nothing")
    assert (missing.status_code, missing.json()["error"]["type"]) == (404, "EntityNotFound")
    for text, told in (
        (VALUES.replace("rocky", "1999-01-01"), "InvalidTemplateVersion"),
        (VALUES.replace("OS::Heat::Value", "OS::Heat::Nothing"), "StackValidationFailed"),
        (VALUES.replace("OS::Heat::Value", "OS::Heat::AccessPolicy"), "ResourceTypeUnavailable"),
        (VALUES.replace("OS::Heat::Value", "AWS::IAM::AccessKey"), "ResourceTypeUnavailable"),
        (VALUES.replace("{value: one}", "{valu: one}"), "StackValidationFailed"),
        (VALUES.replace("[first, output]", "[first, nothing]"), "StackValidationFailed"),
    ):
        answer = heat.call("POST", "/stacks", {"stack_name": "wrong", "template": text})
        assert (answer.status_code, answer.json()["error"]["type"]) == (400, told), answer.text
    cluster = VALUES.replace("OS::Heat::Value", "OS::Magnum::Cluster")
    absent = heat.call("POST", "/stacks", {"stack_name": "wrong", "template": cluster})
    assert (absent.status_code, absent.json()["error"]["type"]) == (400, "ResourceTypeUnavailable")
    assert absent.json()["error"]["message"] == (
        "HEAT-E99001 Service magnum is not available for resource type OS::Magnum::Cluster, reason: "
        "magnum container-infra endpoint is not in service catalog."
    )
    sinks = {"event_sinks": [{"type": "zaqar-queue", "target": "mine"}]}
    unheard = heat.call("POST", "/stacks", {"stack_name": "wrong", "template": VALUES, "environment": sinks})
    assert (unheard.status_code, unheard.json()["error"]["type"]) == (400, "ResourceTypeUnavailable")
    assert "zaqar messaging endpoint is not in service catalog" in unheard.json()["error"]["message"]
    assert heat.call("GET", "/stacks?limit=1&sort_keys=stack_name").json()["stacks"][0]["stack_name"] == "taken"
    other = heat.base.replace(heat.project, "0" * 32)
    assert plain_http.get(f"{other}/stacks", headers=heat.headers).status_code == 403


def test_check_suspend_preview_and_adoption(heat: Heat) -> None:
    stack = heat.create("one", VALUES)
    path = f"/stacks/one/{stack['id']}"
    for action, state in (("check", "CHECK"), ("suspend", "SUSPEND"), ("resume", "RESUME")):
        assert heat.call("POST", f"{path}/actions", {action: None}).status_code == 200
        assert heat.settled("one", stack["id"])["stack_status"] == f"{state}_COMPLETE"
        if action == "suspend":
            refused = heat.call("PUT", path, {"template": VALUES})
            assert (refused.status_code, refused.json()["error"]["type"]) == (400, "NotSupported")
    changed = {"template": VALUES.replace("value: one", "value: two")}
    fates = heat.call("PUT", f"{path}/preview", changed).json()["resource_changes"]
    assert [one["resource_name"] for one in fates["updated"]] == ["first"]
    abandoned = heat.call("DELETE", f"{path}/abandon").json()
    assert heat.call("GET", "/stacks").json()["stacks"] == []
    adopted = heat.create("two", VALUES, adopt_stack_data=abandoned)
    assert (adopted["stack_status"], outputs(adopted)) == ("ADOPT_COMPLETE", {"told": "one"})


@needs_client
@pytest.mark.skipif(
    importlib.util.find_spec("heatclient") is None,
    reason="python-heatclient is not installed",
)
def test_the_stock_commands(site: Site, tmp_path: Path) -> None:
    openstack = StockClient(site.openrc())
    template = tmp_path / "stack.yaml"
    template.write_text(VALUES)
    assert "CREATE_COMPLETE" in openstack.ok(f"stack create --wait -t {template} cli")
    template.write_text(VALUES.replace("value: one", "value: two"))
    assert "UPDATE_COMPLETE" in openstack.ok(f"stack update --wait -t {template} cli")
    assert openstack.json("stack output show cli told")["output_value"] == "two"
    assert {one["resource_name"] for one in openstack.json("stack resource list cli")} == {"first", "second"}
    assert openstack.json("stack event list cli")[0]["resource_name"] == "cli"
    openstack.ok("stack delete --yes --wait cli")


@needs_client
@pytest.mark.skipif(
    importlib.util.find_spec("heatclient") is None,
    reason="python-heatclient is not installed",
)
def test_the_other_stock_commands(site: Site, tmp_path: Path) -> None:
    openstack = StockClient(site.openrc())
    template, saved = tmp_path / "stack.yaml", tmp_path / "saved.json"
    template.write_text(VALUES)
    openstack.ok(f"stack create --wait -t {template} cli")
    for command in (
        "stack show cli",
        "stack list --nested",
        "stack template show cli",
        "stack environment show cli",
        "stack file list cli",
        "stack output list cli",
        "stack resource show cli first",
        "stack resource metadata cli first",
        "stack failures list cli",
        "stack check --wait cli",
        "stack suspend --wait cli",
        "stack resume --wait cli",
        "stack resource mark unhealthy cli first",
        "stack update --wait --existing cli",
        "stack update --dry-run --existing cli",
        "orchestration build info",
        "orchestration service list",
        "orchestration resource type list",
        "orchestration resource type show OS::Nova::Server",
        f"orchestration template validate -t {template}",
        "orchestration template version list",
        "orchestration template function list heat_template_version.2018-08-31",
        "software config list",
        "software deployment list",
        "stack snapshot list cli",
        f"stack abandon --output-file {saved} cli",
        f"stack adopt --wait --adopt-file {saved} cli",
        "stack delete --yes --wait cli",
    ):
        openstack.ok(command)


PARAMETERS = """
heat_template_version: rocky
parameters: {a: {type: string}, b: {type: string}, c: {type: string}}
outputs: {told: {value: [{get_param: a}, {get_param: b}, {get_param: c}]}}
"""


@needs_client
@pytest.mark.skipif(
    importlib.util.find_spec("heatclient") is None,
    reason="python-heatclient is not installed",
)
def test_files_of_the_environment_win_in_their_order_and_over_parameters(site: Site, tmp_path: Path) -> None:
    """As in Heat, which lays environment files over the parameters of a request."""
    openstack = StockClient(site.openrc())
    for name, text in (
        ("template", PARAMETERS),
        ("one", "parameters: {a: one, b: one}"),
        ("two", "parameters: {b: two}"),
    ):
        (tmp_path / f"{name}.yaml").write_text(text)
    files = f"-t {tmp_path}/template.yaml -e {tmp_path}/one.yaml -e {tmp_path}/two.yaml"
    openstack.ok(f"stack create --wait {files} --parameter a=given --parameter c=given cli")
    assert openstack.json("stack output show cli told")["output_value"] == ["one", "two", "given"]
    openstack.ok("stack delete --yes --wait cli")


GROUP = """
heat_template_version: rocky
parameters: {value: {type: string, default: one}}
resources:
  group:
    type: OS::Heat::ResourceGroup
    update_policy: {rolling_update: {max_batch_size: 1, min_in_service: 2}, batch_create: {max_batch_size: 1}}
    properties:
      count: 2
      resource_def: {type: OS::Heat::TestResource, properties: {value: {get_param: value}, wait_secs: 0}}
outputs:
  values: {value: {get_attr: [group, output]}}
"""


def test_a_group_is_made_and_changed_in_batches(heat: Heat) -> None:
    made = heat.create("rolling", GROUP)
    assert made["stack_status"] == "CREATE_COMPLETE", made["stack_status_reason"]
    assert outputs(made) == {"values": ["one", "one"]}
    changed = heat.update("rolling", GROUP, parameters={"value": "two"})
    assert changed["stack_status"] == "UPDATE_COMPLETE", changed["stack_status_reason"]
    assert outputs(changed) == {"values": ["two", "two"]}
    listed = heat.call("GET", f"/stacks/rolling/{made['id']}/events?nested_depth=1").json()["events"]
    members = [(one["resource_name"], one["resource_status"]) for one in listed if one["resource_name"].isdigit()]
    assert [one for one in members if one[1].endswith("_COMPLETE")] == [
        ("0", "CREATE_COMPLETE"),
        ("1", "CREATE_COMPLETE"),
        ("2", "CREATE_COMPLETE"),
        ("1", "UPDATE_COMPLETE"),
        ("0", "UPDATE_COMPLETE"),
        ("2", "DELETE_COMPLETE"),
    ]
    wrong = GROUP.replace("max_batch_size: 1, min", "most: 1, min")
    refused = heat.call("POST", "/stacks", {"stack_name": "wrong", "template": yaml.safe_load(wrong)})
    assert (refused.status_code, "Unknown Property most" in refused.text) == (400, True)
    assert heat.delete("rolling") == {"stack_status": "GONE"}


def test_contents_are_kept_as_images_where_the_policy_says_snapshot(heat: Heat) -> None:
    template = CHAIN.replace("    type: OS::Nova::Server", "    type: OS::Nova::Server\n    deletion_policy: Snapshot")
    made = heat.create("kept", template)
    assert made["stack_status"] == "CREATE_COMPLETE", made["stack_status_reason"]
    before = {image.name for image in heat.cloud.image.images()}
    assert heat.delete("kept") == {"stack_status": "GONE"}
    (kept,) = {image.name for image in heat.cloud.image.images()} - before
    assert kept.startswith("kept-server-")
    assert list(heat.cloud.compute.servers()) == []
    refused = heat.call(
        "POST",
        "/stacks",
        {
            "stack_name": "no",
            "template": yaml.safe_load(CHAIN.replace("subnet: {", "subnet: {deletion_policy: Snapshot, ")),
        },
    )
    assert (refused.status_code, "deletion policy not supported" in refused.text) == (400, True)
