"""What servers are given, seen from inside by ordinary programs: metadata, DHCP, names, first boot, config drive."""

from __future__ import annotations

import base64
import json
import os
import shutil
from collections.abc import Iterator
from email.mime.multipart import MIMEMultipart
from email.mime.text import MIMEText
from typing import Any

import pytest
from tests.contract.openstack.real_emulation import Emulation, on_real_emulation
from tests.contract.openstack.test_compute import FAST, boot, network_of
from tests.contract.openstack.test_keypairs import KEY
from tests.contract.openstack.test_real import routed

pytestmark = on_real_emulation

FETCH = """
import sys, urllib.request as request
for path in sys.argv[1:]:
    print(request.urlopen("http://169.254.169.254" + path, timeout=5).read().decode())
"""


def ask(emulation: Emulation, machine: str, *paths: str) -> list[str]:
    """What the metadata service tells a server, each in one line."""
    told = emulation.exec(machine, "python3", "-c", FETCH, *paths)
    assert told.returncode == 0, told.stderr
    return told.stdout.splitlines()


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
    document, user_data, address, key, links = ask(
        emulation, "access/one", "/openstack/latest/meta_data.json", "/openstack/latest/user_data",
        "/latest/meta-data/local-ipv4", "/2009-04-04/meta-data/public-keys/0/openssh-key",
        "/openstack/latest/network_data.json",
    )  # fmt: skip
    told = json.loads(document)
    assert (told["uuid"], told["name"], told["hostname"]) == (server.id, "one", "one.novalocal")
    assert (told["public_keys"], told["meta"]) == ({"mine": KEY}, {"role": "cache"})
    assert (user_data, address, key) == ("hello", "10.1.0.2", KEY)
    (network_told,) = json.loads(links)["networks"]
    assert (network_told["ip_address"], network_told["network_id"]) == ("10.1.0.2", network.id)


def test_the_services_of_a_network_come_when_somebody_asks(emulation: Emulation, access: Any) -> None:
    """A stock client sees them from the beginning; what is made for them is gone with the last server."""
    network = network_of(access)
    before = emulation.namespaces()
    server = boot(access, "one", networks=[{"uuid": network.id}])

    def service() -> Any:
        (port,) = access.network.ports(network_id=network.id, device_owner="network:dhcp")
        return port

    assert (service().status, emulation.namespaces() - before) == ("ACTIVE", 1)
    assert emulation.exec("access/one", "ping", "-c1", "-W5", service().fixed_ips[0]["ip_address"]).returncode == 0
    assert (service().status, emulation.namespaces() - before) == ("ACTIVE", 2)
    assert ask(emulation, "access/one", "/latest/meta-data/local-ipv4") == ["10.1.0.2"]
    access.compute.delete_server(server)
    access.compute.wait_for_delete(server, interval=FAST, wait=20)
    assert (service().status, emulation.namespaces() - before) == ("DOWN", 0)


def test_servers_with_one_address_on_two_networks_are_told_apart(emulation: Emulation, access: Any) -> None:
    first, second = network_of(access, name="first"), network_of(access, name="second")
    one = boot(access, "one", networks=[{"uuid": first.id, "fixed_ip": "10.1.0.9"}])
    two = boot(access, "two", networks=[{"uuid": second.id, "fixed_ip": "10.1.0.9"}])
    for name, server in (("one", one), ("two", two)):
        told = json.loads(ask(emulation, f"access/{name}", "/openstack/latest/meta_data.json")[0])
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
    assert ask(emulation, "access/one", "/latest/meta-data/public-ipv4") == [floating.floating_ip_address]


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
    known = "two two.openstacklocal host-10-1-0-3.openstacklocal"
    script = f"for name in {known} far example.org; do getent ahostsv4 $name | head -1; done; getent hosts 10.1.0.3"
    lines = emulation.exec("access/one", "sh", "-c", script).stdout.splitlines()
    assert [line.split()[0] for line in lines] == 4 * ["10.1.0.3"]
    assert "two.openstacklocal" in lines[3]


