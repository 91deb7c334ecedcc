"""What a process that waits for work holds in memory: its own part, and no library that only some work needs.

Each module that is the main program of a long-lived process is imported in a fresh interpreter. What is listed here
costs megabytes; who needs it in one of these processes runs it in a process of its own, or hands it in from outside.
"""

from __future__ import annotations

import subprocess
import sys

import pytest

EVERYWHERE = frozenset(("numpy", "scipy", "yaql", "jinja2", "mako", "alembic", "IPython", "pytest"))
KEEPER = frozenset(
    ("openstack", "pydantic", "fastapi", "sqlalchemy", "dbos", "keystoneauth1", "requests", "httpx", "typer", "rich")
)
SMALL = KEEPER | {"starlette", "uvicorn", "cryptography", "rustworkx", "yaml", "dns", "argon2"}
PROGRAMS = {
    "sonata.daemon.platform": EVERYWHERE | {"argon2", "dns", "cryptography"},
    "sonata.daemon.emulation": EVERYWHERE | KEEPER | {"dns", "h11", "yaml"},
    "sonata.daemon.template": EVERYWHERE | KEEPER | {"dns", "h11", "yaml"},
    "sonata.daemon.keeper": EVERYWHERE | SMALL | {"asyncio", "msgspec"},
    "sonata.daemon.manager_supervisor": EVERYWHERE | SMALL | {"websockets"},
    "sonata.managers.runner": EVERYWHERE | SMALL | {"asyncio"},
}
CODE = "import importlib, sys; importlib.import_module(sys.argv[1]); print(*{n.partition('.')[0] for n in sys.modules})"


@pytest.mark.parametrize("program", sorted(PROGRAMS))
def test_an_idle_process_holds_no_library_that_only_some_work_needs(program: str) -> None:
    done = subprocess.run([sys.executable, "-c", CODE, program], capture_output=True, text=True, check=True)
    held = PROGRAMS[program] & set(done.stdout.split())
    assert not held, f"`python -X importtime -c 'import {program}'` tells by whom"
