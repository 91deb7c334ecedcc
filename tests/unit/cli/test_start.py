"""The command line starts quickly: what only talks to a running platform or emulator loads nothing of either."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = {"openstack", "sqlalchemy", "dbos", "rustworkx", "fastapi", "starlette", "numpy", "scipy", "alembic"}


@pytest.mark.parametrize("words", ["--help", "ns ls", "emu ls"])
def test_small_verbs_load_no_heavy_library(words: str, tmp_path: object) -> None:
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
    assert not loaded & HEAVY
