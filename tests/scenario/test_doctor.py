"""`sonata doctor` tells what is there and what is not."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = "from sonata.cli.main import main; main()"


def doctor(*prefix: str, **env: str) -> tuple[int, dict[str, dict[str, str]]]:
    result = subprocess.run(
        [*prefix, sys.executable, "-c", PROGRAM, "doctor", "-o", "json"],
        env={**os.environ, **env},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return result.returncode, {finding["name"]: finding for finding in json.loads(result.stdout)}


def test_the_exit_status_says_whether_anything_needed_is_missing() -> None:
    status, findings = doctor()
    missing = [name for name, finding in findings.items() if finding["state"] == "missing"]
    assert status == (1 if missing else 0)
    assert {"namespaces", "veth", "netem", "overlay", "tun", "config drive", "login id", "huge pages"} <= set(findings)
    assert all(finding["remedy"] for finding in findings.values() if finding["state"] != "ok")


@pytest.mark.root
def test_a_missing_device_is_found_missing(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root, to hide /dev/net")
    hidden = ("unshare", "--mount", "sh", "-c", 'mount -t tmpfs none /dev/net && exec "$@"', "-")
    status, findings = doctor(*hidden)
    assert status == 1
    assert findings["tun"]["state"] == "missing"
    assert "/dev/net/tun" in findings["tun"]["remedy"]
    assert findings["veth"]["state"] == doctor()[1]["veth"]["state"]
