"""Stock clients of the clouds of a running emulation."""

from __future__ import annotations

from typing import Any

import openstack

from sonata.sdk.emulation_records import EmulationRecord


def site(record: EmulationRecord, pop: str) -> Any:
    """A connection to the cloud of a PoP, as its administrator."""
    return openstack.connect(
        load_yaml_config=False,
        load_envvars=False,
        auth_url=f"{record.url}/{pop}/identity/v3",
        username="admin",
        password=record.admin_password,
        project_name="admin",
        user_domain_name="Default",
        project_domain_name="Default",
        region_name="RegionOne",
    )


def let_in(cloud: Any, protocol: str) -> None:
    """Let a protocol in from anywhere at servers of the default security group, which keeps strangers out."""
    group = cloud.network.find_security_group("default")
    cloud.network.create_security_group_rule(security_group_id=group.id, direction="ingress", protocol=protocol)
