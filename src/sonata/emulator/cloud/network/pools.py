"""Subnet pools and address scopes: prefixes from which subnets are cut, and where these must not overlap."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from ipaddress import IPv4Network, IPv6Network
from typing import Any

from sonata._lib.ip import Prefix
from sonata.emulator.cloud.causes import (
    AddressScopeInUse,
    AddressScopePrefixConflict,
    SubnetAllocationError,
    SubnetPoolInUse,
    SubnetPoolQuotaExceeded,
)
from sonata.emulator.cloud.entities.network import AddressScope, Subnet, SubnetPool
from sonata.emulator.cloud.site import Site
from sonata.emulator.cloud.tables import Tables
from sonata.errors import InvalidInput

LONGEST = {4: 32, 6: 128}
QUOTA_UNIT_LENGTH = {4: 32, 6: 64}
"""Quotas of pools count single IPv4 addresses, and IPv6 networks of 64 bits."""


class SubnetPools:
    """The subnet pools and address scopes of one cloud."""

    def __init__(self, site: Site) -> None:
        self._tables = site.tables
        self._quotas = site.quotas

    def create(self, pool: SubnetPool) -> SubnetPool:
        """Create a pool.

        Raises:
            InvalidInput: its prefix lengths or versions contradict one another, or there is a default pool already.
            AddressScopePrefixConflict: it overlaps with another pool of its address scope.
        """
        self._quotas.require(pool.project_id, "subnetpool")
        self._check(pool)
        return self._tables.subnet_pools.add(pool)

    def update(self, pool_id: str, **changes: Any) -> SubnetPool:
        """Change a pool; subnets that were cut from it stay.

        Raises:
            InvalidInput: a prefix would shrink, besides what `create` refuses.
        """
        before = self._tables.subnet_pools.get(pool_id)
        after = replace(before, **changes)
        for prefix in before.prefixes:
            if not any(_within(prefix, other) for other in after.prefixes):
                raise InvalidInput(
                    "Illegal subnetpool update : Existing prefixes must be a subset of the new prefixes."
                )
        self._check(after)
        return self._tables.subnet_pools.change(pool_id, **changes)

    def delete(self, pool_id: str) -> None:
        """Delete a pool from which no subnet was cut."""
        self._tables.subnet_pools.get(pool_id)
        if any(subnet.subnetpool_id == pool_id for subnet in self._tables.subnets):
            raise SubnetPoolInUse(f"Unable to complete operation on subnet pool {pool_id}. Subnets exist in it.")
        self._tables.subnet_pools.remove(pool_id)

    def default(self, version: int) -> SubnetPool | None:
        """The pool that is used when a client names none."""
        pools = self._tables.subnet_pools
        return next((pool for pool in pools if pool.is_default and pool.ip_version == version), None)

    def allocate(self, pool: SubnetPool, project_id: str, length: int | None, asked: Prefix | None) -> Prefix:
        """A free prefix of a pool: the one asked for, else the first of a length, else of the pool's default length.

        Raises:
            InvalidInput: the length is out of the pool's bounds.
            SubnetAllocationError: there is none left, or what is asked for is not free.
            SubnetPoolQuotaExceeded: the project has as much as it may have.
        """
        wanted = asked.prefixlen if asked else length or pool.default_prefixlen
        _check_length(pool, wanted)
        used = [subnet.cidr for subnet in self._tables.subnets if subnet.subnetpool_id == pool.id]
        found = _if_free(asked, pool, used) if asked else _first_free(pool, wanted, used)
        if found is None:
            what = f"{asked}" if asked else f"a prefix of length {wanted}"
            raise SubnetAllocationError(f"Failed to allocate subnet: {what} is not free in subnetpool {pool.id}.")
        self._check_quota(pool, project_id, found)
        return found

    def create_scope(self, scope: AddressScope) -> AddressScope:
        """Create an address scope."""
        return self._tables.address_scopes.add(scope)

    def update_scope(self, scope_id: str, **changes: Any) -> AddressScope:
        """Change name or sharing."""
        before = self._tables.address_scopes.get(scope_id)
        if before.shared and changes.get("shared") is False:
            raise InvalidInput("Unable to update address scope: a shared address scope cannot be unshared.")
        return self._tables.address_scopes.change(scope_id, **changes)

    def delete_scope(self, scope_id: str) -> None:
        """Delete a scope that no pool is in."""
        self._tables.address_scopes.get(scope_id)
        if any(pool.address_scope_id == scope_id for pool in self._tables.subnet_pools):
            raise AddressScopeInUse(
                f"Unable to complete operation on address scope {scope_id}. There are one or more subnet pools in use "
                "on the address scope"
            )
        self._tables.address_scopes.remove(scope_id)

    def onboard(self, pool_id: str, network_id: str) -> tuple[Subnet, ...]:
        """Take a network's subnets of a pool's version of IP into the pool, with their prefixes.

        Raises:
            InvalidInput: there are none.
            SubnetAllocationError: one overlaps with another subnet of the pool, or is of another pool.
            AddressScopePrefixConflict: one overlaps with another pool of the address scope.
        """
        pool = self._tables.subnet_pools.get(pool_id)
        subnets = [one for one in self._tables.subnets if one.network_id == network_id]
        subnets = [one for one in subnets if one.cidr.version == pool.ip_version and one.subnetpool_id != pool_id]
        if not subnets:
            raise InvalidInput(f"Network {network_id} has no subnets of IPv{pool.ip_version} to onboard.")
        used = [one.cidr for one in self._tables.subnets if one.subnetpool_id == pool_id]
        for subnet in subnets:
            if subnet.subnetpool_id or any(subnet.cidr.overlaps(other) for other in used):
                raise SubnetAllocationError(
                    f"Failed to onboard subnet {subnet.id}: {subnet.cidr} is of another pool, or overlaps with a "
                    f"subnet of subnetpool {pool_id}."
                )
        new = (one.cidr for one in subnets if not any(_within(one.cidr, whole) for whole in pool.prefixes))
        self.update(pool_id, prefixes=(*pool.prefixes, *new))
        return tuple(self._tables.subnets.change(one.id, subnetpool_id=pool_id) for one in subnets)

    def scope_of_network(self, network_id: str, version: int) -> str | None:
        """The address scope that a network is in by its subnets' pools."""
        return scope_of_network(self._tables, network_id, version)

    def _check(self, pool: SubnetPool) -> None:
        if any(prefix.version != pool.ip_version for prefix in pool.prefixes):
            raise InvalidInput("Cannot mix IPv4 and IPv6 prefixes in a subnet pool.")
        bounds = (0, pool.min_prefixlen, pool.default_prefixlen, pool.max_prefixlen, LONGEST[pool.ip_version])
        if list(bounds) != sorted(bounds):
            raise InvalidInput(
                f"Illegal prefix bounds: min_prefixlen={pool.min_prefixlen}, default_prefixlen="
                f"{pool.default_prefixlen}, max_prefixlen={pool.max_prefixlen}."
            )
        rival = self.default(pool.ip_version)
        if pool.is_default and rival and rival.id != pool.id:
            raise InvalidInput(f"A default subnetpool for this IP family has already been set: {rival.id}.")
        if pool.address_scope_id:
            self._check_scope(pool, self._tables.address_scopes.get(pool.address_scope_id))

    def _check_scope(self, pool: SubnetPool, scope: AddressScope) -> None:
        if scope.ip_version != pool.ip_version:
            raise InvalidInput(
                f"Illegal subnetpool association: subnetpool {pool.id} cannot associate with address scope {scope.id} "
                "because subnetpool ip_version is not the same as that of the address scope."
            )
        for other in self._tables.subnet_pools:
            if other.id == pool.id or other.address_scope_id != scope.id:
                continue
            if any(mine.overlaps(theirs) for mine in pool.prefixes for theirs in other.prefixes):
                raise AddressScopePrefixConflict(
                    "Failed to associate address scope: subnetpools within an address scope must have unique prefixes."
                )

    def _check_quota(self, pool: SubnetPool, project_id: str, added: Prefix) -> None:
        if pool.default_quota is None:
            return
        own = [
            subnet.cidr
            for subnet in self._tables.subnets
            if (subnet.subnetpool_id, subnet.project_id) == (pool.id, project_id)
        ]
        if sum(map(_units, [*own, added])) > pool.default_quota:
            raise SubnetPoolQuotaExceeded("Per-tenant subnet pool prefix quota exceeded.")