# An RSA key, which is made where nothing is said, takes seconds; tests/scenario/test_first_boot.py waits for it.
CONFIG = """#cloud-config
ssh_genkeytypes: [ed25519]
hostname: edge
fqdn: edge.example.org
manage_etc_hosts: true
bootcmd:
  - echo booted >> /root/boots
write_files:
  - {path: /etc/app/app.conf, content: "a=1\\n", permissions: '0640', owner: 'daemon:daemon'}
  - {path: /etc/app/app.conf, content: "b=2\\n", append: true, permissions: '0640', owner: 'daemon:daemon'}
  - {path: /etc/app/blob, content: AAEC/w==, encoding: b64}
timezone: Europe/Berlin
runcmd:
  - [sh, -c, 'echo "list $(hostname)" > /root/ran']
  - echo text >> /root/ran
  - echo said on the console
  - exit 3
users:
  - name: carol
    shell: /bin/sh
    ssh_authorized_keys: [ssh-ed25519 AAAAC3 carol@home]
swap: {filename: /swap}
final_message: all is set up
"""
SCRIPT = "#!/bin/sh\necho script of $INSTANCE_ID >> /root/script\n"
TEMPLATE = "## template: jinja\n#!/bin/sh\necho {{ v1.local_hostname }} {{ ds.meta_data.meta.role }} > /root/template\n"


def encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def multipart(*texts: str) -> str:
    """Texts as one user data, as `cloud-init devel make-mime` writes it."""
    message = MIMEMultipart()
    for text in texts:
        message.attach(MIMEText(text))
    return message.as_string()


def finished(emulation: Emulation, machine: str) -> dict[str, Any]:
    """Wait for the result of the first boot, as `cloud-init status --wait` does."""
    told = emulation.exec(
        machine, "sh", "-c", "until [ -e /run/cloud-init/result.json ]; do sleep 0.1; done; cat /run/cloud-init/*.json"
    )
    assert told.returncode == 0, told.stderr
    result: dict[str, Any] = json.loads(told.stdout.splitlines()[0])["v1"]
    return result


def test_user_data_are_followed_once_each_part_in_its_stage(emulation: Emulation, access: Any) -> None:
    data = multipart(CONFIG, SCRIPT, TEMPLATE, "#include\nhttp://example.org/more\n")
    server = boot(access, "one", networks="none", user_data=encoded(data), metadata={"role": "cache"})
    result = finished(emulation, "access/one")
    assert result["errors"] == ["runcmd"]

    def inside(command: str) -> str:
        return emulation.exec("access/one", "sh", "-c", command).stdout.strip()

    told = inside(
        "hostname; cat /etc/app/app.conf; stat -c %a:%U /etc/app/app.conf; od -An -tx1 /etc/app/blob; cat /root/ran; "
        "cat /root/template; cat /root/script; cat /etc/timezone; cat ~carol/.ssh/authorized_keys; "
        "getent hosts edge.example.org"
    ).splitlines()
    assert [line.strip() for line in told[:-1]] == [
        "edge", "a=1", "b=2", "640:daemon", "00 01 02 ff", "list edge", "text", "one cache", f"script of {server.id}",
        "Europe/Berlin", "ssh-ed25519 AAAAC3 carol@home",
    ]  # fmt: skip
    assert told[-1].split() == ["127.0.1.1", "edge.example.org", "edge"]
    console = access.compute.get_server_console_output(server)["output"]
    for line in ("said on the console", "all is set up", "#include is refused", "`swap`: nothing here acts on it"):
        assert line in console, line
    assert "said on the console" in inside("cat /var/log/cloud-init-output.log")
    access.compute.reboot_server(server, "HARD")
    access.compute.wait_for_server(access.compute.get_server(server.id), interval=FAST, wait=20)
    finished(emulation, "access/one")
    assert inside("wc -l < /root/boots; wc -l < /root/script").split() == ["2", "1"]


