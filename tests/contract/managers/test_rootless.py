"""The same sandboxes for a platform that an ordinary user runs."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from tests.contract.managers.test_confinement import SNOOP

pytestmark = [pytest.mark.root]
USER = 65534
PLATFORM = """
import asyncio, json, sys
from pathlib import Path
from sonata.adapters.bus_local import LocalBus
from sonata.daemon.manager_supervisor import sandboxed_managers
from sonata.errors import Unsupported
from sonata.managers.testing import placement_state
from sonata.mano.managers import problem_to_json
from sonata.ports.managers import ManagerLaunch

async def main(folder, files):
    host = sandboxed_managers(LocalBus(), Path(folder))
    content = {name: text.encode() for name, text in files.items()}
    launch = ManagerLaunch("ns.m", "snoop.py", content, start_timeout_s=20)
    try:
        await host.launch(launch)
    except Unsupported as error:
        print(json.dumps({"unsupported": str(error)}))
        return
    state = placement_state(["cache"], delays={("edge", "core"): 0.02})
    answer = await host.ask("ns.m", "placement", problem_to_json(state.problem), timeout_s=20)
    await host.close()
    print(answer["reason"])

asyncio.run(main(sys.argv[1], json.loads(sys.argv[2])))
"""


def ordinary_python() -> list[str]:
    """A command that runs Python with Sonata as an ordinary user, or a skip with the reason."""
    if os.geteuid() != 0 or shutil.which("setpriv") is None:
        pytest.skip("needs root and setpriv, to become an ordinary user")
    path = ":".join(entry for entry in sys.path if entry)
    become = ["setpriv", f"--reuid={USER}", f"--regid={USER}", "--clear-groups", "env", "-i"]
    become += ["PATH=/usr/sbin:/usr/bin:/sbin:/bin", f"PYTHONPATH={path}"]
    for python in (sys.executable, "/usr/bin/python3"):
        command = [*become, python]
        trial = [*command, "-c", "import sonata.adapters.runtime_oci, websockets, msgspec._core"]
        if subprocess.run(trial, capture_output=True, cwd="/", check=False).returncode == 0:
            return command
    pytest.skip("no Python here that an ordinary user may run together with Sonata")


def test_managers_of_an_ordinary_user_are_confined_as_well(folder: Path) -> None:
    command = ordinary_python()
    os.chown(folder, USER, USER)
    (folder / "secret.txt").write_text("secret")
    probes = {
        "shadow": "open('/etc/gshadow').read()",
        "platform": f"open({str(folder / 'secret.txt')!r}).read()",
        "loopback": "connect(socket.AF_INET, ('127.0.0.1', 22))",
        "outside": "connect(socket.AF_INET, ('192.0.2.1', 80))",
        "package": "open('/package/x', 'w')",
        "mount": "syscall(libc.mount(b'tmpfs', b'/tmp', b'tmpfs', 0, None))",
        "memory": "len(bytearray(400 * 1024**2))",
        "interfaces": "[name for _, name in socket.if_nameindex()]",
    }
    files = {"snoop.py": SNOOP, "probes.json": json.dumps(probes)}
    result = subprocess.run(
        [*command, "-c", PLATFORM, str(folder), json.dumps(files)], capture_output=True, text=True, cwd="/", check=False
    )
    assert result.returncode == 0, result.stderr
    made = json.loads(result.stdout)
    if "unsupported" in made:
        pytest.skip(made["unsupported"])
    assert made.pop("interfaces") == ["got", "['lo']"]
    assert {name for name, answer in made.items() if answer[0] == "got"} == set()
