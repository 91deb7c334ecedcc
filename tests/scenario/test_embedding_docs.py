"""The examples of the manual's pages for scripts, and those of Mininet's topologies, run as they are written."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from sonata.embedding.testing import what_is_missing
from sonata.sdk.emulation_records import recorded

pytestmark = [pytest.mark.root, pytest.mark.serial]

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "docs" / "howto" / name for name in ("embed.md", "change-a-running-emulation.md")]
BLOCKS = [block for page in PAGES for block in re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL)]
SCRIPTS = [block for block in BLOCKS if "def test_" not in block]
TESTS = [block for block in BLOCKS if "def test_" in block]


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if lacking := what_is_missing():
        pytest.skip(lacking)
    monkeypatch.setenv("SONATA_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PYTHONPATH", str(ROOT / "src"))


def run(*command: str) -> str:
    done = subprocess.run([sys.executable, *command], capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert list(recorded()) == []
    return done.stdout


def test_there_are_examples_of_both_kinds() -> None:
    assert (len(SCRIPTS), len(TESTS)) == (5, 1)


@pytest.mark.parametrize(
    "script", [SCRIPTS[0], *(pytest.param(script, marks=pytest.mark.slow) for script in SCRIPTS[1:])]
)
def test_scripts_run(script: str) -> None:
    run("-c", script)


@pytest.mark.slow
@pytest.mark.parametrize("text", TESTS)
def test_tests_pass(text: str, tmp_path: Path) -> None:
    file = tmp_path / "test_documented.py"
    file.write_text(text)
    assert "2 passed" in run("-m", "pytest", "-p", "sonata.pytest_plugin", "-p", "no:cacheprovider", str(file))


@pytest.mark.slow
@pytest.mark.parametrize(("topology", "hosts"), [("single,3", 3), ("linear,3", 3), ("tree,2,2", 4)])
def test_the_equals_of_mininets_topologies_reach_all_pairs(topology: str, hosts: int) -> None:
    told = run(str(ROOT / "examples" / "mininet" / "pingall.py"), topology)
    assert told.count("all others") == hosts
    assert "0 pings lost" in told
