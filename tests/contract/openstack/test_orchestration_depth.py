"""Snapshots, hooks, deployments without stacks, old names of properties: what stacks do besides the usual."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import yaml
from tests.contract.openstack.conftest import Site
from tests.contract.openstack.test_orchestration import VALUES, Heat, outputs
from tests.stock_client import StockClient, needs_client

KEPT = """
heat_template_version: rocky
parameters: {label: {type: string, default: one}}
resources:
  net: {type: OS::Neutron::Net}
  subnet: {type: OS::Neutron::Subnet, properties: {network_id: {get_resource: net}, cidr: 10.7.0.0/24}}
  server:
    type: OS::Nova::Server
    properties:
      image: host
      flavor: tiny
      networks: [{uuid: {get_resource: net}}]
      metadata: {label: {get_param: label}}
    depends_on: subnet
  disk: {type: OS::Cinder::Volume, properties: {size: 1}}
  attached:
    type: OS::Cinder::VolumeAttachment
    properties: {instance_uuid: {get_resource: server}, volume_id: {get_resource: disk}}
"""


@pytest.fixture
def heat(site: Site) -> Iterator[Heat]:
    found = Heat(site)
    yield found
    found.cloud.close()


def eventually(holds: Callable[[], Any]) -> Any:
    """What becomes true before long."""
    for _ in range(400):
        if found := holds():
            return found
        time.sleep(0.02)
    raise AssertionError("it does not become true")


class Snapshots:
    """The snapshots of one stack."""

    def __init__(self, heat: Heat, name: str) -> None:
        self._heat, self._name = heat, name
        self.path = f"/stacks/{name}/{heat.show(name)['id']}/snapshots"

    def take(self, name: str) -> dict[str, Any]:
        """A snapshot when it is made."""
        made = self._heat.call("POST", self.path, {"name": name}).json()
        assert (made["name"], made["action"], made["status"]) == (name, "CREATE", "IN_PROGRESS")
        self._heat.settled(self._name, self._heat.show(self._name)["id"])
        found: dict[str, Any] = self._heat.call("GET", f"{self.path}/{made['id']}").json()["snapshot"]
        return found

    def restore(self, snapshot: dict[str, Any]) -> str:
        """The state of the stack after a restoration."""
        assert self._heat.call("POST", f"{self.path}/{snapshot['id']}/restore").status_code == 202
        after = self._heat.settled(self._name, self._heat.show(self._name)["id"])
        return f"{after['stack_status']} {after['stack_status_reason']}"

    def names(self) -> list[str]:
        """Names of all."""
        return [one["name"] for one in self._heat.call("GET", self.path).json()["snapshots"]]


def test_a_stack_goes_back_to_a_snapshot_with_what_its_server_and_volume_held(heat: Heat, site: Site) -> None:
    assert heat.create("kept", KEPT)["stack_status"] == "CREATE_COMPLETE"
    before = {image.id for image in heat.cloud.image.images()}
    (server,), (disk,) = heat.cloud.compute.servers(), heat.cloud.block_storage.volumes()
    snapshots = Snapshots(heat, "kept")
    first = snapshots.take("first")
    assert (first["status"], first["status_reason"]) == ("COMPLETE", "Stack SNAPSHOT completed successfully")
    data = first["data"]["resources"]
    held = {name: one["resource_data"].get("snapshot_image_id") for name, one in data.items()}
    kept = {name: image for name, image in held.items() if image}
    assert kept.keys() == {"server", "disk"}
    assert {image.id for image in heat.cloud.image.images()} - before == set(kept.values())
    second = snapshots.take("second")

    assert heat.update("kept", KEPT, parameters={"label": "two"})["stack_status"] == "UPDATE_COMPLETE"
    assert snapshots.restore(first) == "RESTORE_COMPLETE Stack RESTORE completed successfully"
    found = heat.cloud.compute.get_server(server.id)
    assert (found.metadata, found.image.id, found.status) == ({"label": "one"}, kept["server"], "ACTIVE")
    assert [one["id"] for one in found.attached_volumes] == [disk.id]
    volume = heat.cloud.block_storage.get_volume(disk.id)
    assert (volume.status, volume.is_bootable, volume.volume_image_metadata["image_id"]) == (
        "in-use",
        False,
        kept["disk"],
    )
    assert snapshots.restore(second).startswith("RESTORE_COMPLETE")
    assert snapshots.restore(first).startswith("RESTORE_COMPLETE")

    assert snapshots.names() == ["first", "second"]
    assert heat.call("DELETE", f"{snapshots.path}/{second['id']}").status_code == 204
    eventually(lambda: snapshots.names() == ["first"])
    assert {image.id for image in heat.cloud.image.images()} - before == set(kept.values())
    assert heat.call("GET", f"{snapshots.path}/{second['id']}").status_code == 404
    assert heat.delete("kept") == {"stack_status": "GONE"}
    assert {image.id for image in heat.cloud.image.images()} == before


def test_a_snapshot_of_a_stack_that_fails_says_so_and_cannot_be_restored(heat: Heat) -> None:
    heat.create("kept", KEPT)
    heat.cloud.block_storage.reset_volume_status(next(heat.cloud.block_storage.volumes()).id, "error", None, None)
    snapshots = Snapshots(heat, "kept")
    failed = snapshots.take("failed")
    assert (failed["status"], "disk" in failed["status_reason"]) == ("FAILED", True)
    refused = heat.call("POST", f"{snapshots.path}/{failed['id']}/restore")
    assert (refused.status_code, "Restoring incomplete snapshot" in refused.text) == (400, True)


HELD = {"resource_registry": {"resources": {"sec*": {"hooks": ["pre-create", "pre-update", "pre-delete"]}}}}


def test_hooks_hold_a_resource_up_until_they_are_cleared(heat: Heat) -> None:
    made = heat.call("POST", "/stacks", {"stack_name": "held", "template": VALUES, "environment": HELD})
    path = f"/stacks/held/{made.json()['stack']['id']}"

    def clear(hook: str) -> None:
        paused = f"paused until Hook {hook} is cleared"
        eventually(lambda: paused in heat.call("GET", f"{path}/events").text)
        signal = f"{path}/resources/second/signal"
        refused = heat.call("POST", signal, {"unset_hook": "post-create"})
        assert (refused.status_code, "hook is not defined" in refused.text) == (400, True)
        assert heat.call("POST", signal, {"unset_hook": hook}).status_code == 200

    clear("pre-create")
    assert heat.settled("held", path.rpartition("/")[2])["stack_status"] == "CREATE_COMPLETE"
    changed = VALUES.replace("value: one", "value: two")
    assert heat.call("PATCH", path, {"template": changed}).status_code == 202
    clear("pre-update")
    after = heat.settled("held", path.rpartition("/")[2])
    assert (after["stack_status"], outputs(after)) == ("UPDATE_COMPLETE", {"told": "two"})
    heat.call("DELETE", path)
    clear("pre-delete")
    assert heat.settled("held", path.rpartition("/")[2]) == {"stack_status": "GONE"}


def test_restricted_resources_are_neither_changed_nor_replaced(heat: Heat) -> None:
    restricted = {"resource_registry": {"resources": {"first": {"restricted_actions": "update"}}}}
    heat.create("still", VALUES, environment=restricted)
    after = heat.update("still", VALUES.replace("value: one", "value: two"), environment=restricted)
    assert after["stack_status"] == "UPDATE_FAILED"
    assert after["stack_status_reason"].endswith("update is restricted for resource.")
    assert outputs(after) == {"told": "one"}


def test_an_update_with_what_is_there_keeps_the_environment(heat: Heat) -> None:
    registry = {"resource_registry": {"My::Value": "OS::Heat::Value"}, "parameter_defaults": {"b": "default"}}
    template = """
