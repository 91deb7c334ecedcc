"""Security groups and their rules: what Neutron allows of them. `filters` brings them to the ports.

Source: Networking API v2.0, security groups and security group rules.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from sonata.emulator.cloud.causes import NoSuch
from sonata.emulator.cloud.entities.network import Port, SecurityGroup
from sonata.emulator.cloud.entities.security import EGRESS, INGRESS, VERSIONS, AddressGroup, SecurityGroupRule
from sonata.emulator.cloud.network.causes import (
    SecurityGroupCannotRemoveDefault,
    SecurityGroupCannotUpdateDefault,
    SecurityGroupConflict,
    SecurityGroupDefaultAlreadyExists,
    SecurityGroupInUse,
    SecurityGroupNotSingleGroupRules,
    SecurityGroupRuleExists,
)
from sonata.emulator.cloud.network.filters import PortFilters
from sonata.emulator.cloud.network.protocols import check_rule
from sonata.emulator.cloud.site import Site
from sonata.errors import Conflict

DEFAULT_GROUP = "default"


class SecurityGroups:
    """The security groups of one cloud; each project has one named `default`. Changes take effect on ports at once."""

    def __init__(self, site: Site, filters: PortFilters) -> None:
        self._site = site
        self._tables = site.tables
        self._groups = site.tables.security_groups
        self._rules = site.tables.security_group_rules
        self._filters = filters

    def create(self, group: SecurityGroup) -> SecurityGroup:
        """Create a group whose ports may send everything and receive answers alone.

        Raises:
            SecurityGroupDefaultAlreadyExists: it would be a second `default`.
            OverQuota: the project has as many groups or rules as it may have.
        """
        self.default(group.project_id)
        if group.name == DEFAULT_GROUP:
            raise SecurityGroupDefaultAlreadyExists("Default security group already exists.")
        self._site.quotas.require_all(group.project_id, {"security_group": 1, "security_group_rule": len(VERSIONS)})
        return self._add(group)

    async def update(self, group_id: str, **changes: Any) -> SecurityGroup:
        """Change name, description, or whether it is stateful.

        Raises:
            SecurityGroupCannotUpdateDefault: `default` would get another name.
            SecurityGroupInUse: it becomes stateless, or stateful, while ports are in it.
        """
        group = self._groups.get(group_id)
        if group.name == DEFAULT_GROUP and changes.get("name", DEFAULT_GROUP) != DEFAULT_GROUP:
            raise SecurityGroupCannotUpdateDefault("Updating default security group not allowed.")
        if changes.get("stateful", group.stateful) != group.stateful:
            self._refuse_used(group_id)
        changed = self._groups.change(group_id, **changes)
        await self._filters.follow()
        return changed

    async def delete(self, group_id: str, *, even_default: bool = False) -> None:
        """Delete a group, its rules, and the rules of others that name it; a `default` is made anew when one is needed.

        Raises:
            SecurityGroupCannotRemoveDefault: it is `default`, which only administrators delete.
            SecurityGroupInUse: ports are in it.
        """
        group = self._groups.get(group_id)
        if group.name == DEFAULT_GROUP and not even_default:
            raise SecurityGroupCannotRemoveDefault("Insufficient rights for removing default security group.")
        self._refuse_used(group_id)
        for rule in self._rules:
            if group_id in (rule.security_group_id, rule.remote_group_id):
                self._rules.remove(rule.id)
        self._groups.remove(group_id)
        await self._filters.follow()

    def rules_of(self, group_id: str) -> tuple[SecurityGroupRule, ...]:
        """The rules of a group, oldest first."""
        return tuple(rule for rule in self._rules if rule.security_group_id == group_id)

    async def add_rules(self, rules: Sequence[SecurityGroupRule]) -> None:
        """Add rules to one group, all of them or none.

        Raises:
            SecurityGroupNotSingleGroupRules: they belong to several groups.
            NoSuch: a group that they name does not exist.
            SecurityGroupRuleExists: the group has such a rule.
            InvalidInput: one makes no sense.
            OverQuota: the project has as many rules as it may have.
        """
        if len({rule.security_group_id for rule in rules}) > 1:
            raise SecurityGroupNotSingleGroupRules("Only allowed to update rules for one security profile at a time")
        known = {rule.meaning: rule.id for rule in self._rules}
        for rule in rules:
            self._check(rule)
            if rule.meaning in known:
                raise SecurityGroupRuleExists(f"Security group rule already exists. Rule id is {known[rule.meaning]}.")
            known[rule.meaning] = rule.id
        if rules:
            self._site.quotas.require(rules[0].project_id, "security_group_rule", len(rules))
        for rule in rules:
            self._rules.add(rule)
        await self._filters.follow()

    async def delete_rule(self, rule_id: str) -> None:
        """Delete a rule; connections that only it allowed end."""
        self._rules.remove(self._rules.get(rule_id).id)
        await self._filters.follow()

    def of_port(self, wanted: Iterable[str] | None, project_id: str) -> tuple[str, ...]:
        """The groups of a port: those wanted, else the project's default.

        Raises:
            NoSuch: a group does not exist.
            SecurityGroupConflict: some are stateful and some are not.
        """
        if wanted is None:
            return (self.default(project_id).id,)
        groups = [self._groups.get(group_id) for group_id in dict.fromkeys(wanted)]
        if len({group.stateful for group in groups}) > 1:
            raise SecurityGroupConflict(
                "Error Cannot apply both stateful and stateless security groups on the same port at the same time "
                "while attempting the operation."
            )
        return tuple(group.id for group in groups)

    def secured(self, port: Port, wanted: Iterable[str] | None = None) -> Port:
        """A port that is to be made, with the groups wanted or the project's default, unless its network is open.

        Raises:
            NoSuch: network or group do not exist.
            SecurityGroupConflict: some groups are stateful and some are not.
        """
        if not self._tables.networks.get(port.network_id).port_security:
            return replace(port, port_security=False)
        return replace(port, security_groups=self.of_port(wanted, port.project_id))

    async def ports_changed(self) -> None:
        """Let the data plane follow ports whose groups or addresses have changed."""
        await self._filters.follow()

    def names_of(self, ports: Iterable[Port]) -> tuple[str, ...]:
        """The names of the groups that ports are in, each once."""
        found = (self._groups.peek(group_id) for port in ports for group_id in port.security_groups)
        return tuple(dict.fromkeys(group.name or group.id for group in found if group))

    def default(self, project_id: str) -> SecurityGroup:
        """The project's group `default`, made when it is not there; its ports receive from one another, too."""
        known = self._named(DEFAULT_GROUP, project_id)
        if known:
            return known[0]
        group = self._add(
            SecurityGroup(name=DEFAULT_GROUP, project_id=project_id, description="Default security group")
        )
        for ethertype in VERSIONS:
            self._rules.add(_rule(group, INGRESS, ethertype, remote_group_id=group.id))
        return group

    def find(self, name_or_id: str, project_id: str) -> SecurityGroup:
        """A project's group by id or name.

        Raises:
            NoSuch: there is none.
            Conflict: several have the name.
        """
        if name_or_id == DEFAULT_GROUP:
            return self.default(project_id)
        if (group := self._groups.peek(name_or_id)) and (group.shared or group.project_id == project_id):
            return group
        found = self._named(name_or_id, project_id)
        if not found:
            raise NoSuch("SecurityGroup", name_or_id)
        if len(found) > 1:
            raise Conflict(f"Multiple security groups found matching '{name_or_id}'. Use an ID to be more specific.")
        return found[0]

    async def create_addresses(self, group: AddressGroup) -> AddressGroup:
        """Create a group of addresses."""
        return self._tables.address_groups.add(group)

    async def change_addresses(self, group_id: str, **changes: Any) -> AddressGroup:
        """Change a group of addresses; rules that name it follow."""
        changed = self._tables.address_groups.change(group_id, **changes)
        await self._filters.follow()
        return changed

    async def delete_addresses(self, group_id: str) -> None:
        """Delete a group of addresses.

        Raises:
            Conflict: a rule names it.
        """
        if any(rule.remote_address_group_id == group_id for rule in self._rules):
            raise Conflict(f"Address group {group_id} is in use on one or more security group rules.")
        self._tables.address_groups.remove(group_id)

    def _add(self, group: SecurityGroup) -> SecurityGroup:
        self._groups.add(group)
        for ethertype in VERSIONS:
            self._rules.add(_rule(group, EGRESS, ethertype))
        return group

    def _check(self, rule: SecurityGroupRule) -> None:
        self._groups.get(rule.security_group_id)
        if rule.remote_group_id:
            self._groups.get(rule.remote_group_id)
        if rule.remote_address_group_id:
            self._tables.address_groups.get(rule.remote_address_group_id)
        check_rule(rule)

    def _refuse_used(self, group_id: str) -> None:
        if any(group_id in port.security_groups for port in self._tables.ports):
            raise SecurityGroupInUse(f"Security Group {group_id} in use.")

    def _named(self, name: str, project_id: str) -> list[SecurityGroup]:
        return [group for group in self._groups if (group.name, group.project_id) == (name, project_id)]


def _rule(group: SecurityGroup, direction: str, ethertype: str, **remote: Any) -> SecurityGroupRule:
    return SecurityGroupRule(
        project_id=group.project_id, security_group_id=group.id, direction=direction, ethertype=ethertype, **remote
    )
