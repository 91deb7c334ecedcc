"""Tables of entities: the whole state of one cloud."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import field, fields, replace
from typing import Any, Generic, TypeVar

from sonata._lib.values import dataclass
from sonata.emulator.cloud.causes import NoSuch
from sonata.emulator.cloud.entities.base import Entity
from sonata.emulator.cloud.entities.chaining import FlowClassifier, PortChain, PortPair, PortPairGroup, ServiceGraph
from sonata.emulator.cloud.entities.compute import Flavor, Server, ServerAction
from sonata.emulator.cloud.entities.hosts import Aggregate, ComputeService, Migration, ServerGroup
from sonata.emulator.cloud.entities.identity import (
    ApplicationCredential,
    Assignment,
    Group,
    Project,
    QuotaLimits,
    Revocation,
    Role,
    TokenKey,
    User,
)
from sonata.emulator.cloud.entities.image import GlanceImage, ImageMember
from sonata.emulator.cloud.entities.keypair import KeyPair
from sonata.emulator.cloud.entities.l2_gateway import L2Gateway, L2GatewayConnection
from sonata.emulator.cloud.entities.load_balancing import (
    FlavorProfile,
    HealthMonitor,
    L7Policy,
    L7Rule,
    LbFlavor,
    Listener,
    LoadBalancer,
    Member,
    Pool,
)
from sonata.emulator.cloud.entities.network import (
    AddressScope,
    FloatingIp,
    Network,
    Port,
    PortForwarding,
    RbacPolicy,
    Router,
    SecurityGroup,
    Subnet,
    SubnetPool,
)
from sonata.emulator.cloud.entities.orchestration import (
    SoftwareConfig,
    SoftwareDeployment,
    Stack,
    StackEvent,
    StackResource,
    StackSnapshot,
)
from sonata.emulator.cloud.entities.qos import QosPolicy
from sonata.emulator.cloud.entities.security import AddressGroup, SecurityGroupRule
from sonata.emulator.cloud.entities.volume import Attachment, Snapshot, Transfer, Volume, VolumeType
from sonata.errors import Conflict

E = TypeVar("E", bound=Entity)


class Table(Generic[E]):
    """Entities of one kind by id, in the order of their creation.

    After each change `on_change` is called, then `on_row` with what the entity was before and is now, None for
    nothing; `generation` counts the changes.
    """

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.on_change: Callable[[], None] = _nobody_watches
        self.on_row: Callable[[E | None, E | None], None] = _nobody_looks
        self.generation = 0
        self._rows: dict[str, E] = {}

    def __iter__(self) -> Iterator[E]:
        return iter(tuple(self._rows.values()))

    def __len__(self) -> int:
        return len(self._rows)

    def __contains__(self, entity_id: str) -> bool:
        return entity_id in self._rows

    def get(self, entity_id: str) -> E:
        """The entity of this id.

        Raises:
            NoSuch: there is none.
        """
        try:
            return self._rows[entity_id]
        except KeyError:
            raise NoSuch(self.kind, entity_id) from None

    def peek(self, entity_id: str) -> E | None:
        """The entity of this id, or None."""
        return self._rows.get(entity_id)

    def find(self, name_or_id: str) -> E:
        """The entity of this id, else the only one of this name.

        Raises:
            NoSuch: there is none.
            Conflict: several have this name.
        """
        if name_or_id in self._rows:
            return self._rows[name_or_id]
        named = [row for row in self._rows.values() if row.name == name_or_id]
        if len(named) > 1:
            raise Conflict(f"{len(named)} {self.kind.lower()}s have the name `{name_or_id}`", hint="use the id")
        if not named:
            raise NoSuch(self.kind, name_or_id)
        return named[0]

    def add(self, entity: E) -> E:
        """Add an entity.

        Raises:
            Conflict: its id is taken.
        """
        if entity.id in self._rows:
            raise Conflict(f"{self.kind} {entity.id} exists already.")
        self._rows[entity.id] = entity
        self._changed(None, entity)
        return entity

    def change(self, entity_id: str, **changes: Any) -> E:
        """Replace attributes of an entity; its revision and time of change move on."""
        row = self.get(entity_id)
        new = self._rows[entity_id] = replace(row, revision=row.revision + 1, updated_at=time.time(), **changes)
        self._changed(row, new)
        return new

    def restore(self, entity: E) -> None:
        """Put an earlier state of an entity back."""
        before, self._rows[entity.id] = self._rows.get(entity.id), entity
        self._changed(before, entity)

    def put_back(self, before: E, names: Iterable[str]) -> None:
        """Give an entity these attributes of an earlier state again; what others have changed meanwhile stays."""
        if before.id in self._rows:
            self.change(before.id, **{name: getattr(before, name) for name in names})

    def remove(self, entity_id: str) -> None:
        """Forget an entity; idempotent."""
        self._changed(self._rows.pop(entity_id, None), None)

    def _changed(self, before: E | None, after: E | None) -> None:
        self.generation += 1
        self.on_change()
        self.on_row(before, after)


def _nobody_watches() -> None:
    pass


def _nobody_looks(_before: object, _after: object) -> None:
    pass


def generation_of(tables: Iterable[Table[Any]]) -> int:
    """Counts the changes of several tables: the same number again means that nothing in them has changed."""
    return sum([table.generation for table in tables])


@dataclass(frozen=True, slots=True)
class Tables:
    """All tables of a cloud."""

    projects: Table[Project] = field(default_factory=lambda: Table("Project"))
    users: Table[User] = field(default_factory=lambda: Table("User"))
    groups: Table[Group] = field(default_factory=lambda: Table("Group"))
    roles: Table[Role] = field(default_factory=lambda: Table("Role"))
    assignments: Table[Assignment] = field(default_factory=lambda: Table("Assignment"))
    application_credentials: Table[ApplicationCredential] = field(
        default_factory=lambda: Table("ApplicationCredential")
    )
    token_keys: Table[TokenKey] = field(default_factory=lambda: Table("TokenKey"))
    revocations: Table[Revocation] = field(default_factory=lambda: Table("Revocation"))
    quota_limits: Table[QuotaLimits] = field(default_factory=lambda: Table("Quota"))
    networks: Table[Network] = field(default_factory=lambda: Table("Network"))
    subnets: Table[Subnet] = field(default_factory=lambda: Table("Subnet"))
    ports: Table[Port] = field(default_factory=lambda: Table("Port"))
    routers: Table[Router] = field(default_factory=lambda: Table("Router"))
    floating_ips: Table[FloatingIp] = field(default_factory=lambda: Table("FloatingIP"))
    port_forwardings: Table[PortForwarding] = field(default_factory=lambda: Table("PortForwarding"))
    address_scopes: Table[AddressScope] = field(default_factory=lambda: Table("AddressScope"))
    subnet_pools: Table[SubnetPool] = field(default_factory=lambda: Table("SubnetPool"))
    rbac_policies: Table[RbacPolicy] = field(default_factory=lambda: Table("RbacPolicy"))
    security_groups: Table[SecurityGroup] = field(default_factory=lambda: Table("SecurityGroup"))
    security_group_rules: Table[SecurityGroupRule] = field(default_factory=lambda: Table("SecurityGroupRule"))
    qos_policies: Table[QosPolicy] = field(default_factory=lambda: Table("QosPolicy"))
    address_groups: Table[AddressGroup] = field(default_factory=lambda: Table("AddressGroup"))
    port_pairs: Table[PortPair] = field(default_factory=lambda: Table("PortPair"))
    port_pair_groups: Table[PortPairGroup] = field(default_factory=lambda: Table("PortPairGroup"))
    flow_classifiers: Table[FlowClassifier] = field(default_factory=lambda: Table("FlowClassifier"))
    port_chains: Table[PortChain] = field(default_factory=lambda: Table("PortChain"))
    service_graphs: Table[ServiceGraph] = field(default_factory=lambda: Table("ServiceGraph"))
    l2_gateways: Table[L2Gateway] = field(default_factory=lambda: Table("L2Gateway"))
    l2_gateway_connections: Table[L2GatewayConnection] = field(default_factory=lambda: Table("L2GatewayConnection"))
    flavors: Table[Flavor] = field(default_factory=lambda: Table("Flavor"))
    keypairs: Table[KeyPair] = field(default_factory=lambda: Table("Keypair"))
    servers: Table[Server] = field(default_factory=lambda: Table("Instance"))
    server_actions: Table[ServerAction] = field(default_factory=lambda: Table("Action"))
    server_groups: Table[ServerGroup] = field(default_factory=lambda: Table("ServerGroup"))
    compute_services: Table[ComputeService] = field(default_factory=lambda: Table("ComputeService"))
    aggregates: Table[Aggregate] = field(default_factory=lambda: Table("Aggregate"))
    migrations: Table[Migration] = field(default_factory=lambda: Table("Migration"))
    uploads: Table[GlanceImage] = field(default_factory=lambda: Table("Image"))
    load_balancers: Table[LoadBalancer] = field(default_factory=lambda: Table("Load Balancer"))
    listeners: Table[Listener] = field(default_factory=lambda: Table("Listener"))
    pools: Table[Pool] = field(default_factory=lambda: Table("Pool"))
    members: Table[Member] = field(default_factory=lambda: Table("Member"))
    health_monitors: Table[HealthMonitor] = field(default_factory=lambda: Table("Health Monitor"))
    l7policies: Table[L7Policy] = field(default_factory=lambda: Table("L7Policy"))
    l7rules: Table[L7Rule] = field(default_factory=lambda: Table("L7Rule"))
    lb_flavor_profiles: Table[FlavorProfile] = field(default_factory=lambda: Table("Flavor Profile"))
    lb_flavors: Table[LbFlavor] = field(default_factory=lambda: Table("Flavor"))
    stacks: Table[Stack] = field(default_factory=lambda: Table("Stack"))
    stack_resources: Table[StackResource] = field(default_factory=lambda: Table("StackResource"))
    stack_events: Table[StackEvent] = field(default_factory=lambda: Table("StackEvent"))
    stack_snapshots: Table[StackSnapshot] = field(default_factory=lambda: Table("StackSnapshot"))
    software_configs: Table[SoftwareConfig] = field(default_factory=lambda: Table("SoftwareConfig"))
    software_deployments: Table[SoftwareDeployment] = field(default_factory=lambda: Table("SoftwareDeployment"))
    image_members: Table[ImageMember] = field(default_factory=lambda: Table("Member"))
    volumes: Table[Volume] = field(default_factory=lambda: Table("Volume"))
    snapshots: Table[Snapshot] = field(default_factory=lambda: Table("Snapshot"))
    volume_attachments: Table[Attachment] = field(default_factory=lambda: Table("VolumeAttachment"))
    volume_types: Table[VolumeType] = field(default_factory=lambda: Table("VolumeType"))
    volume_transfers: Table[Transfer] = field(default_factory=lambda: Table("Transfer"))

    def __iter__(self) -> Iterator[tuple[str, Table[Any]]]:
        """All tables with their names."""
        return ((one.name, getattr(self, one.name)) for one in fields(self))

    def watch(self, on_change: Callable[[], None]) -> None:
        """Call this after each change from now on."""
        for _name, table in self:
            table.on_change = on_change
