"""User data on its way to steps: formats, order, bounds, and what is said of the rest."""

from __future__ import annotations

import base64
import contextlib
import gzip
import subprocess
from email.mime.multipart import MIMEMultipart
from email.mime.text import MIMEText
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import sonata.emulator.cloud.firstboot.boot_folder as boot_folder
import sonata.emulator.cloud.firstboot.cloud_config as cloud_config
import sonata.emulator.cloud.firstboot.parts as parts
import sonata.emulator.cloud.firstboot.ssh as ssh
import sonata.emulator.cloud.firstboot.templates as templates
from sonata.emulator.cloud.entities.compute import Flavor, Server
from sonata.emulator.cloud.firstboot.cloud_config import commands_script, read_config
from sonata.emulator.cloud.firstboot.image_files import has_file
from sonata.emulator.cloud.firstboot.instance import Instance
from sonata.emulator.cloud.firstboot.interpreter import plan_of
from sonata.emulator.cloud.firstboot.openstack_format import VERSIONS, files, meta_data
from sonata.emulator.cloud.firstboot.paths import answer, drive
from sonata.emulator.cloud.firstboot.plan import Plan
from sonata.ports.images import Image

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


@given(st.integers(0, 60))
def test_data_that_break_off_are_no_shorter_data(kept: int) -> None:
    packed = gzip.compress(b"#!/bin/sh\necho all\n" * 50)
    with pytest.raises(ValueError, match="compression is damaged"):
        parts.inflated(b"\x1f\x8b" + packed[2 : min(2 + kept, len(packed) - 1)])


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


@pytest.mark.anyio
async def test_what_a_template_does_not_know_is_shown_and_said() -> None:
    made = await plan("## template: jinja\n#!/bin/sh\necho {{ nobody }}\n")
    assert b"#!/bin/sh\necho CI_MISSING_JINJA_VAR/nobody\n" in made.files
    assert made.warnings == ["a template names what is not known here: nobody"]


@pytest.mark.anyio
async def test_packages_come_before_deferred_files_and_those_before_scripts() -> None:
    made = await plan(
        "#cloud-config\nruncmd: [a]\nwrite_files: [{path: /x, defer: true}]\npackages: [nginx, [htop, 3.2]]\n"
        "package_update: true\npackage_upgrade: true\n"
    )
    assert names(list(made.stages["final"])) == ["package_update_upgrade_install", "write_files", "runcmd"]
    assert made.packages[0].shell == "packages update; packages upgrade; packages install nginx htop=3.2"
    update = await plan("#cloud-config\npackage_update: true\n")
    assert update.packages[0].shell == "packages update"
    assert (await plan("#cloud-config\npackage_update: false\n")).packages == []
    refused = await plan("#cloud-config\npackages: ['-o=x']\n")
    assert refused.packages == []
    assert "`-o=x` is no name of a package" in refused.warnings[0]


@pytest.mark.anyio
async def test_keys_open_whom_they_are_meant_for() -> None:
    def shells(made: Plan) -> str:
        return "\n".join(step.shell for step in made.early if step.name == "ssh")

    usual = shells(await plan("#cloud-config\n{}", public_key=KEY))
    assert "authorize root" in usual
    assert 'authorize "$DEFAULT_USER"' in usual
    assert "host_keys anew show" in usual
    closed = shells(await plan("#cloud-config\ndisable_root: true\nssh_deletekeys: false\n", public_key=KEY))
    assert "authorize root" not in closed
    assert "host_keys kept show" in closed
    assert "authorize" not in shells(await plan("#cloud-config\nallow_public_ssh_keys: false\n", public_key=KEY))
    given = await plan(
        "#cloud-config\nssh_keys: {ed25519_private: secret, ed25519_public: known, dsa_private: old}\n"
        "ssh: {emit_keys_to_console: false}\n"
    )
    assert "given_host_keys anew hide ssh_host_ed25519_key /run/firstboot/files/0" in shells(given)
    assert given.files[:2] == [b"secret\n", b"known\n"]
    assert given.warnings == ["cloud-config `ssh_keys`: nothing here acts on `dsa_private`"]


@pytest.mark.anyio
async def test_a_locked_user_has_no_password() -> None:
    made = await plan("#cloud-config\nusers: [{name: x, plain_text_passwd: secret}]\n")
    assert b"x:secret\n" not in made.files
    assert "its password opens nothing" in made.warnings[0]
    opened = await plan("#cloud-config\nusers: [{name: x, plain_text_passwd: secret, lock_passwd: false}]\n")
    assert b"x:secret\n" in opened.files
    assert opened.warnings == []


@pytest.mark.anyio
async def test_hooks_and_scripts_are_what_their_interpreters_read() -> None:
    hook = await plan("#cloud-boothook\r\n#!/usr/bin/perl\r\nprint 1;\r\n")
    assert hook.files == [b"#!/usr/bin/perl\nprint 1;\n"]
    assert names(hook.early_always) == ["boothook"]
    archive = await plan(
        '#cloud-config-archive\n- "#!/bin/sh\\ntrue\\n"\n- {type: text/cloud-config, content: "a: 1"}\n'
    )
    assert names(archive.final) == ["scripts_user"]
    assert archive.warnings == ["cloud-config `a`: nothing here acts on it"]
    message = MIMEText("echo no first line\n", "x-shellscript")
    bare = await plan(message.as_string())
    assert bare.final == []
    assert "begins with `#!`" in bare.warnings[0]


_WORDS = st.text(max_size=8) | st.sampled_from(["default", "a'b\"$(x)", "root", "\n", "-x", "a:b"])
_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.floats(allow_nan=False) | _WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
        st.sampled_from(["name", "path", "content", "users", "list", "password", "sudo", "groups", "uid", "a"]),
        inner, max_size=4,
    ),
    max_leaves=8,
)  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(st.dictionaries(st.sampled_from(sorted([*cloud_config._ORDER, *cloud_config._BESIDE])), _VALUES, max_size=6))
def test_whatever_is_configured_makes_a_script_that_a_shell_can_read(config: dict[str, Any]) -> None:
    made = Plan()
    cloud_config.compile_config(made, config)
    ssh.let_in(made, config)
    ssh.host_keys(made, config)
    script = boot_folder._boot_files(instance(), made)["own"]
    read = subprocess.run(["sh", "-n"], input=script, capture_output=True, check=False)
    assert read.returncode == 0, read.stderr


def test_an_image_has_what_its_layers_show_together(tmp_path: Path) -> None:
    top, bottom = tmp_path / "top", tmp_path / "bottom"
    for path in (top / "bin", bottom / "usr/bin", bottom / "loop"):
        path.mkdir(parents=True)
    (bottom / "usr/bin/busybox").touch()
    (top / "bin/sh").symlink_to("/usr/bin/busybox")
    (bottom / "bin").symlink_to("usr/bin")
    (bottom / "up").symlink_to("../../../usr/bin")
    (bottom / "loop/a").symlink_to("b")
    (bottom / "loop/b").symlink_to("a")
    image = Image("id", "name", "", (top, bottom))
    assert has_file(image, "bin/sh")
    assert has_file(image, "up/busybox")
    assert not has_file(image, "up/env"), "links lead out of the image"
    assert not has_file(image, "loop/a")
    assert not has_file(Image("id", "name", "", (bottom,)), "bin/sh")
    assert has_file(Image("id", "host", ""), "bin/sh")
    assert has_file(Image("", "volume", ""), "anything")


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
