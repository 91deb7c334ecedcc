"""`sonata pkg` as a developer types it: output, exit codes, files."""

from __future__ import annotations

import json
import subprocess
from contextlib import chdir
from pathlib import Path

import pytest
from tests.command import sonata_here
from tests.unit.formats.samples import NSD, write_project


def sonata(*arguments: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    with chdir(cwd):
        return sonata_here("pkg", *map(str, arguments))


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return write_project(tmp_path / "project")


def test_build_validate_unpack(project, tmp_path):
    built = sonata("build", cwd=project)
    assert (built.returncode, built.stdout) == (0, "org.example.chain-package.1.0.tgo\n")
    checked = sonata("validate", built.stdout.strip(), cwd=project)
    assert (checked.returncode, checked.stdout) == (0, "")
    assert "0 errors, 0 warnings" in checked.stderr
    unpacked = sonata("unpack", built.stdout.strip(), tmp_path / "out", cwd=project)
    assert unpacked.returncode == 0
    assert (tmp_path / "out" / "managers" / "placer.py").is_file()
    assert sonata("unpack", built.stdout.strip(), tmp_path / "out", cwd=project).returncode == 6


def test_all_findings_and_exit_code_2(tmp_path):
    nsd = NSD.replace("[in,", "[inn,").replace("value: placement", "value: placment")
    project = write_project(tmp_path / "p", nsd=nsd)
    checked = sonata("validate", project, "-o", "json", cwd=tmp_path)
    assert checked.returncode == 2
    codes = {finding["code"] for finding in json.loads(checked.stdout)}
    assert {"NSD-0021", "NSD-0041"} <= codes
    table = sonata("validate", project, cwd=tmp_path)
    assert f"{project}/nsd.yml:21:35: error[NSD-0021]" in table.stdout
    built = sonata("build", project, cwd=tmp_path)
    assert built.returncode == 2
    assert "NSD-0021" in built.stderr
    assert built.stdout == ""
    assert sonata("validate", project, "--tolerant", cwd=tmp_path).returncode == 2, "the wrong link stays an error"


def test_wrong_use(tmp_path):
    assert sonata("validate", "nothing.tgo", cwd=tmp_path).returncode == 5
    assert sonata("build", cwd=tmp_path).returncode == 5
    assert sonata("validate", cwd=tmp_path).returncode == 2
    assert sonata("validate", ".", "--level", "deep", cwd=tmp_path).returncode == 2