def test_a_config_drive_shows_what_the_metadata_service_tells(emulation: Emulation, access: Any) -> None:
    server = boot(access, "one", networks="none", config_drive=True, user_data=encoded("#!/bin/sh\ntrue\n"))
    assert server.has_config_drive in (True, "True")
    script = (
        "cat /config-2/openstack/latest/meta_data.json; echo; cat /config-2/ec2/latest/user-data; echo x > /config-2/x"
    )
    read = emulation.exec("access/one", "sh", "-c", script)
    told, *user_data = read.stdout.splitlines()
    assert json.loads(told)["uuid"] == server.id
    assert user_data == ["#!/bin/sh", "true"]
    assert read.returncode != 0
    plain = boot(access, "two", networks="none")
    assert plain.has_config_drive in (False, "", None)
    assert emulation.exec("access/two", "ls", "/config-2").returncode != 0


@pytest.mark.skipif(not os.path.exists("/usr/sbin/sshd"), reason="needs sshd (apt-get install openssh-server)")
def test_a_generated_key_opens_a_server_at_its_floating_address(emulation: Emulation, access: Any) -> None:
    network = network_of(access)
    routed(access, network)
    group = access.network.find_security_group("default")
    access.network.create_security_group_rule(
        security_group_id=group.id, direction="ingress", protocol="tcp", port_range_min=22, port_range_max=22
    )
    pair = access.compute.create_keypair(name="generated")
    try:
        server = boot(
            access, "one", networks=[{"uuid": network.id}], key_name="generated",
            user_data=encoded("#cloud-config\nssh_genkeytypes: [ed25519]\nruncmd: [/usr/sbin/sshd]\n"),
        )  # fmt: skip
        finished(emulation, "access/one")
        (port,) = access.network.ports(device_id=server.id)
        external = access.network.find_network("external")
        floating = access.network.create_ip(floating_network_id=external.id, port_id=port.id)
        script = (
            f"umask 077; echo '{pair.private_key}' > /tmp/id; ssh -i /tmp/id -o StrictHostKeyChecking=no "
            f"-o UserKnownHostsFile=/dev/null -o BatchMode=yes root@{floating.floating_ip_address} hostname"
        )
        told = emulation.exec("users", "sh", "-c", script)
        assert told.stdout.strip() == "one", told.stderr + access.compute.get_server_console_output(server)["output"]
    finally:
        access.compute.delete_keypair("generated")


SOLICIT = """
import socket, struct, sys
link = socket.if_nametoindex("eth0")
mac = bytes.fromhex(open("/sys/class/net/eth0/address").read().strip().replace(":", ""))
raw = socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6)
raw.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, 255)
raw.settimeout(5)
raw.sendto(bytes((133, 0, 0, 0, 0, 0, 0, 0)), ("ff02::2", 0, 0, link))
while (told := raw.recv(1500))[0] != 134:
    pass
print(told[5], socket.inet_ntop(socket.AF_INET6, told[told.index(bytes((3, 4, 64))) + 16 :][:16]))
ask = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
ask.bind(("::", 546))
ask.settimeout(5)
identifier = struct.pack("!HHHH", 1, 10, 3, 1) + mac
ask.sendto(bytes((1, 7, 7, 7)) + identifier + struct.pack("!HH", 3, 12) + bytes(12), ("ff02::1:2", 547, 0, link))
offer = ask.recv(1500)
at = offer.index(struct.pack("!HH", 5, 24))
print(offer[0], socket.inet_ntop(socket.AF_INET6, offer[at + 4 : at + 20]))
"""


def test_ipv6_hosts_are_told_how_they_get_their_addresses(emulation: Emulation, access: Any) -> None:
    network = network_of(access)
    modes = {"ipv6_ra_mode": "dhcpv6-stateful", "ipv6_address_mode": "dhcpv6-stateful"}
    subnet = access.network.create_subnet(network_id=network.id, ip_version=6, cidr="fd00:7::/64", **modes)
    server = boot(access, "one", networks=[{"uuid": network.id}])
    port = next(access.network.ports(device_id=server.id))
    own = next(fixed["ip_address"] for fixed in port.fixed_ips if fixed["subnet_id"] == subnet.id)
    told = emulation.exec("access/one", "python3", "-c", SOLICIT)
    assert told.stdout.splitlines() == ["128 fd00:7::", f"2 {own}"], told.stderr
