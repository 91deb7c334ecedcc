"""The same emulation without root: one ordinary user, user namespaces, no delegated cgroup."""

from __future__ import annotations

import base64
import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

import pytest

import sonata
from tests.scenario.clouds import site
from tests.scenario.emu_command import ORIGIN, Emu, kill, settle
from tests.sessions import claim

pytestmark = [pytest.mark.root, pytest.mark.serial]

SPARE_UID = 64017
SEARCH_PATH = f"{Path(sonata.__file__).parents[1]}:{sysconfig.get_path('purelib')}"


@pytest.fixture
def ordinary(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emu]:
    """The command `sonata emu` as run by an ordinary user who may open /dev/net/tun, as on most distributions."""
    if os.geteuid() != 0:
        pytest.skip("needs root, to become another user")
    home = Path(subprocess.check_output(["mktemp", "--directory", "/var/tmp/sonata-test.XXXXXX"], text=True).strip())
    claim(home)
    try:
        yield from _command_of_ordinary_user(home)
    finally:
        shutil.rmtree(home)


def _command_of_ordinary_user(home: Path) -> Iterator[Emu]:
    tun = home / "tun"
    os.mknod(tun, 0o20666, os.makedev(10, 200))
    tun.chmod(0o666)
    user = ["setpriv", f"--reuid={SPARE_UID}", f"--regid={SPARE_UID}", "--clear-groups", "--inh-caps=-all"]
    prefix = ["unshare", "--mount", "sh", "-c", f'mount --bind {tun} /dev/net/tun && exec "$@"', "-", *user]
    python = _python_for_all(user)
    emu = Emu(home, [*prefix, "env", f"PYTHONPATH={SEARCH_PATH}"], python)
    for path in (home, emu.topology):
        os.chown(path, SPARE_UID, SPARE_UID)
    try:
        yield emu
    finally:
        emu.close()


def _python_for_all(user: list[str]) -> str:
    """A Python of our version, with our packages, that another user may run."""
    for python in (sys.executable, f"/usr/bin/python3.{sys.version_info.minor}"):
        trial = [*user, "env", f"PYTHONPATH={SEARCH_PATH}", python, "-c", "import sonata.sdk.emulations"]
        try:
            if subprocess.run(trial, cwd="/", capture_output=True, check=False).returncode == 0:
                return python
        except FileNotFoundError:
            continue
    pytest.skip("no Python here that another user may run with our packages")


def test_an_ordinary_user_runs_the_same_emulation(ordinary: Emu) -> None:
    footprint = ordinary.up()
    keeper = Path(f"/proc/{ordinary.record().process.pid}")
    assert keeper.stat().st_uid == SPARE_UID

    told = ordinary.ok("exec", "users", "--", "ping", "-c", "2", "-i", "0.2", ORIGIN)
    assert "2 received" in told
    assert ordinary.ok("exec", "origin", "--", "id", "-u") == "0\n"
    shadow = ordinary.run("exec", "origin", "--", "cat", "/etc/shadow").stdout
    assert {line.split(":")[1] for line in shadow.splitlines()} <= {"*"}, "the host's passwords are not to be seen"
    ordinary.ok("link", "set", "a", "b", "--delay", "1ms")

    ordinary.ok("down")
    assert footprint.leftovers() == []


@pytest.mark.slow
def test_clouds_of_an_ordinary_user_come_back_after_a_kill(ordinary: Emu) -> None:
    ordinary.up()
    cloud = site(ordinary.record(), "a")
    network = cloud.network.create_network(name="kept")
    settle()
    kill(ordinary)
    footprint = ordinary.up()
    assert cloud.network.find_network("kept").id == network.id
    cloud.close()
    ordinary.ok("down")
    assert footprint.leftovers() == []


@pytest.mark.slow
def test_an_ordinary_users_servers_follow_their_user_data(ordinary: Emu) -> None:
    ordinary.up()
    cloud = site(ordinary.record(), "a")
    data = "#cloud-config\nwrite_files: [{path: /root/a, content: written}]\nruncmd: [hostname > /root/b]\n"
    server = cloud.compute.create_server(
        name="one", image_id=cloud.image.find_image("host").id, flavor_id=cloud.compute.find_flavor("tiny").id,
        networks="none", config_drive=True, user_data=base64.b64encode(data.encode()).decode(),
    )  # fmt: skip
    cloud.compute.wait_for_server(server, interval=0.05, wait=30)
    assert ordinary.ok("exec", "a/one", "--", "sh", "/run/firstboot/status", "--wait") == "status: done\n"
    told = ordinary.ok("exec", "a/one", "--", "cat", "/root/a", "/root/b", "/config-2/openstack/latest/user_data")
    assert told == f"writtenone\n{data}"
    cloud.close()
    ordinary.ok("down")
