"""The Block Storage API, judged by openstacksdk, over a store in memory."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from openstack import exceptions
from tests import plain_http
from tests.contract.openstack.conftest import Site
from tests.contract.openstack.test_compute import FAST, boot


def volume_of(cloud: Any, **wish: Any) -> Any:
    """A volume after it was made, however that ended."""
    volume = cloud.block_storage.create_volume(**{"size": 1, "name": "v", **wish})
    return cloud.block_storage.wait_for_status(volume, status="available", failures=["never"], interval=FAST, wait=10)


def settled(cloud: Any, volume: Any, status: str) -> Any:
    """A volume as soon as it has a status."""
    volume = cloud.block_storage.get_volume(volume)  # one that is known already is believed
    return cloud.block_storage.wait_for_status(volume, status=status, failures=["never"], interval=FAST, wait=10)


def call(site: Site, cloud: Any, method: str, path: str, version: str = "3.70", **more: Any) -> httpx.Response:
    """A request as it is, without a project in its path."""
    headers = {"X-Auth-Token": cloud.authorize(), "OpenStack-API-Version": f"volume {version}"}
    return plain_http.request(method, f"{site.url}/access/volume{path}", headers=headers, **more)


def test_a_volume_is_made_listed_changed_and_deleted(cloud: Any) -> None:
    volume = volume_of(cloud, metadata={"key": "value"}, description="mine")
    storage = cloud.block_storage
    assert (volume.size, volume.metadata, volume.is_bootable) == (1, {"key": "value"}, False)
    assert storage.find_volume("v").id == volume.id
    assert storage.find_volume("nothing") is None
    other = volume_of(cloud, name="w", size=2)
    assert [one.name for one in storage.volumes()] == ["w", "v"]
    assert [one.name for one in storage.volumes(limit=1)] == ["w", "v"]
    assert [one.name for one in storage.volumes(name="v")] == ["v"]
    assert [one["name"] for one in storage.get("/volumes?sort=size:asc").json()["volumes"]] == ["v", "w"]
    assert storage.update_volume(volume, name="renamed").name == "renamed"
    storage.set_volume_metadata(volume, more="x")
    assert storage.get_volume_metadata(volume).metadata == {"key": "value", "more": "x"}
    storage.extend_volume(volume, 3)
    assert settled(cloud, volume, "available").size == 3
    for one in (volume, other):
        storage.delete_volume(one)
        storage.wait_for_delete(one, interval=FAST, wait=10)


def test_a_volume_at_a_server_is_shown_everywhere_and_cannot_be_deleted(cloud: Any, site: Site) -> None:
    server, volume = boot(cloud, image="web"), volume_of(cloud)
    attached = cloud.compute.create_volume_attachment(server, volume_id=volume.id, delete_on_termination=True, tag="t")
    assert (attached.device, attached.tag, attached.delete_on_termination) == ("/dev/vdb", "t", True)
    assert ("access-" + server.id, "/mnt/vdb") in site.runtime.folders
    shown = cloud.block_storage.get_volume(volume)
    assert (shown.status, shown.attachments[0]["server_id"]) == ("in-use", server.id)
    assert [one["id"] for one in cloud.compute.get_server(server.id).attached_volumes] == [volume.id]
    assert [one.volume_id for one in cloud.compute.volume_attachments(server)] == [volume.id]
    (attachment,) = cloud.block_storage.attachments()
    assert attachment.instance == server.id
    with pytest.raises(exceptions.BadRequestException, match="attached"):
        cloud.block_storage.delete_volume(volume, ignore_missing=False)
    with pytest.raises(exceptions.BadRequestException, match="in-use"):
        cloud.compute.create_volume_attachment(server, volume_id=volume.id)
    site.runtime.busy.add("/mnt/vdb")
    with pytest.raises(exceptions.ConflictException, match="in use in the machine"):
        cloud.compute.delete_volume_attachment(server, volume, ignore_missing=False)
    assert cloud.block_storage.get_volume(volume).status == "in-use"
    site.runtime.busy.clear()
    cloud.compute.delete_volume_attachment(server, volume, ignore_missing=False)
    assert cloud.block_storage.get_volume(volume).status == "available"
    assert not site.runtime.folders


def test_volumes_follow_their_server_through_reboot_and_deletion(cloud: Any, site: Site) -> None:
    server, kept, gone = boot(cloud, image="web"), volume_of(cloud), volume_of(cloud, name="gone")
    cloud.compute.create_volume_attachment(server, volume_id=kept.id)
    cloud.compute.create_volume_attachment(server, volume_id=gone.id, delete_on_termination=True)
    cloud.compute.stop_server(server)
    cloud.compute.wait_for_server(server, status="SHUTOFF", interval=FAST, wait=10)
    assert not site.volumes.open_ones
    cloud.compute.start_server(server)
    cloud.compute.wait_for_server(server, interval=FAST, wait=10)
    assert [bind.target for bind in site.runtime.started[-1].binds] == ["/mnt/vdb", "/mnt/vdc"]
    cloud.compute.delete_server(server)
    cloud.compute.wait_for_delete(server, interval=FAST, wait=10)
    assert settled(cloud, kept, "available").attachments == []
    cloud.block_storage.wait_for_delete(gone, interval=FAST, wait=10)


def test_a_server_boots_from_a_volume_that_survives_it(cloud: Any, site: Site) -> None:
    image, flavor = cloud.image.find_image("web"), cloud.compute.find_flavor("tiny")
    devices = [
        {"boot_index": 0, "uuid": image.id, "source_type": "image", "destination_type": "volume", "volume_size": 1},
        {"boot_index": -1, "source_type": "blank", "destination_type": "volume", "volume_size": 2},
    ]
    server = cloud.compute.create_server(name="s", flavor_id=flavor.id, networks="none", block_device_mapping=devices)
    server = cloud.compute.wait_for_server(server, interval=FAST, wait=10)
    root, data = (cloud.block_storage.get_volume(one["id"]) for one in server.attached_volumes)
    assert (root.is_bootable, root.volume_image_metadata["image_name"], data.size) == (True, "web", 2)
    spec = site.runtime.started[-1]
    assert (spec.argv, spec.root.folder) == (("/bin/web",), site.volumes.folder / root.id)
    assert not server.image or not server.image.id
    with pytest.raises(exceptions.BadRequestException, match="root device"):
        cloud.compute.delete_volume_attachment(server, root, ignore_missing=False)
    cloud.compute.delete_server(server)
    cloud.compute.wait_for_delete(server, interval=FAST, wait=10)
    settled(cloud, root, "available")
    again = [{"boot_index": 0, "uuid": root.id, "source_type": "volume", "destination_type": "volume"}]
    server = cloud.compute.create_server(name="s", flavor_id=flavor.id, networks="none", block_device_mapping=again)
    cloud.compute.wait_for_server(server, interval=FAST, wait=10)
    refused = [{**again[0], "uuid": data.id}]
    with pytest.raises(exceptions.BadRequestException, match="not bootable"):
        cloud.compute.create_server(name="s", flavor_id=flavor.id, networks="none", block_device_mapping=refused)


def test_snapshots_clones_images_and_transfers(cloud: Any, site: Site) -> None:
    storage = cloud.block_storage
    volume = volume_of(cloud, size=2)
    snapshot = storage.create_snapshot(volume_id=volume.id, name="s")
    snapshot = storage.wait_for_status(snapshot, status="available", interval=FAST, wait=10)
    with pytest.raises(exceptions.BadRequestException, match="have snapshots"):
        storage.delete_volume(volume, ignore_missing=False)
    from_snapshot = volume_of(cloud, snapshot_id=snapshot.id, size=None)
    clone = volume_of(cloud, source_volume_id=volume.id, size=3)
    assert (from_snapshot.size, clone.size) == (2, 3)
    with pytest.raises(exceptions.BadRequestException, match="cannot be smaller"):
        storage.create_volume(snapshot_id=snapshot.id, size=1)
    told = call(
        site,
        cloud,
        "POST",
        f"/v3/volumes/{clone.id}/action",
        json={"os-volume_upload_image": {"image_name": "packed", "container_format": "bare"}},
    )
    assert told.status_code == 202
    settled(cloud, clone, "available")
    assert cloud.image.get_image(told.json()["os-volume_upload_image"]["image_id"]).status == "active"
    transfer = storage.create_transfer(volume_id=clone.id, name="t")
    assert storage.get_volume(clone).status == "awaiting-transfer"
    with pytest.raises(exceptions.BadRequestException, match="invalid auth key"):
        storage.accept_transfer(transfer.id, "wrong")
    storage.accept_transfer(transfer.id, transfer.auth_key)
    assert storage.get_volume(clone).status == "available"
    storage.delete_snapshot(snapshot)
    storage.wait_for_delete(snapshot, interval=FAST, wait=10)


def test_a_volume_is_filled_anew_from_an_image(cloud: Any, site: Site) -> None:
    volume, image = volume_of(cloud, size=2), cloud.image.find_image("web")
    (site.volumes.folder / volume.id / "old").touch()
    path, wish = f"/v3/volumes/{volume.id}/action", {"os-reimage": {"image_id": image.id}}
    assert call(site, cloud, "POST", path, "3.67", json=wish).status_code == 400
    assert call(site, cloud, "POST", path, json={"os-reimage": {"image_id": "nothing"}}).status_code == 400
    assert call(site, cloud, "POST", path, json=wish).status_code == 202
    found = settled(cloud, volume, "available")
    assert (found.size, found.is_bootable, found.volume_image_metadata["image_id"]) == (2, True, image.id)
    assert [one.name for one in (site.volumes.folder / volume.id).iterdir()] == ["filled"]
    cloud.compute.create_volume_attachment(boot(cloud, image="web"), volume_id=volume.id)
    assert call(site, cloud, "POST", path, json=wish).status_code == 400


def test_a_full_disk_and_quotas_end_in_words(cloud: Any, site: Site) -> None:
    site.volumes.full = True
    volume = cloud.block_storage.create_volume(size=1)
    settled(cloud, volume, "error")
    (message,) = call(site, cloud, "GET", "/v3/messages").json()["messages"]
    assert "no space is left" in message["user_message"]
    project = cloud.session.get_project_id()
    assert (
        call(site, cloud, "PUT", f"/v3/os-quota-sets/{project}", json={"quota_set": {"volumes": 1}}).status_code == 200
    )
    refused = call(site, cloud, "POST", "/v3/volumes", json={"volume": {"size": 1}})
    assert (refused.status_code, refused.headers["retry-after"]) == (413, "0")
    assert refused.json()["overLimit"]["code"] == 413
    assert cloud.block_storage.get_limits().absolute.max_total_volumes == 1


def test_types_services_and_what_is_not_there(cloud: Any, site: Site) -> None:
    storage = cloud.block_storage
    kind = storage.create_type(name="fast", extra_specs={"a": "b"})
    assert {one.name for one in storage.types()} == {"__DEFAULT__", "local", "fast"}
    volume = volume_of(cloud, volume_type="fast")
    with pytest.raises(exceptions.BadRequestException, match="in use"):
        storage.delete_type(kind, ignore_missing=False)
    storage.retype_volume(volume, "local", "never")
    assert storage.get_volume(volume).volume_type == "local"
    storage.delete_type(kind, ignore_missing=False)
    assert [zone.name for zone in storage.availability_zones()] == ["nova"]
    assert len(list(storage.services())) == 2
    assert len(list(storage.backend_pools())) == 1
    for path, status in (("/v3/nothing", 404), ("/v3/volumes/nothing", 404), ("/v3/backups/detail", 200)):
        assert call(site, cloud, "GET", path).status_code == status
    assert call(site, cloud, "POST", "/v3/backups", json={"backup": {"volume_id": volume.id}}).status_code == 404
    assert call(site, cloud, "PATCH", "/v3/volumes").status_code == 405
    assert call(site, cloud, "GET", "/v3/volumes", version="3.71").status_code == 406
    assert call(site, cloud, "GET", "/v3/volumes", version="x").status_code == 400
    answer = call(site, cloud, "GET", "/v3/volumes/detail?with_count=true", version="3.45")
    assert (answer.headers["openstack-api-version"], answer.json()["count"]) == ("volume 3.45", 1)
    assert "volume_type_id" not in answer.json()["volumes"][0]


@pytest.mark.parametrize(
    "wish",
    [
        {}, {"size": 0}, {"size": "x"}, {"size": 1, "name": 7}, {"size": 1, "metadata": {"a": 1}},
        {"size": 1, "imageRef": "nope"}, {"size": 1, "availability_zone": "mars"}, {"size": 1, "multiattach": True},
        {"size": 1, "snapshot_id": "a", "source_volid": "b"},
    ],
)  # fmt: skip
def test_a_wrong_wish_is_400_in_cinders_words(cloud: Any, site: Site, wish: dict[str, Any]) -> None:
    answer = call(site, cloud, "POST", "/v3/volumes", json={"volume": wish})
    assert answer.status_code == 400
    assert answer.json()["badRequest"]["message"]