def scope_of_network(tables: Tables, network_id: str, version: int) -> str | None:
    """The address scope that a network is in by its subnets' pools."""
    for subnet in tables.subnets:
        pool = tables.subnet_pools.peek(subnet.subnetpool_id or "")
        if subnet.network_id == network_id and pool and pool.ip_version == version:
            return pool.address_scope_id
    return None


def _units(prefix: Prefix) -> int:
    length = QUOTA_UNIT_LENGTH[prefix.version]
    return 1 << max(0, length - prefix.prefixlen)


def _check_length(pool: SubnetPool, length: int) -> None:
    if length < pool.min_prefixlen:
        raise InvalidInput(
            f"Unable to allocate subnet with prefix length {length}, minimum allowed prefix is {pool.min_prefixlen}."
        )
    if length > pool.max_prefixlen:
        raise InvalidInput(
            f"Unable to allocate subnet with prefix length {length}, maximum allowed prefix is {pool.max_prefixlen}."
        )


def _first_free(pool: SubnetPool, length: int, used: Sequence[Prefix]) -> Prefix | None:
    """The first prefix of a length that overlaps with none in use; each step passes a whole one of these."""
    for prefix in pool.prefixes:
        at, last = int(prefix.network_address), int(prefix.broadcast_address)
        while prefix.prefixlen <= length and at <= last:
            one = type(prefix)((at, length))
            rival = next((each for each in used if each.overlaps(one)), None)
            if rival is None:
                return one
            at = 1 + max(int(one.broadcast_address), int(rival.broadcast_address))
    return None


def _if_free(prefix: Prefix, pool: SubnetPool, used: Iterable[Prefix]) -> Prefix | None:
    """The prefix itself where it lies in the pool and overlaps with none in use."""
    is_inside = any(_within(prefix, whole) for whole in pool.prefixes)
    return prefix if is_inside and not any(prefix.overlaps(one) for one in used) else None


def _within(inner: Prefix, outer: Prefix) -> bool:
    if isinstance(inner, IPv4Network) and isinstance(outer, IPv4Network):
        return inner.subnet_of(outer)
    return isinstance(inner, IPv6Network) and isinstance(outer, IPv6Network) and inner.subnet_of(outer)