heat_template_version: rocky
parameters: {a: {type: string}, b: {type: string}}
resources:
  value: {type: My::Value, properties: {value: {list_join: ['-', [{get_param: a}, {get_param: b}]]}}}
outputs: {told: {value: {get_attr: [value, value]}}}
"""
    made = heat.create("some", template, environment=registry, parameters={"a": "x"})
    assert outputs(made) == {"told": "x-default"}
    path = f"/stacks/some/{made['id']}"
    for body, told in (
        ({"parameters": {"b": "y"}}, "x-y"),
        ({"parameters": {"a": "z"}, "clear_parameters": ["b"]}, "z-default"),
        ({"environment": {"parameter_defaults": {"b": "other"}}}, "z-other"),
    ):
        assert heat.call("PATCH", path, body).status_code == 202
        assert outputs(heat.settled("some", made["id"])) == {"told": told}
    shown = heat.call("GET", f"{path}/environment").json()
    assert shown["resource_registry"]["My::Value"] == "OS::Heat::Value"


def test_administration_by_stacks(heat: Heat) -> None:
    template = """
heat_template_version: rocky
resources:
  project: {type: OS::Keystone::Project, properties: {name: blue, tags: [a]}}
  group: {type: OS::Keystone::Group, properties: {name: crew}}
  user:
    type: OS::Keystone::User
    properties:
      name: ann
      password: secret-of-ann
      default_project: {get_resource: project}
      groups: [{get_resource: group}]
      roles: [{role: member, project: {get_resource: project}}]
  readers:
    type: OS::Keystone::GroupRoleAssignment
    properties: {group: {get_resource: group}, roles: [{role: reader, project: {get_resource: project}}]}
  servers: {type: OS::Nova::Quota, properties: {project: {get_resource: project}, instances: 3}}
  disks: {type: OS::Cinder::Quota, properties: {project: {get_resource: project}, volumes: 4}}
  nets: {type: OS::Neutron::Quota, properties: {project: {get_resource: project}, network: 5}}
  balancers: {type: OS::Octavia::Quota, properties: {project: {get_resource: project}, loadbalancer: 6}}
  hosts: {type: OS::Nova::HostAggregate, properties: {name: fast, metadata: {disk: ssd}}}
  kind: {type: OS::Cinder::VolumeType, properties: {name: gold, metadata: {tier: gold}}}
