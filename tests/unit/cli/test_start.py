"""The command line starts quickly: what only talks to a running platform or emulator loads nothing of either."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import requires

import pytest

HEAVY = {"openstack", "sqlalchemy", "dbos", "rustworkx", "fastapi", "starlette", "numpy", "scipy", "alembic"}
SLOW = HEAVY | {"httpx", "rich", "pygments", "yaml", "asyncio", "cryptography", "websockets"}
if not any(each.startswith("pydantic") for each in requires("typer") or ()):
    SLOW |= {"pydantic"}


NOBODY = "emu exec nobody true", "emu link set line --delay 1ms", "emu show", "emu link ls"


@pytest.mark.parametrize(
    ("words", "heavy"),
    [("--help", HEAVY), ("ns ls", HEAVY), *((words, SLOW) for words in ("--version", "emu ls", *NOBODY))],
)
def test_small_verbs_load_no_heavy_library(words: str, heavy: set[str], tmp_path: object) -> None:
    program = (
        "import sys, runpy\n"
        f"sys.argv = ['sonata', *{words.split()!r}]\n"
        "try:\n    runpy.run_module('sonata', run_name='__main__')\n"
        "finally:\n    print('LOADED', *{name.partition('.')[0] for name in sys.modules})\n"
    )
    environment = {"PATH": "/usr/bin:/bin", "SONATA_HOME": str(tmp_path), "PYTHONPATH": ":".join(sys.path)}
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=environment, check=False)
    loaded = set(run.stdout.rpartition("LOADED")[2].split())
    assert "sonata" in loaded, run.stderr
    assert not loaded & heavy
