"""Real descriptors and packages of SONATA and 5GTANGO, read where a copy of them is at hand.

The folder is `$SONATA_CORPUS`, or `../shared/corpus/sonata` beside the repository. It holds copies of the public
repositories son-cli, son-examples, son-schema, tng-schema, tng-sdk-package and tng-sdk-validation.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from sonata.errors import Diagnostic, InvalidInput
from sonata.formats.package import inspect_package
from sonata.formats.sonata_descriptors import is_nsd, is_vnfd, read_nsd, read_vnfd
from sonata.formats.yaml_nodes import read_yaml
from sonata.sdk.packages import validate_project

ROOT = Path(os.environ.get("SONATA_CORPUS") or Path(__file__).parents[4] / "shared" / "corpus" / "sonata")
pytestmark = pytest.mark.skipif(not ROOT.is_dir(), reason=f"no corpus at {ROOT}; set SONATA_CORPUS")

SON = "son-cli/src/son/validate/tests/samples"
TNG = "tng-sdk-validation/src/tngsdk/validation/samples"
PACKAGES = f"{SON}/packages/sonata-demo"

# Published as examples, but wrong beyond repair: what the authors overlooked, and what we do not support.
KNOWN_FLAWS = {
    "son-cli/src/son/profile/generator/template/": "NSD-0003 VNFD-0003",  # templates with {{placeholders}}
    "son-examples/service-projects/sonata-fw-vtc-service-emu/sources/nsd/": "NSD-0021 NSD-0050",  # servicin, servicein
    "sonata-proxy-lb-service-emu/sources/vnf/squid-vnf/": "VNFD-0021",  # `output   `
    "gui/sample/projects/p-valid/sources/vnf/firewall/": "VNFD-0021",
    "gui/sample/projects/p-valid-complex": "NSD-0021 NSD-0053",
    "tng-schema/function-descriptor/examples/haproxy-vnfd.yml": "VNFD-0002",  # indentation
    "tng-schema/function-descriptor/examples/cnf-vnfd.yml": "VNFD-0010 VNFD-0021",
    "tng-schema/function-descriptor/examples/hnf-vnfd.yml": "VNFD-0010",
    "tng-schema/function-descriptor/examples/pnf-vnfd.yml": "VNFD-0010",
    "tng-schema/service-descriptor/examples/recursive-example.yml": "NSD-0010",
    "tng-schema/service-descriptor/examples/default-nsd.yml": "NSD-0021",  # vnf2
    "tng-schema/service-descriptor/examples/multi-flavour-nsd.yml": "NSD-0021",  # vnf2
    "nsd/nsd-sample.yml": "NSD-0001 NSD-0021",  # vnf2
}
INVALID_ON_PURPOSE = ("invalid", "failure", "_bad", "_ko")


def read(path: Path, *, tolerant: bool) -> list[Diagnostic]:
    """Errors that a reader raises for a descriptor."""
    try:
        document = read_yaml(path)
        # A service whose key for VNFs is misspelt is still a service: its folder says so.
        reader = read_nsd if is_nsd(document.data) or "/nsd/" in str(path) else read_vnfd
        reader(path, tolerant=tolerant)
    except InvalidInput as error:
        return [finding for finding in error.diagnostics if finding.severity == "error"]
    return []


def descriptors() -> Iterator[Path]:
    for path in sorted([*ROOT.rglob("*.yml"), *ROOT.rglob("*.yaml")]):
        if any(word in str(path.relative_to(ROOT)) for word in INVALID_ON_PURPOSE):
            continue
        data = read_yaml(path).data
        if is_nsd(data) or is_vnfd(data):
            yield path


def test_published_descriptors_are_read_in_tolerant_mode():
    count = 0
    for path in descriptors():
        name = str(path.relative_to(ROOT))
        flaws = next((codes for part, codes in KNOWN_FLAWS.items() if part in name), "")
        unexpected = [str(finding) for finding in read(path, tolerant=True) if finding.code not in flaws.split()]
        assert unexpected == [], name
        count += not flaws
    assert count > 100, "most of the corpus is free of known flaws"


def test_tolerance_is_needed_for_few_and_changes_no_value():
    strict = [path for path in descriptors() if not read(path, tolerant=False)]
    assert len(strict) > 100
    for path in strict:
        reader = read_nsd if is_nsd(read_yaml(path).data) else read_vnfd
        exact, repaired = reader(path), reader(path, tolerant=True)
        assert exact.id == repaired.id
        assert exact.connection_points == repaired.connection_points
        assert exact.virtual_links == repaired.virtual_links


@pytest.mark.parametrize(
    ("name", "code"),
    [
        (f"{SON}/functions/invalid_syntax/firewall-vnfd.yml", "VNFD-0001"),
        (f"{SON}/functions/invalid_syntax/iperf-vnfd.yml", "VNFD-0001"),
        (f"{SON}/functions/invalid_syntax/tcpdump-vnfd.yml", "VNFD-0001"),
        (f"{SON}/functions/invalid_integrity/firewall-vnfd.yml", "VNFD-0021"),
        (f"{SON}/functions/invalid_integrity/iperf-vnfd.yml", "VNFD-0021"),
        (f"{SON}/functions/invalid_integrity/tcpdump-vnfd.yml", "VNFD-0021"),
        (f"{TNG}/functions/invalid_integrity-son/firewall-vnfd.yml", "VNFD-0021"),
        (f"{TNG}/functions/invalid_integrity-son/iperf-vnfd.yml", "VNFD-0021"),
        (f"{TNG}/functions/invalid_integrity-son/tcpdump-vnfd.yml", "VNFD-0021"),
        (f"{TNG}/functions/invalid_topology-son/firewall-vnfd.yml", "VNFD-0024"),
        (f"{SON}/sample_project_invalid/sources/nsd/sonata-demo-with-ssm.yml", "NSD-0004"),
        (f"{TNG}/functions/invalid-syntax-tng/invalid-default-vnfd-tng.yml", "VNFD-0001"),
        (f"{TNG}/functions/invalid-syntax-tng/invalid-firewall-vnfd-tng.yml", "VNFD-0004"),
        (f"{TNG}/functions/invalid-syntax-tng/invalid-tcpdump-vnfd-tng.yml", "YAML-0001"),
        (f"{TNG}/services/invalid-syntax-tng/required_properties.yml", "NSD-0012"),
        ("tng-sdk-package/misc/5gtango_ns_project_example1_bad/sources/nsd/nsd-sample.yml", "NSD-0001"),
    ],
)
def test_known_invalid_descriptors_are_refused_in_strict_mode(name, code):
    path = ROOT / name
    found = [finding for finding in read(path, tolerant=False) if finding.code == code]
    assert found, [str(finding) for finding in read(path, tolerant=False)]
    assert found[0].file == str(path)
    assert found[0].line > 0


@pytest.mark.parametrize(
    ("name", "code"),
    [
        (f"{PACKAGES}-invalid-struct-1.son", "PKG-0010"),
        (f"{PACKAGES}-invalid-struct-2.son", "PKG-0011"),
        (f"{PACKAGES}-invalid-integrity-1.son", "PKG-0011"),
        (f"{PACKAGES}-invalid-integrity-2.son", "PKG-0016"),
        (f"{PACKAGES}-invalid-md5.son", "PKG-0012"),
        ("tng-sdk-package/misc/5gtango-ns-package-example-bad.tgo", "NSD-0001"),
        ("tng-sdk-package/misc/5gtango-ns-package-example-bad-checksum.tgo", "PKG-0012"),
        ("tng-sdk-package/misc/5gtango-ns-package-example-malformed.tgo", "NAPD-0001"),
    ],
)
def test_known_invalid_packages_are_refused(name, code):
    content, findings = inspect_package(ROOT / name)
    assert content is None
    assert code in {finding.code for finding in findings if finding.severity == "error"}


@pytest.mark.parametrize(
    ("name", "vnfs"),
    [
        (f"{PACKAGES}-valid.son", 3),
        ("son-cli/src/son/access/samples/sonata-demo.son", 1),
        ("tng-schema/package-specification/example-projects/eu.5gtango.mixed-ns-package-example.0.1.tgo", 1),
        ("tng-sdk-package/misc/eu.5gtango.a10networks-nginx.0.1.tgo", 2),
        ("tng-sdk-package/misc/eu.5gtango.idempotency_test.0.1.tgo", 2),
        ("tng-slice-mngr/NST_examples/Basic_Slice_Examples/eu.5gtango.ns-2-vnf-2-vdu.0.1.tgo", 2),
    ],
)
def test_published_packages_are_read(name, vnfs):
    content, findings = inspect_package(ROOT / name, tolerant=True)
    assert content is not None, [str(finding) for finding in findings]
    assert content.nsd is not None
    assert len(content.vnfds) == vnfs
    assert {vnf.descriptor for vnf in content.nsd.vnfs} <= {vnfd.id for vnfd in content.vnfds}


def test_service_with_functions_that_are_not_there(tmp_path):
    """The service names `firewall.vnf`, the VNFDs that came with it are sound and have other names."""
    files = {"nsd.yml": (ROOT / SON / "services/invalid_integrity.yml").read_text()}
    lines = ["package: {vendor: org.example, name: x, version: '1'}", "files:"]
    lines.append("  - {path: nsd.yml, type: application/vnd.5gtango.nsd}")
    for vnfd in sorted((ROOT / SON / "functions/valid").iterdir()):
        files[vnfd.name] = vnfd.read_text()
        lines.append(f"  - {{path: {vnfd.name}, type: application/vnd.5gtango.vnfd}}")
    files["project.yml"] = "\n".join(lines)
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    found = [finding for finding in validate_project(tmp_path) if finding.code == "NSD-0026"]
    assert len(found) == 1
    assert "firewall" in found[0].summary


@pytest.mark.parametrize("name", ["sonata-empty-service-emu", "sonata-fw-service-sp", "sonata-snort-service-emu"])
def test_projects_of_sonata_are_understood(name):
    project = ROOT / "son-examples" / "service-projects" / name
    assert [str(d) for d in validate_project(project, tolerant=True) if d.severity == "error"] == []


def test_warnings_of_the_old_validators_are_warnings_here():
    unused = ROOT / SON / "functions/invalid_topology/iperf-vnfd.yml"
    assert read(unused, tolerant=False) == []
    services = ROOT / SON / "services/invalid_topology.yml"
    assert read(services, tolerant=False) == []