"""
    made = heat.create("admin", template)
    assert made["stack_status"] == "CREATE_COMPLETE", made["stack_status_reason"]
    cloud = heat.cloud
    project, user = cloud.identity.find_project("blue"), cloud.identity.find_user("ann")
    granted = {(one.user or one.group)["id"] for one in cloud.identity.role_assignments(scope_project_id=project.id)}
    assert granted == {user.id, cloud.identity.find_group("crew").id}
    assert cloud.compute.get_quota_set(project.id).instances == 3
    assert cloud.network.get_quota(project.id).networks == 5
    assert cloud.load_balancer.get_quota(project.id).load_balancers == 6
    changed = heat.update(
        "admin", template.replace("role: member", "role: reader").replace("instances: 3", "instances: 7")
    )
    assert changed["stack_status"] == "UPDATE_COMPLETE", changed["stack_status_reason"]
    assert cloud.compute.get_quota_set(project.id).instances == 7
    assert cloud.identity.find_user("ann").id == user.id
    assert heat.delete("admin") == {"stack_status": "GONE"}
    assert [cloud.identity.find_project("blue"), cloud.identity.find_user("ann")] == [None, None]


def test_types_are_those_of_heat_that_this_cloud_has(heat: Heat) -> None:
    listed = heat.call("GET", "/resource_types").json()["resource_types"]
    assert {"OS::Neutron::FloatingIPPortForward", "OS::Keystone::User", "OS::Heat::StructuredDeployment"} <= set(listed)
    assert not {"OS::Neutron::RouterGateway", "OS::Heat::SoftwareDeployments", "OS::Magnum::Cluster"} & set(listed)
    shown = heat.call("GET", "/resource_types/OS::Neutron::Port").json()
    assert ("network" in shown["properties"], "network_id" in shown["properties"]) == (True, False)
    for name, status in (("OS::Magnum::Cluster", 400), ("OS::Neutron::RouterGateway", 400), ("OS::No::Thing", 404)):
        assert heat.call("GET", f"/resource_types/{name}").status_code == status
    both = {"heat_template_version": "rocky", "resources": {"port": {"type": "OS::Neutron::Port"}}}
    both["resources"]["port"]["properties"] = {"network": "a", "network_id": "b"}  # type: ignore[index]
    refused = heat.call("POST", "/stacks", {"stack_name": "both", "template": both})
    assert (refused.status_code, "at the same time: network, network_id" in refused.text) == (400, True)


def test_deployments_are_made_without_stacks(heat: Heat, site: Site) -> None:
    heat.create("kept", KEPT)
    (server,) = heat.cloud.compute.servers()
    config = heat.call("POST", "/software_configs", {"group": "script", "config": "true"}).json()["software_config"]
    wish = {"config_id": config["id"], "server_id": server.id, "action": "CREATE", "status": "IN_PROGRESS"}

    def deployed(body: dict[str, Any]) -> dict[str, Any]:
        made = heat.call("POST", "/software_deployments", body).json()["software_deployment"]
        path = f"/software_deployments/{made['id']}"
        shown = heat.call("GET", path).json
        eventually(lambda: shown()["software_deployment"]["status"] != "IN_PROGRESS")
        found: dict[str, Any] = shown()["software_deployment"]
        return found

    done = deployed(wish)
    assert (done["status"], done["status_reason"]) == ("COMPLETE", "Outputs received")
    assert done["output_values"]["deploy_status_code"] == 0
    nowhere = deployed({**wish, "server_id": "0" * 32})
    assert (nowhere["status"], "Server" in nowhere["status_reason"]) == ("FAILED", True)
    puppet = heat.call("POST", "/software_configs", {"group": "puppet", "config": "x"}).json()["software_config"]
    refused = deployed({**wish, "config_id": puppet["id"]})
    assert (refused["status"], "`script` and `json-file`" in refused["status_reason"]) == ("FAILED", True)

    assert heat.call("POST", "/software_deployments", {**wish, "config_id": "none"}).status_code == 404
    listed = heat.call("GET", f"/software_deployments?server_id={server.id}").json()["software_deployments"]
    assert {one["id"] for one in listed} == {done["id"], refused["id"]}
    metadata = heat.call("GET", f"/software_deployments/metadata/{server.id}").json()["metadata"]
    assert {one["id"] for one in metadata} == {config["id"], puppet["id"]}
    assert heat.call("DELETE", f"/software_configs/{config['id']}").status_code == 400
    for one in (done, nowhere):
        assert heat.call("DELETE", f"/software_deployments/{one['id']}").status_code == 204
    assert heat.call("DELETE", f"/software_configs/{config['id']}").status_code == 204
    assert heat.call("GET", f"/software_deployments/{done['id']}").status_code == 404


@needs_client
def test_the_stock_commands_for_snapshots_hooks_and_deployments(site: Site, tmp_path: Any) -> None:
    pytest.importorskip("heatclient")
    openstack = StockClient(site.openrc())
    template, script = tmp_path / "stack.yaml", tmp_path / "script"
    template.write_text(KEPT)
    script.write_text("#!/bin/sh\ntrue\n")
    assert "CREATE_COMPLETE" in openstack.ok(f"stack create --wait -t {template} cli")
    made = openstack.json("stack snapshot create --name now cli")
    eventually(lambda: openstack.json("stack snapshot list cli")[0]["status"] == "COMPLETE")
    openstack.ok(f"stack snapshot show cli {made['ID']}")
    openstack.ok(f"stack snapshot restore cli {made['ID']}")
    eventually(lambda: "RESTORE_COMPLETE" in openstack.ok("stack show cli -f value -c stack_status"))
    server = openstack.json("server list")[0]["ID"]
    config = openstack.json(f"software config create --group script --config-file {script} one")
    deployment = openstack.json(
        f"software deployment create --config {config['id']} --server {server} --signal-transport NO_SIGNAL one"
    )
    openstack.ok(f"software deployment show {deployment['id']}")
    openstack.ok(f"software deployment metadata show {server}")
    openstack.ok(f"software deployment output show --all {deployment['id']}")
    openstack.ok(f"software deployment delete {deployment['id']}")
    openstack.ok(f"software config delete {config['id']}")
    openstack.ok(f"stack snapshot delete -y cli {made['ID']}")
    openstack.ok("stack delete --yes --wait cli")
    template.write_text(yaml.safe_dump(yaml.safe_load(VALUES)))
    openstack.ok(f"stack create -t {template} --pre-create second cli")
    eventually(lambda: "second" in openstack.ok("stack hook poll cli"))
    openstack.ok("stack hook clear --pre-create cli second")
    eventually(lambda: "CREATE_COMPLETE" in openstack.ok("stack show cli -f value -c stack_status"))


def test_a_volume_that_is_deleted_leaves_an_image_of_which_another_is_made(heat: Heat) -> None:
    disk = "heat_template_version: rocky\nresources: {disk: {type: OS::Cinder::Volume, properties: {size: 1}%s}}"
    before = {image.id for image in heat.cloud.image.images()}
    heat.create("kept", disk % ", deletion_policy: Snapshot")
    assert heat.delete("kept") == {"stack_status": "GONE"}
    (image,) = (one for one in heat.cloud.image.images() if one.id not in before)
    assert image.name.startswith("kept-disk-")
    made = heat.create("again", disk.replace("size: 1", f"size: 1, image: {image.id}") % "")
    assert made["stack_status"] == "CREATE_COMPLETE", made["stack_status_reason"]
    (volume,) = heat.cloud.block_storage.volumes()
    assert volume.volume_image_metadata["image_id"] == image.id


SLOW = """
heat_template_version: rocky
parameters: {value: {type: string, default: one}, wait: {type: number, default: 0}}
resources:
  first: {type: OS::Heat::TestResource, properties: {value: {get_param: value}}}
  second:
    type: OS::Heat::TestResource
    depends_on: first
    properties: {value: {get_param: value}, action_wait_secs: {update: {get_param: wait}, create: {get_param: wait}}}
