"""Debian's own cloud-init in an image: it finds our data sources by itself, and does what our own first boot does."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from email.mime.multipart import MIMEMultipart
from email.mime.text import MIMEText

import pytest

from tests.machines import needs_engine, needs_root
from tests.scenario.test_first_boot import World, known_hosts, started
from tests.stock_client import needs_client

pytestmark = [
    pytest.mark.root,
    pytest.mark.serial,
    pytest.mark.slow,
    pytest.mark.timeout(900),
    needs_client,
    needs_root,
    needs_engine,
    pytest.mark.skipif(not shutil.which("mmdebstrap"), reason="needs mmdebstrap to build the images"),
]
REAL, OURS = "debian-cloud-init", "debian-ssh"
CONFIG = """#cloud-config
fqdn: edge.example.org
write_files:
  - {path: /etc/app/app.conf, content: "a=1\\n", permissions: '0640', owner: 'daemon:daemon'}
  - {path: /etc/app/blob, content: AAEC/w==, encoding: b64}
bootcmd: [echo booted >> /root/order]
runcmd:
  - [sh, -c, 'echo "ran on $(hostname)" >> /root/order']
users:
  - default
  - {name: carol, uid: 1234, shell: /bin/sh, ssh_authorized_keys: [ssh-ed25519 AAAAC3 carol@home]}
"""
SCRIPT = "#!/usr/bin/perl\nopen(F, '>>', '/root/order'); print F qq{perl of a part\\n};\n"
HOOK = "#cloud-boothook\n#!/bin/sh\necho hooked >> /root/hooks\n"
TEMPLATE = "## template: jinja\n#!/bin/sh\necho {{ v1.instance_id }} {{ ds.meta_data.meta.role }} >> /root/order\n"
LOOK = """
hostname; cat /root/order /root/hooks /etc/app/app.conf; stat -c '%a %U' /etc/app/app.conf; od -An -tx1 /etc/app/blob
id -u carol; cat /home/carol/.ssh/authorized_keys; cut -d' ' -f1,2 /home/debian/.ssh/authorized_keys
stat -c '%a %U' /home/debian/.ssh /home/debian/.ssh/authorized_keys; ls /var/lib/cloud/instance/scripts
cat /var/lib/cloud/data/instance-id
"""


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """One PoP with a routed network that lets TCP in, and the images with and without cloud-init."""
    yield from started(tmp_path_factory, OURS, REAL)


@pytest.fixture
def world(running: World) -> Iterator[World]:
    """The emulation; what a test made in it is removed."""
    yield running
    running.tidy()


def user_data() -> str:
    message = MIMEMultipart()
    for text in (CONFIG, SCRIPT, HOOK, TEMPLATE):
        message.attach(MIMEText(text))
    return message.as_string()


def query(world: World, server: str, name: str) -> str:
    return world.inside(server, f"cloud-init query {name}").strip()


def test_cloud_init_and_our_first_boot_do_the_same(world: World) -> None:
    key = world.key("mine")
    data = user_data()
    servers = {}
    for server, image in (("real", REAL), ("ours", OURS)):
        options = ("--key-name", "mine", "--property", "role=cache", *world.user_data(data))
        servers[server] = world.server(server, *options, image=image)["id"]
        assert world.booted(server).strip(".\n") == "status: done", world.console(server)
    seen = {name: world.inside(name, LOOK).replace(own, "ID") for name, own in servers.items()}
    real, ours = (seen[name].splitlines() for name in ("real", "ours"))
    assert [line for line in ours if not line.startswith("part-")] == [
        line for line in real if not line.startswith(("part-", "runcmd"))
    ]
    for name in servers:
        address = world.floating_ip(name)
        told = world.ssh(key, f"debian@{address}", known_hosts(world, name, address), "hostname")
        assert told.stdout == "edge\n", told.stderr


def test_cloud_init_asks_the_metadata_service_as_in_any_openstack(world: World) -> None:
    world.key("mine")
    data = user_data()
    made = world.server("one", "--key-name", "mine", "--property", "role=cache", *world.user_data(data), image=REAL)
    assert world.booted("one").strip(".\n") == "status: done", world.console("one")
    result = json.loads(world.inside("one", "cat /run/cloud-init/result.json"))["v1"]
    assert result["errors"] == []
    assert result["datasource"].startswith("DataSourceOpenStack "), result
    assert [query(world, "one", name) for name in ("cloud_name", "platform", "instance_id", "ds.meta_data.name")] == [
        "openstack", "openstack", made["id"], "one",
    ]  # fmt: skip
    assert "metadata (http://169.254.169.254)" in query(world, "one", "subplatform")
    assert query(world, "one", "userdata") == data.strip()
    assert query(world, "one", "public_ssh_keys") != "[]"
    world.openstack.ok("server reboot --soft --wait one")
    assert world.booted("one").strip(".\n") == "status: done", world.console("one")
    assert "Received signal 15; terminating." in world.console("one")
    assert world.inside("one", "grep -c booted /root/order; grep -c perl /root/order").split() == ["2", "1"]


@pytest.mark.parametrize(("options", "nics"), [("--config-drive True", "--network inner"), ("", "--nic none")])
def test_cloud_init_reads_the_config_drive(world: World, options: str, nics: str) -> None:
    data = world.user_data(user_data())
    made = world.server("one", *options.split(), "--property", "role=cache", *data, image=REAL, nics=nics)
    assert world.booted("one").strip(".\n") == "status: done", world.console("one")
    result = json.loads(world.inside("one", "cat /run/cloud-init/result.json"))["v1"]
    assert result["datasource"].startswith("DataSourceConfigDrive"), result
    assert query(world, "one", "instance_id") == made["id"]
    assert world.inside("one", "cat /root/order").splitlines() == [
        "booted",
        "perl of a part",
        f"{made['id']} cache",
        "ran on edge",
    ]
