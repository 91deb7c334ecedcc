"""Quotas: shown, set, enforced; what is refused leaves nothing behind."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest
from openstack import exceptions
from tests import plain_http
from tests.contract.openstack.conftest import Site
from tests.contract.openstack.test_compute import network_of


def api(site: Site, cloud: Any) -> httpx.Client:
    """HTTP as the administrator, for what the SDK hides."""
    return plain_http.Client(base_url=f"{site.url}/access", headers={"X-Auth-Token": cloud.authorize()}, timeout=30)


def test_network_quotas_refuse_what_is_too_much_and_leave_nothing(site: Site, cloud: Any) -> None:
    project = cloud.session.get_project_id()
    network = network_of(cloud)
    cloud.network.update_quota(project, networks=2, subnets=1, ports=3, routers=1, security_groups=1)
    with pytest.raises(exceptions.ConflictException, match="Quota exceeded"):
        cloud.network.create_subnet(network_id=network.id, ip_version=4, cidr="10.9.0.0/24")
    with api(site, cloud) as http:
        several = {"networks": [{"name": "a"}, {"name": "b"}, {"name": "c"}]}
        answer = http.post("/network/v2.0/networks", json=several)
        assert (answer.status_code, answer.json()["NeutronError"]["type"]) == (409, "OverQuota")
        assert "['network']" in answer.json()["NeutronError"]["message"]
        assert {one.name for one in cloud.network.networks()} == {"external", "inner"}
        detail = http.get(f"/network/v2.0/quotas/{project}/details").json()["quota"]
        assert detail["network"] == {"limit": 2, "used": 1, "reserved": 0}
        listed = http.get("/network/v2.0/quotas").json()["quotas"]
        assert [(one["project_id"], one["network"]) for one in listed] == [(project, 2)]
        refused = http.put(f"/network/v2.0/quotas/{project}", json={"quota": {"network": 0, "check_limit": True}})
        assert refused.status_code == 400
        for wrong in ({"nothing": 1}, {"network": "many"}, {"network": -2}, {"network": 1, "force": "perhaps"}):
            assert http.put(f"/network/v2.0/quotas/{project}", json={"quota": wrong}).status_code == 400
    cloud.network.delete_quota(project)
    assert cloud.network.get_quota(project).networks == cloud.network.get_quota_default(project).networks


def test_concurrent_creates_share_the_last_places(site: Site, cloud: Any) -> None:
    project = cloud.session.get_project_id()
    cloud.network.update_quota(project, networks=3)
    with api(site, cloud) as http, ThreadPoolExecutor(8) as pool:
        bodies = [{"network": {"name": f"n{number}"}} for number in range(8)]
        statuses = sorted(pool.map(lambda body: http.post("/network/v2.0/networks", json=body).status_code, bodies))
    assert statuses == [201] * 3 + [409] * 5
    assert len([one for one in cloud.network.networks() if one.project_id == project]) == 3


def test_compute_quotas_bound_servers_cores_and_memory(site: Site, cloud: Any) -> None:
    project = cloud.session.get_project_id()
    network = network_of(cloud)
    cloud.compute.update_quota_set(project, instances=2, cores=3, ram=512)
    image, flavor = cloud.image.find_image("host").id, cloud.compute.find_flavor("small").id
    wanted = {"image_id": image, "flavor_id": flavor, "networks": [{"uuid": network.id}]}
    with pytest.raises(exceptions.ForbiddenException, match="Quota exceeded for instances, ram: Requested 3, 768"):
        cloud.compute.create_server(name="many", min_count=3, max_count=4, **wanted)
    assert list(cloud.compute.servers()) == []
    cloud.compute.create_server(name="some", min_count=1, max_count=4, **wanted)
    servers = list(cloud.compute.servers())
    assert len(servers) == 2
    with api(site, cloud) as http:
        detail = http.get(f"/compute/v2.1/os-quota-sets/{project}/detail").json()["quota_set"]
        assert detail["ram"] == {"limit": 512, "in_use": 512, "reserved": 0}
        absolute = http.get("/compute/v2.1/limits").json()["limits"]["absolute"]
        used = {key: absolute[key] for key in ("totalInstancesUsed", "totalCoresUsed", "totalRAMUsed")}
        assert used == {"totalInstancesUsed": 2, "totalCoresUsed": 2, "totalRAMUsed": 512}
        assert (absolute["maxTotalInstances"], absolute["maxTotalCores"]) == (2, 3)
        too_low = http.put(f"/compute/v2.1/os-quota-sets/{project}", json={"quota_set": {"instances": 1}})
        assert too_low.status_code == 400
        forced = http.put(f"/compute/v2.1/os-quota-sets/{project}", json={"quota_set": {"instances": 1, "force": True}})
        assert forced.json()["quota_set"]["instances"] == 1
        assert http.get("/compute/v2.1/os-quota-sets/nobody").status_code == 400
        new = {"OpenStack-API-Version": "compute 2.57"}
        assert "injected_files" not in http.get(f"/compute/v2.1/os-quota-sets/{project}", headers=new).json()
    cloud.compute.revert_quota_set(project)
    assert cloud.compute.get_quota_set(project).instances == -1


def test_a_class_changes_the_default_of_all(site: Site, cloud: Any) -> None:
    project = cloud.session.get_project_id()
    with api(site, cloud) as http:
        changed = http.put("/compute/v2.1/os-quota-class-sets/default", json={"quota_class_set": {"key_pairs": 7}})
        assert changed.json()["quota_class_set"]["key_pairs"] == 7
        assert http.get(f"/compute/v2.1/os-quota-sets/{project}/defaults").json()["quota_set"]["key_pairs"] == 7
        assert http.put("/compute/v2.1/os-quota-class-sets/own", json={"quota_class_set": {}}).status_code == 400
