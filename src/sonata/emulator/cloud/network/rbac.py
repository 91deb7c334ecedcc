"""RBAC policies: which projects may use what belongs to another one."""

from __future__ import annotations

from typing import Any

from sonata.emulator.cloud.causes import DuplicateRbacPolicy, NoSuch, RbacPolicyInUse
from sonata.emulator.cloud.entities.base import Entity
from sonata.emulator.cloud.entities.network import Port, RbacPolicy, Subnet
from sonata.emulator.cloud.site import Site
from sonata.emulator.cloud.tables import Table, Tables
from sonata.errors import InvalidInput, Unsupported

SHARED, EXTERNAL = "access_as_shared", "access_as_external"
EVERYBODY = "*"
OBJECT_TABLES = {
    "network": "networks",
    "security_group": "security_groups",
    "subnetpool": "subnet_pools",
    "address_scope": "address_scopes",
    "qos_policy": "qos_policies",
}
"""Tables of what may be shared, by object type; one that this cloud has not got is left out."""


def shared_with(tables: Tables, entity: Entity, project_id: str) -> bool:
    """Whether another project's object may be seen and used by a project.

    Subnets are shared with their network, and who owns a network sees all ports on it.
    """
    if isinstance(entity, Port):
        network = tables.networks.peek(entity.network_id)
        return network is not None and network.project_id == project_id
    object_id = entity.network_id if isinstance(entity, Subnet) else entity.id
    return any(
        policy.object_id == object_id and policy.target_project in (EVERYBODY, project_id)
        for policy in tables.rbac_policies
    )


class Rbac:
    """The RBAC policies of one cloud."""

    def __init__(self, site: Site) -> None:
        self._tables = site.tables
        self._quotas = site.quotas

    def object_of(self, object_type: str, object_id: str) -> Entity:
        """What a policy is about.

        Raises:
            InvalidInput: nothing of this type can be shared.
            NoSuch: it does not exist.
        """
        table: Table[Any] | None = getattr(self._tables, OBJECT_TABLES.get(object_type, ""), None)
        if table is None:
            known = ", ".join(OBJECT_TABLES)
            raise InvalidInput(f"'{object_type}' is not a valid RBAC object type: use one of {known}.")
        found: Entity = table.get(object_id)
        return found

    def create(self, policy: RbacPolicy) -> RbacPolicy:
        """Grant access; it is there at return.

        Raises:
            DuplicateRbacPolicy: the same grant exists.
            Unsupported: a network would become external.
        """
        entity = self.object_of(policy.object_type, policy.object_id)
        if policy.action == EXTERNAL and not getattr(entity, "external", False):
            raise Unsupported(f"network {entity.id} cannot be external: a PoP has one external network, for everybody")
        if policy.action not in (SHARED, EXTERNAL):
            raise InvalidInput(f"'{policy.action}' is not a valid action: use {SHARED} or {EXTERNAL}.")
        for other in self._tables.rbac_policies:
            if _grant(other) == _grant(policy):
                raise DuplicateRbacPolicy(
                    "An RBAC policy already exists with those values. (object, action and target are the same)"
                )
        self._quotas.require(policy.project_id, "rbac_policy")
        self._tables.rbac_policies.add(policy)
        self._mirror(policy, shared=True)
        return policy

    def update(self, policy_id: str, **changes: Any) -> RbacPolicy:
        """Give a grant to another project instead.

        Raises:
            RbacPolicyInUse: those who have it make use of it.
        """
        policy = self._tables.rbac_policies.get(policy_id)
        if changes.get("target_project", policy.target_project) != policy.target_project:
            self._check_unused(policy)
            self._mirror(policy, shared=False)
        after = self._tables.rbac_policies.change(policy_id, **changes)
        self._mirror(after, shared=True)
        return after

    def delete(self, policy_id: str) -> None:
        """Take a grant back.

        Raises:
            RbacPolicyInUse: those who have it make use of it.
        """
        policy = self._tables.rbac_policies.get(policy_id)
        self._check_unused(policy)
        self._tables.rbac_policies.remove(policy_id)
        self._mirror(policy, shared=False)

    def share(self, object_type: str, entity: Entity, *, shared: bool) -> None:
        """Make the grant to everybody that the attribute `shared` of an object stands for, or take it back."""
        standing = [one for one in self._tables.rbac_policies if one.object_id == entity.id]
        wide = next((one for one in standing if (one.target_project, one.action) == (EVERYBODY, SHARED)), None)
        if shared and wide is None:
            policy = RbacPolicy(project_id=entity.project_id, object_type=object_type, object_id=entity.id)
            self._tables.rbac_policies.add(policy)
            self._mirror(policy, shared=True)
        elif wide and not shared:
            self.delete(wide.id)

    def forget(self, object_id: str) -> None:
        """Drop the grants of an object that is gone; idempotent."""
        for policy in self._tables.rbac_policies:
            if policy.object_id == object_id:
                self._tables.rbac_policies.remove(policy.id)

    def _mirror(self, policy: RbacPolicy, *, shared: bool) -> None:
        """Keep `shared` of an object, and of a network's subnets, in line with the grant to everybody."""
        if (policy.target_project, policy.action) != (EVERYBODY, SHARED):
            return
        table: Table[Any] = getattr(self._tables, OBJECT_TABLES[policy.object_type])
        if (row := table.peek(policy.object_id)) is not None and hasattr(row, "shared"):
            table.change(row.id, shared=shared)
        for subnet in self._tables.subnets:
            if subnet.network_id == policy.object_id:
                self._tables.subnets.change(subnet.id, shared=shared)

    def _check_unused(self, policy: RbacPolicy) -> None:
        try:
            owner = self.object_of(policy.object_type, policy.object_id).project_id
        except NoSuch:
            return
        strangers = {project for project in _users(self._tables, policy) if project not in ("", owner)}
        others = [one for one in self._tables.rbac_policies if one.object_id == policy.object_id and one != policy]
        kept = {one.target_project for one in others}
        if EVERYBODY in kept:
            return
        losing = strangers - kept
        if losing if policy.target_project == EVERYBODY else policy.target_project in losing:
            raise RbacPolicyInUse(
                f"RBAC policy on object {policy.object_id} cannot be removed because other objects depend on it."
            )


def _grant(policy: RbacPolicy) -> tuple[str, str, str]:
    return policy.object_id, policy.action, policy.target_project


def _users(tables: Tables, policy: RbacPolicy) -> set[str]:
    """Projects that make use of an object."""
    wanted = policy.object_id
    if policy.object_type == "network":
        return {port.project_id for port in tables.ports if port.network_id == wanted}
    if policy.object_type == "security_group":
        return {port.project_id for port in tables.ports if wanted in port.security_groups}
    if policy.object_type == "subnetpool":
        return {subnet.project_id for subnet in tables.subnets if subnet.subnetpool_id == wanted}
    if policy.object_type == "address_scope":
        return {pool.project_id for pool in tables.subnet_pools if pool.address_scope_id == wanted}
    bound = [*tables.ports, *tables.networks]
    return {one.project_id for one in bound if getattr(one, "qos_policy_id", None) == wanted}
