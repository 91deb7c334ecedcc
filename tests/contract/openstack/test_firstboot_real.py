"""User data followed at the first boot of real servers, and config drives seen in them."""

from __future__ import annotations

import base64
import json
import os
from email.mime.multipart import MIMEMultipart
from email.mime.text import MIMEText
from typing import Any

import pytest
from tests.contract.openstack.test_compute import boot
from tests.contract.openstack.test_real import Emulation, access, emulation

__all__ = ["access", "emulation"]

pytestmark = [
    pytest.mark.root,
    pytest.mark.serial,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root: starts an emulation with namespaces"),
]

CONFIG = """#cloud-config
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


def test_a_config_drive_shows_what_the_metadata_service_tells(emulation: Emulation, access: Any) -> None:
    server = boot(access, "one", networks="none", config_drive=True, user_data=encoded("#!/bin/sh\ntrue\n"))
    assert server.has_config_drive in (True, "True")
    read = emulation.exec("access/one", "cat", "/config-2/openstack/latest/meta_data.json")
    assert json.loads(read.stdout)["uuid"] == server.id
    assert emulation.exec("access/one", "cat", "/config-2/ec2/latest/user-data").stdout == "#!/bin/sh\ntrue\n"
    assert emulation.exec("access/one", "sh", "-c", "echo x > /config-2/x").returncode != 0
    plain = boot(access, "two", networks="none")
    assert plain.has_config_drive in (False, "", None)
    assert emulation.exec("access/two", "ls", "/config-2").returncode != 0
