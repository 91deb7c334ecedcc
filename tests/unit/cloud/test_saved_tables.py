"""The tables of a cloud through JSON and back, and what is true of them after a power cut."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import fields, replace
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network
from typing import Any, get_args, get_type_hints

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from sonata._lib.ip import Address, Prefix
from sonata._lib.plain import decode, encode, from_plain
from sonata.emulator.cloud.entities.base import Entity
from sonata.emulator.cloud.entities.chaining import FlowClassifier, PortChain, PortPair, PortPairGroup
from sonata.emulator.cloud.entities.compute import ActionEvent, Fault, Flavor, Nic, Previous, Server, ServerAction
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
from sonata.emulator.cloud.entities.image import GlanceImage
from sonata.emulator.cloud.entities.keypair import KeyPair
from sonata.emulator.cloud.entities.network import (
    FLOATING_IP_OWNER,
    ROUTER_GATEWAY_OWNER,
    ROUTER_INTERFACE_OWNER,
    SERVER_OWNER,
    AddressScope,
    FixedIp,
    FloatingIp,
    Gateway,
    Network,
    Port,
    PortForwarding,
    RbacPolicy,
    Router,
    SecurityGroup,
    StaticRoute,
    Subnet,
    SubnetPool,
)
from sonata.emulator.cloud.entities.security import AddressGroup, SecurityGroupRule
from sonata.emulator.cloud.recovery import lose_power, renumber
from sonata.emulator.cloud.saved_tables import from_document, rows_of, to_document
from sonata.emulator.cloud.tables import Tables

st.register_type_strategy(Address, st.ip_addresses())  # type: ignore[arg-type]
st.register_type_strategy(Prefix, st.builds(ip_network, st.ip_addresses()))  # type: ignore[arg-type]

ADDRESS, NET = IPv4Address("10.1.0.5"), IPv4Network("10.1.0.0/24")
OUTER, OUTSIDE = IPv4Address("100.64.3.70"), IPv4Network("100.64.3.0/24")
LAST = OUTSIDE[254]


def filled() -> Tables:
    """Tables with a row of every kind, every field away from its default where that is possible."""
    tables = Tables()
    common: dict[str, Any] = {
        "description": "d",
        "tags": ("x", "y"),
        "created_at": 1.5,
        "updated_at": 2.5,
        "revision": 3,
    }
    flavor = Flavor(id="f", name="own", vcpus=2, ram_mib=64, extra_specs={"a": "b"}, rxtx_factor=0.5, **common)
    rows: dict[str, list[Any]] = {
        "projects": [Project(id="p", name="admin", **common)],
        "users": [User(id="u", name="admin", project_id="p", enabled=False, password_hash="$", extra={"email": "a@b"})],
        "groups": [Group(id="gr", name="all", members=("u",))],
        "roles": [Role(id="ro", name="admin", immutable=True)],
        "assignments": [
            Assignment(id="a", actor_kind="group", actor="gr", target_kind="project", target="p", role="ro")
        ],
        "application_credentials": [
            ApplicationCredential(id="ac", user_id="u", secret_hash="$", roles=("ro",), expires_at=9.5)
        ],
        "token_keys": [TokenKey(id="fernet", secret="s")],
        "revocations": [Revocation(id="audit", expires_at=7.5)],
        "quota_limits": [QuotaLimits(id="p", limits={"network": 5, "cores": -1})],
        "networks": [Network(id="n", mtu=1400, shared=True), Network(id="x", name="external", external=True)],
        "subnets": [
            Subnet(id="s", network_id="n", cidr=NET, gateway_ip=NET[1], pools=((NET[2], NET[9]),)),
            Subnet(
                id="six",
                network_id="n",
                cidr=IPv6Network("fd00::/64"),
                gateway_ip=IPv6Address("fd00::1"),
                host_routes=(StaticRoute(IPv6Network("fd01::/64"), IPv6Address("fd00::9")),),
                address_mode="slaac",
            ),
            Subnet(id="xs", network_id="x", cidr=OUTSIDE, gateway_ip=OUTSIDE[1], pools=((OUTSIDE[64], OUTSIDE[254]),)),
        ],
        "ports": [
            port("own", device_id="v", device_owner=SERVER_OWNER, plugged=True, allowed_address_pairs=({"ip": "1"},)),
            port("leg", device_id="r", device_owner=ROUTER_INTERFACE_OWNER, plugged=True),
            port("out", "x", "xs", OUTSIDE[64], device_id="r", device_owner=ROUTER_GATEWAY_OWNER, plugged=True),
            port("float", "x", "xs", OUTER, device_id="fip", device_owner=FLOATING_IP_OWNER),
        ],
        "routers": [Router(id="r", gateway=Gateway("x", "out"), interfaces=("leg",), project_id="p")],
        "floating_ips": [
            FloatingIp(
                id="fip",
                network_id="x",
                address=OUTER,
                gateway_port_id="float",
                port_id="own",
                fixed_address=ADDRESS,
                router_id="r",
            )
        ],
        "port_forwardings": [
            PortForwarding(
                id="pf",
                floating_ip_id="fip",
                port_id="own",
                inner_address=ADDRESS,
                inner_ports=(80, 81),
                outer_ports=(8080, 8081),
                protocol="tcp",
                router_id="r",
            )
        ],
        "address_scopes": [AddressScope(id="as", ip_version=6, shared=True)],
        "subnet_pools": [
            SubnetPool(
                id="sp",
                prefixes=(NET, IPv6Network("fd00::/48")),
                ip_version=4,
                default_prefixlen=24,
                min_prefixlen=8,
                max_prefixlen=32,
                address_scope_id="as",
            )
        ],
        "rbac_policies": [RbacPolicy(id="rp", object_type="network", object_id="n", target_project="p")],
        "security_groups": [SecurityGroup(id="g", name="web", shared=True, stateful=False)],
        "security_group_rules": [
            SecurityGroupRule(
                id="gr",
                security_group_id="g",
                direction="ingress",
                protocol="tcp",
                port_range_min=80,
                port_range_max=81,
                remote_ip_prefix=NET,
            ),
            SecurityGroupRule(
                id="g6",
                security_group_id="g",
                direction="egress",
                ethertype="IPv6",
                remote_ip_prefix=IPv6Network("fd00::/8"),
            ),
        ],
        "address_groups": [AddressGroup(id="ag", addresses=(NET, IPv6Network("fd00::/8")))],
        "port_pairs": [PortPair(id="pp", ingress="own", egress="own", parameters={"correlation": None, "n": [1]})],
        "port_pair_groups": [PortPairGroup(id="pg", port_pairs=("pp",), parameters={"lb_fields": ["ip"]})],
        "flow_classifiers": [FlowClassifier(id="fc", protocol="tcp", source=NET, destination_port_min=80)],
        "port_chains": [
            PortChain(id="pc", groups=("pg",), classifiers=("fc",), chain_id=7, symmetric=True, correlation="nsh")
        ],
        "flavors": [flavor],
        "keypairs": [KeyPair(id="k", user_id="u", name="mine", public_key="ssh-rsa A", fingerprint="a:b", number=2)],
        "servers": [server("v", flavor)],
        "server_actions": [
            ServerAction(id="act", name="stop", server_id="v", request_id="req-1", events=(ActionEvent("e", "h", 1.0),))
        ],
        "server_groups": [ServerGroup(id="sg", policy="affinity", members=("v",))],
        "compute_services": [ComputeService(id="cs", name="edge", number=1, enabled=False, disabled_reason="broken")],
        "aggregates": [Aggregate(id="ag", name="fast", number=1, hosts=("edge",), metadata={"availability_zone": "z"})],
        "migrations": [
            Migration(
                number=1, server_id="v", kind="resize", source="a", target="b", old_flavor_id="1", new_flavor_id="2"
            )
        ],
        "uploads": [GlanceImage(id="i", stored="upload-i", digest="sha256:1", size_bytes=9, properties={"k": "v"})],
    }
    for name, table in tables:
        for row in rows.pop(name, []):
            table.add(row)
    assert rows == {}
    return tables


def port(port_id: str, network: str = "n", subnet: str = "s", address: IPv4Address = ADDRESS, **more: Any) -> Port:
    return Port(id=port_id, network_id=network, mac="fa:16:00:00:00:01", fixed_ips=(FixedIp(subnet, address),), **more)


def server(server_id: str, flavor: Flavor, **more: Any) -> Server:
    values: dict[str, Any] = {
        "status": "ACTIVE",
        "task_state": None,
        "nics": (Nic("own", "eth0", owned=True),),
        "argv": ("/bin/app", "-v"),
        "metadata": {"m": "1"},
        "fault": Fault("why", 404, 1.0),
        "launched_at": 12.0,
        "claimed": True,
        "host": "edge",
        "cores": (1,),
        "previous": Previous(flavor, "edge", "SHUTOFF"),
        "hints": {"same_host": ("v",)},
    }
    return Server(id=server_id, name="vnf", image_id="img", flavor=flavor, **{**values, **more})


def through_json(tables: Tables) -> Tables:
    return from_document(decode(encode(to_document(rows_of(tables)))))


def test_every_table_comes_back_as_it_was() -> None:
    tables = filled()
    assert {name for name, _table in tables} == {one.name for one in fields(Tables)}
    assert rows_of(through_json(tables)) == rows_of(tables)


def test_a_table_that_an_older_document_does_not_know_is_empty() -> None:
    document = decode(encode(to_document(rows_of(filled()))))
    del document["tables"]["quota_limits"]
    read = from_document(document)
    assert len(read.quota_limits) == 0
    assert len(read.networks) == 2


def test_a_table_that_nobody_knows_is_told() -> None:
    document = decode(encode(to_document(rows_of(filled()))))
    document["tables"]["unheard_of"] = []
    with pytest.raises(ValueError, match="tables"):
        from_document(document)


def spoil(document: Any, table: str, **changes: Any) -> Any:
    spoiled = copy.deepcopy(document)
    spoiled["tables"][table][0].update(changes)
    return spoiled


@pytest.mark.parametrize(
    ("table", "changes"),
    [
        ("subnets", {"cidr": "10.1.0.5/24"}),
        ("subnets", {"cidr": 7}),
        ("subnets", {"network_id": "gone"}),
        ("ports", {"network_id": "gone"}),
        ("ports", {"plugged": "yes"}),
        ("ports", {"fixed_ips": [{"subnet_id": "gone", "address": "10.1.0.5"}]}),
        ("routers", {"interfaces": ["gone"]}),
        ("floating_ips", {"router_id": "gone"}),
        ("port_pair_groups", {"port_pairs": ["gone"]}),
        ("port_chains", {"groups": ["gone"]}),
        ("port_chains", {"classifiers": ["gone"]}),
        ("servers", {"nics": [{"port_id": "gone", "ifname": "eth0", "owned": True}]}),
        ("users", {"name": "nobody"}),
        ("uploads", {"status": "unheard of"}),
    ],
)
def test_damaged_rows_are_told(table: str, changes: dict[str, Any]) -> None:
    document = decode(encode(to_document(rows_of(filled()))))
    from_document(document)
    with pytest.raises(ValueError):
        from_document(spoil(document, table, **changes))


@pytest.mark.parametrize("document", [None, [], {}, {"version": 1}, {"version": 1, "tables": {}}, {"version": 2}])
def test_what_is_no_document_is_told(document: Any) -> None:
    with pytest.raises(ValueError):
        from_document(document)


def test_a_table_that_is_no_list_and_a_row_twice_are_told() -> None:
    document = decode(encode(to_document(rows_of(filled()))))
    twice = copy.deepcopy(document)
    twice["tables"]["networks"] *= 2
    for spoiled in (twice, {**document, "tables": {**document["tables"], "ports": {}}}):
        with pytest.raises(ValueError):
            from_document(spoiled)


@pytest.mark.parametrize(
    ("status", "task_state", "after"),
    [
        ("ACTIVE", None, "SHUTOFF"),
        ("ACTIVE", "powering-off", "SHUTOFF"),
        ("SHUTOFF", None, "SHUTOFF"),
        ("SHUTOFF", "powering-on", "SHUTOFF"),
        ("REBOOT", "rebooting", "SHUTOFF"),
        ("BUILD", "spawning", "ERROR"),
        ("ERROR", None, "ERROR"),
    ],
)
def test_nothing_runs_after_a_power_cut(status: str, task_state: str | None, after: str) -> None:
    tables = filled()
    tables.servers.change("v", status=status, task_state=task_state)
    lose_power(tables)
    assert (tables.servers.get("v").status, tables.servers.get("v").task_state) == (after, None)
    assert not tables.ports.get("own").plugged
    assert tables.ports.get("own").device_id == "v"
    assert tables.ports.get("leg").plugged, "routers do not lose their legs"


def test_a_server_that_was_being_deleted_is_gone_with_what_was_made_for_it() -> None:
    tables = filled()
    tables.servers.change("v", task_state="deleting")
    lose_power(tables)
    assert len(tables.servers) == 0
    assert "own" not in tables.ports
    floating = tables.floating_ips.get("fip")
    assert (floating.port_id, floating.fixed_address, floating.router_id) == ("", None, "")


def test_a_port_whose_server_does_not_know_it_is_free_again() -> None:
    tables = filled()
    tables.ports.add(replace(port("lost"), device_id="v", device_owner=SERVER_OWNER, plugged=True))
    lose_power(tables)
    lost = tables.ports.get("lost")
    assert (lost.device_id, lost.device_owner, lost.plugged) == ("", "", False)


def test_an_upload_that_was_cut_off_can_be_made_again() -> None:
    tables = filled()
    tables.uploads.change("i", status="saving")
    lose_power(tables)
    assert tables.uploads.get("i").status == "queued"


def test_external_addresses_move_host_by_host() -> None:
    tables = filled()
    there = IPv4Network("100.64.1.0/24")
    assert not renumber(tables, OUTSIDE, OUTSIDE[1])
    assert renumber(tables, there, there[1])
    subnet = tables.subnets.get("xs")
    assert (subnet.cidr, subnet.gateway_ip, subnet.pools) == (there, there[1], ((there[64], there[254]),))
    assert tables.floating_ips.get("fip").address == there[70]
    assert tables.ports.get("out").first_address == there[64]
    assert tables.ports.get("own").first_address == ADDRESS
    assert rows_of(through_json(tables)) == rows_of(tables)


FINITE = st.floats(allow_nan=False, allow_infinity=False)
PLAIN = st.one_of(st.none(), st.integers(-9, 9), st.text(max_size=3))


def a_dict(hint: Any) -> st.SearchStrategy[Any]:
    """Of all mappings JSON knows dictionaries alone."""
    return st.dictionaries(st.text(max_size=3), values_of(get_args(hint)[1]), max_size=2)


st.register_type_strategy(Mapping, a_dict)  # type: ignore[type-abstract]


def values_of(hint: Any) -> st.SearchStrategy[Any]:
    """Values of a field's type, plain where the type says nothing."""
    if hint is float:
        return FINITE
    return PLAIN if hint in (Any, object) else st.from_type(hint)


@pytest.mark.parametrize("kind", [get_args(hint)[0] for hint in get_type_hints(Tables).values()])
def test_every_kind_of_entity_comes_back_as_it_was(kind: type[Entity]) -> None:
    given_fields = {
        name: values_of(hint) for name, hint in get_type_hints(kind).items() if hint in (Any, object, float)
    }

    @settings(
        max_examples=5,
        database=None,
        deadline=None,
        derandomize=True,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(st.builds(kind, **given_fields))
    def there_and_back(entity: Entity) -> None:
        assert from_plain(decode(encode(entity)), kind) == entity

    there_and_back()
