"""User data on its way to steps: formats, order, bounds, and what is said of the rest."""

from __future__ import annotations

import base64
import contextlib
import gzip
from email.mime.multipart import MIMEMultipart
from email.mime.text import MIMEText
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import sonata.emulator.cloud.firstboot.parts as parts
import sonata.emulator.cloud.firstboot.templates as templates
from sonata.emulator.cloud.entities.compute import Flavor, Server
from sonata.emulator.cloud.firstboot.cloud_config import commands_script, read_config
from sonata.emulator.cloud.firstboot.instance import Instance
from sonata.emulator.cloud.firstboot.interpreter import plan_of
from sonata.emulator.cloud.firstboot.openstack_format import VERSIONS, files, meta_data
from sonata.emulator.cloud.firstboot.paths import answer, drive
from sonata.emulator.cloud.firstboot.plan import Plan

FLAVOR = Flavor(name="tiny", vcpus=1, ram_mib=64)
KEY = "ssh-ed25519 AAAAC3 me@home"


def instance(user_data: bytes = b"", **more: Any) -> Instance:
    values = {"name": "web", "image_id": "img", "flavor": FLAVOR, "project_id": "p", **more}
    return Instance(Server(user_data=base64.b64encode(user_data).decode(), **values), (), ())


async def plan(user_data: str | bytes, **more: Any) -> Plan:
    return await plan_of(instance(user_data.encode() if isinstance(user_data, str) else user_data, **more))


def names(steps: list[Any]) -> list[str]:
    return [step.name for step in steps]


@pytest.mark.anyio
async def test_stages_have_the_order_of_cloud_init() -> None:
    made = await plan(
        "#cloud-config\nruncmd: [a]\nbootcmd: [b]\nwrite_files: [{path: /x}]\ntimezone: UTC\n", public_key=KEY
    )
    assert names(made.early_always) == ["bootcmd"]
    assert names(made.early) == ["write_files", "timezone", "ssh", "ssh", "ssh"]
    assert names(made.final) == ["runcmd"]
    assert made.warnings == []
    assert f"{KEY}\n".encode() in made.files


@pytest.mark.anyio
async def test_later_parts_replace_keys_of_earlier_ones_and_scripts_keep_their_order() -> None:
    message = MIMEMultipart()
    for text in ("#cloud-config\nhostname: one\n", "#!/bin/sh\ntrue\n", "#cloud-config\nhostname: two\n"):
        message.attach(MIMEText(text))
    made = await plan(gzip.compress(message.as_bytes()))
    assert made.host_name == "two"
    assert names(made.final) == ["scripts_user"]


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("user_data", "said"),
    [
        ("#include\nhttp://x\n", "#include is refused"),
        ("#part-handler\n", "#part-handler is refused"),
        ("hello", "neither #cloud-config nor a script"),
        ("#cloud-config\n[1, 2]\n", "no YAML mapping"),
        ("#cloud-config\na: [\n", "no valid YAML"),
        ("#cloud-config\nswap: {}\n", "`swap`: nothing here acts on it"),
        ("#cloud-config\nusers: [{name: '../x'}]\n", "is no user name"),
        ("#cloud-config\nusers: [{name: x, snapuser: y}]\n", "nothing here acts on `snapuser`"),
        ("#cloud-config\nwrite_files: [{path: x}]\n", "begins with /"),
        ("#cloud-config\nwrite_files: [{path: /x, encoding: rot13}]\n", "no encoding"),
        ("#cloud-config\nruncmd: 7\n", "a list of commands"),
        ("#cloud-config\nhostname: 'a b; c'\n", "no host name"),
        ("#cloud-config\na: &a [1]\nb: [" + ", ".join(["*a"] * 17) + "]\n", "aliases"),
        ("## template: jinja\n#!/bin/sh\n{{ 'x' * 10 ** 10 }}\n", "template failed"),
        ("## template: jinja\n#!/bin/sh\n{{ ''.__class__.__mro__[1].__subclasses__() }}\n", "template failed"),
    ],
)  # fmt: skip
async def test_what_cannot_be_followed_is_said(user_data: str, said: str) -> None:
    made = await plan(user_data)
    assert any(said in line for line in made.warnings), made.warnings
    assert made.final == []


def test_compressed_user_data_are_bounded() -> None:
    with pytest.raises(ValueError, match="larger than"):
        parts.parts_of(gzip.compress(b"#!" + bytes(2 * parts.LONGEST)))
    with pytest.raises(ValueError, match="damaged"):
        parts.parts_of(b"\x1f\x8bnonsense")


@given(st.binary(max_size=300))
def test_noise_is_read_or_refused_in_words(noise: bytes) -> None:
    with contextlib.suppress(ValueError):
        assert all(part.kind for part in parts.parts_of(noise))


def test_words_of_a_command_are_kept_apart() -> None:
    assert commands_script([["echo", "a b; rm"], "echo $X"]) == "#!/bin/sh\necho 'a b; rm'\necho $X\n"
    assert read_config("a: 1") == {"a": 1}


@pytest.mark.anyio
async def test_templates_know_the_instance() -> None:
    known = templates.variables(meta_data(instance(metadata={"role": "cache"})))
    text = await templates.render(b"{{ local_hostname }} {{ ds.meta_data.meta.role }}", known)
    assert text == b"web cache"


def test_older_versions_know_less() -> None:
    told = instance(b"x", public_key=KEY, key_name="mine")
    assert files(told, "2012-08-10").keys() == {"meta_data.json", "user_data"}
    assert files(told, VERSIONS[-1]).keys() == files(told, "latest").keys()
    assert "project_id" not in meta_data(told, "2013-04-04")
    assert meta_data(told)["keys"] == [{"name": "mine", "type": "ssh", "data": KEY}]


@pytest.mark.parametrize(
    ("path", "content"),
    [
        ("/latest/meta-data/hostname", b"web.novalocal"),
        ("/latest/meta-data/public-keys/", b"0=mine"),
        ("/latest/meta-data/placement", b"availability-zone"),
        ("/2009-04-04/user-data", b"x"),
        ("/openstack/latest/user_data", b"x"),
        ("/latest/meta-data/public-keys/0/_name", None),
        ("/latest/meta-data/hostname/more", None),
        ("/openstack/2199-01-01/meta_data.json", None),
        ("/etc/passwd", None),
    ],
)
def test_paths_of_the_metadata_service(path: str, content: bytes | None) -> None:
    found = answer(instance(b"x", public_key=KEY, key_name="mine"), path)
    assert (found[0] if found else None) == content


def test_a_config_drive_has_both_formats() -> None:
    found = drive(instance(b"x"))
    assert {
        "openstack/latest/meta_data.json",
        "openstack/latest/user_data",
        "ec2/latest/meta-data.json",
    } <= found.keys()
