"""What a network gives its servers, asked for by ordinary programs inside of them: metadata, DHCP, names."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from typing import Any

import pytest
from tests.contract.openstack.test_compute import boot, network_of
from tests.contract.openstack.test_keypairs import KEY
from tests.contract.openstack.test_real import Emulation, access, emulation, routed

__all__ = ["access", "emulation"]

pytestmark = [
    pytest.mark.root,
    pytest.mark.serial,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root: starts an emulation with namespaces"),
]

FETCH = """
import sys, urllib.request as request
answer = request.urlopen("http://169.254.169.254" + sys.argv[1], timeout=5)
sys.stdout.write(answer.read().decode())
"""


def ask(emulation: Emulation, machine: str, path: str) -> str:
    """What the metadata service tells a server."""
    told = emulation.exec(machine, "python3", "-c", FETCH, path)
    assert told.returncode == 0, told.stderr
    return told.stdout


@pytest.fixture
def keyed(access: Any) -> Iterator[Any]:
    """A key pair that goes with the test."""
    yield access.compute.create_keypair(name="mine", public_key=KEY)
    access.compute.delete_keypair("mine")


def test_a_server_learns_about_itself_on_an_isolated_network(emulation: Emulation, access: Any, keyed: Any) -> None:
    network = network_of(access)
    server = boot(
        access, "one", networks=[{"uuid": network.id}], key_name=keyed.name, metadata={"role": "cache"},
        user_data="aGVsbG8=",
    )  # fmt: skip
    told = json.loads(ask(emulation, "access/one", "/openstack/latest/meta_data.json"))
    assert (told["uuid"], told["name"], told["hostname"]) == (server.id, "one", "one.novalocal")
    assert (told["public_keys"], told["meta"]) == ({"mine": KEY}, {"role": "cache"})
    assert ask(emulation, "access/one", "/openstack/latest/user_data") == "hello"
    assert ask(emulation, "access/one", "/latest/meta-data/local-ipv4") == "10.1.0.2"
    assert ask(emulation, "access/one", "/2009-04-04/meta-data/public-keys/0/openssh-key") == KEY
    (network_told,) = json.loads(ask(emulation, "access/one", "/openstack/latest/network_data.json"))["networks"]
    assert (network_told["ip_address"], network_told["network_id"]) == ("10.1.0.2", network.id)


def test_servers_with_one_address_on_two_networks_are_told_apart(emulation: Emulation, access: Any) -> None:
    first, second = network_of(access, name="first"), network_of(access, name="second")
    one = boot(access, "one", networks=[{"uuid": first.id, "fixed_ip": "10.1.0.9"}])
    two = boot(access, "two", networks=[{"uuid": second.id, "fixed_ip": "10.1.0.9"}])
    for name, server in (("one", one), ("two", two)):
        told = json.loads(ask(emulation, f"access/{name}", "/openstack/latest/meta_data.json"))
        assert told["uuid"] == server.id


def test_a_floating_address_shows_and_a_second_interface_does_not_hide_the_service(
    emulation: Emulation, access: Any
) -> None:
    network, other = network_of(access), network_of(access, cidr="10.2.0.0/24", name="other")
    routed(access, network)
    server = boot(access, "one", networks=[{"uuid": network.id}, {"uuid": other.id}])
    port = next(access.network.ports(device_id=server.id, network_id=network.id))
    external = access.network.find_network("external")
    floating = access.network.create_ip(floating_network_id=external.id, port_id=port.id)
    assert ask(emulation, "access/one", "/latest/meta-data/public-ipv4") == floating.floating_ip_address


def test_a_network_is_served_while_it_has_servers_and_can_be_deleted(emulation: Emulation, access: Any) -> None:
    network = network_of(access)
    server = boot(access, "one", networks=[{"uuid": network.id}])
    (service,) = access.network.ports(network_id=network.id, device_owner="network:dhcp")
    assert (service.status, service.fixed_ips[0]["ip_address"]) == ("ACTIVE", "10.1.0.254")
    access.compute.delete_server(server)
    access.compute.wait_for_delete(server, interval=0.02, wait=20)
    assert access.network.get_port(service.id).status == "DOWN"
    access.network.delete_subnet(access.network.get_network(network.id).subnet_ids[0], ignore_missing=False)
    assert list(access.network.ports(network_id=network.id)) == []
    access.network.delete_network(network, ignore_missing=False)


LEASE = """#!/bin/sh
[ "$1" = bound ] && env | grep -E '^(ip|subnet|router|dns|domain|hostname|mtu|staticroutes|lease)='
exit 0
"""


@pytest.mark.skipif(shutil.which("udhcpc") is None, reason="needs udhcpc (apt-get install udhcpc)")
def test_a_dhcp_client_is_told_what_its_port_has(emulation: Emulation, access: Any) -> None:
    network = network_of(access)
    boot(access, "one", networks=[{"uuid": network.id}])
    script = emulation.sonata("exec", "--name", "openstack-contract", "access/one", "--", "sh", "-c",
        f"cat > /tmp/told <<'E'\n{LEASE}E\nchmod +x /tmp/told; ip addr flush dev eth0; "
        "udhcpc -i eth0 -n -q -f -t 3 -T 1 -s /tmp/told -O staticroutes -O mtu -O hostname")  # fmt: skip
    assert script.returncode == 0, script.stderr
    told = dict(line.split("=", 1) for line in script.stdout.splitlines() if "=" in line)
    assert (told["ip"], told["subnet"], told["router"]) == ("10.1.0.2", "255.255.255.0", "10.1.0.1")
    assert (told["dns"], told["domain"], told["hostname"]) == ("10.1.0.254", "openstacklocal", "one")
    assert "169.254.169.254/32 10.1.0.254" in told["staticroutes"]


def test_servers_find_one_another_by_name(emulation: Emulation, access: Any) -> None:
    network, elsewhere = network_of(access), network_of(access, name="elsewhere")
    boot(access, "one", networks=[{"uuid": network.id}])
    boot(access, "two", networks=[{"uuid": network.id}])
    boot(access, "far", networks=[{"uuid": elsewhere.id}])
    for name in ("two", "two.openstacklocal", "host-10-1-0-3.openstacklocal"):
        assert emulation.exec("access/one", "getent", "ahostsv4", name).stdout.startswith("10.1.0.3"), name
    assert "two.openstacklocal" in emulation.exec("access/one", "getent", "hosts", "10.1.0.3").stdout
    for name in ("far", "example.org"):
        assert emulation.exec("access/one", "getent", "ahostsv4", name).returncode == 2, name