outputs: {told: {value: {get_attr: [first, output]}}}
"""


def test_updates_and_creations_are_cancelled(heat: Heat) -> None:
    """What is being changed ends in its own time; how it all goes on is compared with Heat in `tests/oracle`."""
    made = heat.create("slow", SLOW)
    path = f"/stacks/slow/{made['id']}"
    refused = heat.call("POST", f"{path}/actions", {"cancel_update": None})
    assert (refused.status_code, refused.json()["error"]["type"]) == (400, "NotSupported")
    for action, state, told in (
        ("cancel_update", "ROLLBACK_COMPLETE", "one"),
        ("cancel_without_rollback", "UPDATE_FAILED", "two"),
    ):
        heat.call("PATCH", path, {"parameters": {"value": "two", "wait": 2}})
        eventually(lambda: heat.events("slow")[-1] == ("second", "UPDATE_IN_PROGRESS"))
        cancelled = heat.call("POST", f"{path}/actions", {action: None})
        assert (cancelled.status_code, cancelled.content) == (200, b"null")
        after = heat.settled("slow", made["id"])
        assert (after["stack_status"], outputs(after)) == (state, {"told": told})
        assert after["disable_rollback"] is True
    assert heat.delete("slow") == {"stack_status": "GONE"}


def test_what_goes_on_with_a_stack_gives_way_to_an_update_and_to_its_deletion(heat: Heat) -> None:
    wait = {"stack_name": "made", "template": yaml.safe_load(SLOW), "parameters": {"wait": 2}}
    path = f"/stacks/made/{heat.call('POST', '/stacks', wait).json()['stack']['id']}"
    eventually(lambda: heat.events("made")[-1] == ("second", "CREATE_IN_PROGRESS"))
    assert heat.call("PATCH", path, {"parameters": {"value": "two", "wait": 60}}).status_code == 202
    assert heat.show("made")["stack_status"] == "UPDATE_IN_PROGRESS"
    busy = heat.call("POST", f"{path}/snapshots", {})
    assert (busy.status_code, busy.json()["error"]["type"]) == (409, "ActionInProgress")
    eventually(lambda: heat.events("made")[-1] == ("second", "UPDATE_IN_PROGRESS"))
    assert ("second", "CREATE_COMPLETE") in heat.events("made")
    assert heat.delete("made") == {"stack_status": "GONE"}


HANDED = """
heat_template_version: rocky
resources:
  one: {type: inner.yaml}
  many: {type: OS::Heat::ResourceGroup, properties: {count: 2, resource_def: {type: OS::Neutron::Net}}}
