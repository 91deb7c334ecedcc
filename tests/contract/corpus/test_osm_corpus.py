"""Real SOL006 descriptors of OSM, read where a copy of them is at hand.

The folder is `$SONATA_OSM_CORPUS`, or `../shared/corpus/osm` beside the repository.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from sonata.formats.sol006 import is_nsd, nsd_of, vnfd_of
from sonata.formats.yaml_nodes import read_yaml

ROOT = Path(os.environ.get("SONATA_OSM_CORPUS") or Path(__file__).parents[4] / "shared" / "corpus" / "osm")
pytestmark = pytest.mark.skipif(not ROOT.is_dir(), reason=f"no corpus at {ROOT}; set SONATA_OSM_CORPUS")
FILES = sorted(ROOT.glob("*-sol006/*.yaml"))

REFUSED = {
    "etsi_nsd": "SOL006-0003",  # `vnfd-id` is no list
    "etsi_complex_vnfd": "SOL006-0001",  # keys of a storage that the model has elsewhere
    "magma_knf": "SOL006-0012",  # Kubernetes units
    "vnfd_sol006_k8s_scale": "SOL006-0012",
}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_published_descriptor_is_read_or_refused_for_its_own_flaw(path: Path) -> None:
    source = read_yaml(path)
    files = {f"cloud_init/{name}": b"#cloud-config" for name in ("cloud-config.txt", "cloud_init_hss", "cloud_init")}
    found, findings = nsd_of(source) if is_nsd(source.data) else vnfd_of(source, files)
    expected = next((code for name, code in REFUSED.items() if name in path.stem), None)
    if expected:
        assert found is None
        assert expected in {finding.code for finding in findings}
    else:
        assert {finding.code for finding in findings} <= {"SOL006-0013"}, findings