"""
INNER = "heat_template_version: rocky\nresources: {net: {type: OS::Neutron::Net}}"


def test_objects_go_from_stack_to_stack_with_those_of_nested_stacks(heat: Heat) -> None:
    made = heat.create("giver", HANDED, files={"inner.yaml": INNER})
    assert made["stack_status"] == "CREATE_COMPLETE", made["stack_status_reason"]
    networks = {one.id for one in heat.cloud.network.networks(is_router_external=False)}
    assert len(networks) == 3
    exported = heat.call("DELETE", f"/stacks/giver/{made['id']}/abandon").json()
    assert heat.settled("giver", made["id"]) == {"stack_status": "GONE"}
    assert heat.call("GET", "/stacks?show_nested=true").json()["stacks"] == []
    taken = heat.create("taker", HANDED, adopt_stack_data=json.dumps(exported))
    assert taken["stack_status"] == "ADOPT_COMPLETE", taken["stack_status_reason"]
    assert {one.id for one in heat.cloud.network.networks(is_router_external=False)} == networks
    assert heat.delete("taker") == {"stack_status": "GONE"}
    assert list(heat.cloud.network.networks(is_router_external=False)) == []


def test_a_stack_is_told_by_its_tags_and_hidden_by_some(heat: Heat) -> None:
    heat.create("red", VALUES, tags="colour,warm")
    heat.create("hidden", VALUES, tags="data-processing-cluster")

    def named(query: str = "") -> set[str]:
        return {one["stack_name"] for one in heat.call("GET", f"/stacks{query}").json()["stacks"]}

    assert named() == {"red"}
    assert named("?show_hidden=true") == {"red", "hidden"}
    assert (named("?tags=colour,warm"), named("?tags=colour,cold"), named("?not_tags=warm")) == ({"red"}, set(), set())
    shown = heat.show("red")
    heat.call("PATCH", f"/stacks/red/{shown['id']}", {"parameters": {}})
    assert heat.settled("red", shown["id"])["tags"] == ["colour", "warm"]


def test_other_user_data_replace_or_rebuild_a_server_as_its_policy_says(heat: Heat) -> None:
    template = KEPT.partition("  disk:")[0].replace(
        "flavor: tiny", "flavor: tiny\n      user_data: ONE\n      user_data_update_policy: REBUILD"
    )
    assert heat.create("told", template)["stack_status"] == "CREATE_COMPLETE"
    (before,) = heat.cloud.compute.servers()
    path = f"/stacks/told/{heat.show('told')['id']}/preview"

    def fate(text: str) -> list[str]:
        changes = heat.call("PUT", path, {"template": yaml.safe_load(text)}).json()["resource_changes"]
        return [kind for kind, some in changes.items() for one in some if one["resource_name"] == "server"]

    rebuilt, replaced = template.replace("ONE", "two"), template.replace("ONE", "two").replace("REBUILD", "REPLACE")
    assert (fate(rebuilt), fate(replaced)) == (["updated"], ["replaced"])
    after = heat.update("told", rebuilt)
    assert after["stack_status"] == "UPDATE_COMPLETE", after["stack_status_reason"]
    (found,) = heat.cloud.compute.servers()
    assert (found.id, found.status) == (before.id, "ACTIVE")
    assert {"rebuild"} <= {one.action for one in heat.cloud.compute.server_actions(found)}
    assert (
        heat.update("told", replaced.replace("user_data: two", "user_data: three"))["stack_status"] == "UPDATE_COMPLETE"
    )
    assert [one.id for one in heat.cloud.compute.servers()] != [before.id]
