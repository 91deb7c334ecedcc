"""Projects become packages, packages become content, and nothing wrong gets through."""

from __future__ import annotations

import hashlib
import io
import zipfile
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.formats.samples import NSD, OTHER_VNFD, PROJECT, VNFD, write_project

from sonata.errors import Conflict, InvalidInput, NotFound
from sonata.formats.package import inspect_package, read_package
from sonata.model.descriptors import DescriptorId
from sonata.sdk.packages import build_package, unpack_package, validate_package, validate_project

FORMS = ("tgo", "son")
EXAMPLE = Path(__file__).parents[3] / "examples" / "cdn"


def rewritten(package: Path, change) -> bytes:
    """The archive with its files changed by `change(files)`, which works on the dict in place."""
    with zipfile.ZipFile(package) as source:
        files = {name: source.read(name) for name in source.namelist()}
    change(files)
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as target:
        for name, content in files.items():
            target.writestr(name, content)
    return stream.getvalue()


def codes_of(data: bytes | Path) -> list[str]:
    return sorted({d.code for d in inspect_package(data)[1] if d.severity == "error"})


@pytest.mark.parametrize("form", FORMS)
def test_project_to_package_to_content(project, tmp_path, form):
    path = build_package(project, tmp_path, form=form)
    assert path == tmp_path / f"org.example.chain-package.1.0.{form}"
    content = read_package(path)
    assert content.id == DescriptorId("org.example", "chain-package", "1.0")
    assert content.description == "A chain."
    assert content.nsd is not None
    assert content.nsd.id.name == "chain"
    assert [vnfd.id.name for vnfd in content.vnfds] == ["firewall", "balancer"]
    assert content.files == {"managers/placer.py": b"print('placing')\n"}, "no caches, no hidden files"
    assert content.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert read_package(path.read_bytes()) == content


@pytest.mark.parametrize("form", FORMS)
def test_same_project_same_bytes(project, tmp_path, form):
    first = build_package(project, tmp_path / f"one.{form}").read_bytes()
    (project / "nsd.yml").touch()
    other = write_project(tmp_path / "elsewhere")
    assert build_package(other, tmp_path / f"two.{form}").read_bytes() == first


def test_form_follows_the_name(project, tmp_path):
    path = build_package(project, tmp_path / "x.son")
    assert "META-INF/MANIFEST.MF" in zipfile.ZipFile(path).namelist()


def test_tgo_has_what_others_look_for(project, tmp_path):
    with zipfile.ZipFile(build_package(project, tmp_path)) as package:
        napd = yaml.safe_load(package.read("TOSCA-Metadata/NAPD.yaml"))
        listed = {entry["source"]: entry["hash"] for entry in napd["package_content"]}
        for name, digest in listed.items():
            assert hashlib.sha256(package.read(name)).hexdigest() == digest
            assert f"Source: {name}\nAlgorithm: SHA-256\nHash: {digest}\n" in package.read("etsi_manifest.mf").decode()
        assert "Content-Type: application/vnd.5gtango.napd" in package.read("TOSCA-Metadata/TOSCA.meta").decode()
    assert napd["package_type"] == "application/vnd.5gtango.package.nsp"
    assert "Definitions/nsd.yml" in listed


@pytest.mark.parametrize(("form", "member"), [("tgo", "Definitions/nsd.yml"), ("son", "service_descriptors/nsd.yml")])
def test_changed_file_is_noticed(project, tmp_path, form, member):
    path = build_package(project, tmp_path, form=form)
    data = rewritten(path, lambda files: files.update({member: files[member] + b"\n# harmless\n"}))
    findings = [d for d in inspect_package(data, name="x")[1] if d.code == "PKG-0012"]
    assert len(findings) == 1
    assert member in findings[0].summary
    assert findings[0].line > 0
    with pytest.raises(InvalidInput):
        read_package(data, tolerant=True)


@pytest.mark.parametrize("form", FORMS)
def test_removed_file_is_noticed(project, tmp_path, form):
    path = build_package(project, tmp_path, form=form)
    assert "PKG-0011" in codes_of(rewritten(path, lambda files: files.pop("managers/placer.py")))


def test_files_that_are_not_listed_do_not_count(project, tmp_path):
    path = build_package(project, tmp_path)
    data = rewritten(path, lambda files: files.update({"managers/evil.py": b"", "Definitions/x.yml": b"a: 1"}))
    content, findings = inspect_package(data)
    assert [(d.code, d.severity) for d in findings] == [("PKG-0017", "warning")]
    assert content is not None
    assert list(content.files) == ["managers/placer.py"]


def test_broken_manifests(project, tmp_path):
    tgo, son = (build_package(project, tmp_path, form=form) for form in FORMS)

    def edit(name, old, new):
        return lambda files: files.update({name: files[name].replace(old, new)})

    napd, pd = "TOSCA-Metadata/NAPD.yaml", "META-INF/MANIFEST.MF"
    assert codes_of(rewritten(tgo, edit(napd, b"name: chain", b"nam: chain"))) == ["NAPD-0001", "NAPD-0002"]
    assert codes_of(rewritten(tgo, edit(napd, b"SHA-256", b"CRC-32"))) == ["PKG-0013"]
    assert codes_of(rewritten(tgo, edit(napd, b"vendor", b"\xff"))) == ["YAML-0002"]
    assert codes_of(rewritten(tgo, lambda files: files.pop(napd))) == ["PKG-0011"]
    assert codes_of(rewritten(son, edit(pd, b"/nsd.yml\n", b"/nds.yml\n"))) == ["PKG-0011", "PKG-0016"]
    assert codes_of(rewritten(son, lambda files: files.update({"META-INF/x": b""}))) == ["PKG-0015"]
    assert codes_of(rewritten(son, lambda files: files.pop(pd))) == ["PKG-0010"]


def test_listing_twice_is_an_error(project, tmp_path):
    def double(files):
        manifest = yaml.safe_load(files["TOSCA-Metadata/NAPD.yaml"])
        manifest["package_content"] *= 2
        files["TOSCA-Metadata/NAPD.yaml"] = yaml.safe_dump(manifest).encode()

    assert "PKG-0014" in codes_of(rewritten(build_package(project, tmp_path), double))


def test_older_digests_are_read(project, tmp_path):
    def weaken(files):
        manifest = yaml.safe_load(files["TOSCA-Metadata/NAPD.yaml"])
        for entry in manifest["package_content"]:
            entry["algorithm"] = "MD5"
            entry["hash"] = hashlib.md5(files[entry["source"]]).hexdigest()
        files["TOSCA-Metadata/NAPD.yaml"] = yaml.safe_dump(manifest).encode()

    assert codes_of(rewritten(build_package(project, tmp_path), weaken)) == []


@pytest.mark.parametrize(
    ("changed", "code"),
    [
        ({"nsd": NSD.replace("vnf_name: balancer", "vnf_name: nobody")}, "NSD-0026"),
        ({"nsd": NSD.replace('["fw:b", "lb:a"]', '["fw:bb", "lb:a"]')}, "NSD-0021"),
        ({"nsd": NSD.replace("managers/placer.py", "managers/placr.py")}, "NSD-0040"),
        ({"nsd": NSD.replace("name: chain", "nam: chain")}, "NSD-0001"),
        ({"fw": VNFD.replace("u:eth0", "u:eth9")}, "VNFD-0021"),
        ({"lb": VNFD + "description: another firewall\n"}, "PKG-0021"),
        ({"lb": OTHER_VNFD.replace("version:", "versio:")}, "VNFD-0001"),
        ({"lb": "\x00"}, "YAML-0001"),
        ({"lb": ""}, "YAML-0006"),
        ({"project": PROJECT + "  - {path: nds.yml, type: text/plain}\n"}, "PROJ-0010"),
        ({"project": PROJECT + "  - {path: nsd.yml, type: text/plain}\n"}, "PROJ-0011"),
        ({"project": PROJECT + "  - {path: ../secret, type: text/plain}\n"}, "PROJ-0012"),
        ({"project": PROJECT + "  - {path: /etc/passwd, type: text/plain}\n"}, "PROJ-0012"),
        ({"project": PROJECT + "  - {path: vnfds/fw.yml, type: application/vnd.5gtango.nsd}\n"}, "PROJ-0011"),
        ({"project": PROJECT.replace("name: chain", "nam: chain")}, "PROJ-0001"),
        ({"project": "name: x\nvendor: y\n"}, "PROJ-0002"),
        ({"project": PROJECT[: PROJECT.index("files")]}, "PROJ-0015"),
        ({"project": "["}, "YAML-0001"),
    ],
)
def test_wrong_projects_are_told_and_never_built(tmp_path, changed, code):
    project = write_project(tmp_path / "project", **changed)
    found = [d for d in validate_project(project) if d.code == code]
    assert found, [str(d) for d in validate_project(project)]
    assert found[0].file.startswith(str(project))
    with pytest.raises(InvalidInput) as caught:
        build_package(project, tmp_path / "out.tgo")
    assert code in {d.code for d in caught.value.diagnostics}
    assert not list(tmp_path.glob("*.tgo")), "nothing is written"


def test_links_out_of_the_project_are_not_followed(project, tmp_path):
    secret = tmp_path / "secret.py"
    secret.write_text("secret")
    (project / "managers" / "link.py").symlink_to(secret)
    (project / "managers" / "folder").symlink_to(tmp_path)
    content = read_package(build_package(project, tmp_path))
    assert list(content.files) == ["managers/placer.py"]
    (project / "direct.py").symlink_to(secret)
    (project / "project.yml").write_text(PROJECT + "  - {path: direct.py, type: text/plain}\n")
    assert [d.code for d in validate_project(project)] == ["PROJ-0012"]


def test_project_of_the_sonata_form(tmp_path):
    nsd = NSD.replace("package:managers/placer.py", "registry/placer")
    for name, text in (("nsd/x.yml", nsd), ("vnf/fw/fw.yml", VNFD), ("vnf/lb/lb.yml", OTHER_VNFD), ("vnf/README", "")):
        path = tmp_path / "p" / "sources" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (tmp_path / "p" / "project.yml").write_text(PROJECT[: PROJECT.index("files")] + "descriptor_extension: yml\n")
    content = read_package(build_package(tmp_path / "p", tmp_path, form="son"))
    assert content.nsd is not None
    assert len(content.vnfds) == 2


def test_versions_with_an_operator_find_the_highest(tmp_path):
    project = write_project(
        tmp_path / "p",
        nsd=NSD.replace('vnf_name: balancer, vnf_version: "1.0"', 'vnf_name: firewall, vnf_version: ">= 1.0"'),
        lb=VNFD.replace('version: "1.0"', 'version: "1.12"'),
    )
    nsd = read_package(build_package(project, tmp_path)).nsd
    assert nsd is not None
    assert [vnf.descriptor.version for vnf in nsd.vnfs] == ["1.0", "1.12"]


@pytest.mark.parametrize("path", ["etsi_manifest.mf", "TOSCA-Metadata/NAPD.yaml", "META-INF/x"])
def test_paths_that_packages_keep_for_themselves(tmp_path, path):
    project = write_project(tmp_path / "p", project=PROJECT + f"  - {{path: {path}, type: text/plain}}\n")
    (project / path).parent.mkdir(exist_ok=True)
    (project / path).write_text("mine")
    assert [d.code for d in validate_project(project)] == ["PROJ-0014"]


def test_two_files_for_one_path_are_never_packed(tmp_path):
    project = write_project(tmp_path / "p", project=PROJECT + "  - {path: Definitions/nsd.yml, type: text/plain}\n")
    (project / "Definitions").mkdir()
    (project / "Definitions/nsd.yml").write_text("mine")
    with pytest.raises(InvalidInput) as caught:
        build_package(project, tmp_path)
    assert "PKG-0014" in {d.code for d in caught.value.diagnostics}


def test_two_services_are_one_too_many(project):
    (project / "more.yml").write_text(NSD)
    (project / "project.yml").write_text(PROJECT + "  - {path: more.yml, type: application/vnd.5gtango.nsd}\n")
    assert [d.code for d in validate_project(project)] == ["PKG-0020"]


def test_a_copy_of_a_descriptor_is_a_warning(tmp_path):
    extra = PROJECT + "  - {path: vnfds/copy.yml, type: application/vnd.5gtango.vnfd}\n"
    project = write_project(tmp_path / "p", project=extra)
    (project / "vnfds/copy.yml").write_text("# a copy\n" + VNFD)
    assert [(d.code, d.severity) for d in validate_project(project)] == [("PKG-0021", "warning")]
    assert len(read_package(build_package(project, tmp_path)).vnfds) == 2


def test_levels(tmp_path):
    nsd = NSD.replace('["fw:b", "lb:a"]', '["fw:b", "fw:a"]').replace("[in,", "[inn,").replace("out, type", "out, typ")
    syntax_error = write_project(tmp_path / "a", nsd=nsd)
    assert [d.code for d in validate_project(syntax_error, level="syntax")] == ["NSD-0001"]
    deeper = write_project(tmp_path / "b", nsd=nsd.replace("out, typ:", "out, type:"))
    assert validate_project(deeper, level="syntax") == []
    integrity = {d.code for d in validate_project(deeper, level="integrity")}
    assert "NSD-0021" in integrity
    assert "NSD-0031" not in integrity
    assert "NSD-0031" in {d.code for d in validate_project(deeper)}


@pytest.mark.parametrize("form", FORMS)
def test_unpacked_files_are_those_of_the_package(project, tmp_path, form):
    package = build_package(project, tmp_path, form=form)
    written = unpack_package(package, tmp_path / "new" / "folder")
    assert (tmp_path / "new/folder/managers/placer.py").read_text() == "print('placing')\n"
    assert all(path.is_file() for path in written)
    with pytest.raises(Conflict):
        unpack_package(package, tmp_path / "new" / "folder")
    with pytest.raises(Conflict):
        unpack_package(package, package)


def test_unsafe_package_unpacks_nothing(project, tmp_path):
    data = rewritten(build_package(project, tmp_path), lambda files: files.update({"../escaped": b"x"}))
    evil = tmp_path / "evil.tgo"
    evil.write_bytes(data)
    with pytest.raises(InvalidInput):
        unpack_package(evil, tmp_path / "in")
    assert not (tmp_path / "escaped").exists()
    assert not (tmp_path / "in").exists()
    assert [d.code for d in validate_package(evil)] == ["PKG-0002"]


def test_an_older_package_stays_when_building_fails(project, tmp_path):
    path = build_package(project, tmp_path)
    before = path.read_bytes()
    (project / "nsd.yml").write_text("[")
    with pytest.raises(InvalidInput):
        build_package(project, tmp_path)
    assert path.read_bytes() == before
    assert sorted(p.name for p in tmp_path.iterdir()) == [path.name, "project"]


@pytest.mark.parametrize("form", FORMS)
def test_any_content_of_any_member_is_read_or_refused(tmp_path_factory, form):
    folder = tmp_path_factory.mktemp("fuzz")
    path = build_package(write_project(folder / "project"), folder, form=form)
    with zipfile.ZipFile(path) as package:
        names = package.namelist()

    @settings(max_examples=60, deadline=None)
    @given(st.sampled_from(names), st.binary(max_size=60), st.integers(0, 400))
    def judge(name, junk, place):
        data = rewritten(path, lambda files: files.update({name: files[name][:place] + junk + files[name][place:]}))
        content, findings = inspect_package(data)
        assert content is not None or any(finding.severity == "error" for finding in findings)

    judge()


def test_manager_may_be_a_folder(tmp_path):
    project = write_project(tmp_path / "p", nsd=NSD.replace("package:managers/placer.py", "package:managers"))
    assert validate_project(project) == []


def test_what_is_not_there(tmp_path):
    for call in (
        lambda: build_package(tmp_path),
        lambda: validate_project(tmp_path / "none"),
        lambda: validate_package(tmp_path / "none.tgo"),
        lambda: read_package(tmp_path / "none.tgo"),
        lambda: unpack_package(tmp_path / "none.tgo", tmp_path / "x"),
    ):
        with pytest.raises(NotFound):
            call()
    with pytest.raises(InvalidInput):
        build_package(write_project(tmp_path / "p"), tmp_path / "no" / "such" / "folder.tgo")


def test_the_cdn_example(tmp_path):
    if not (EXAMPLE / "managers" / "cdn_placement.py").exists():
        pytest.skip("examples/cdn/managers is not in this tree")
    assert validate_project(EXAMPLE) == []
    content = read_package(build_package(EXAMPLE, tmp_path))
    assert content.nsd is not None
    assert [vnf.vnf_id for vnf in content.nsd.vnfs] == ["vcache", "vtc", "vtu"]
    assert {unit.image for vnfd in content.vnfds for unit in vnfd.vdus} == {"vcache", "vtc", "vtu"}
    assert [str(point) for point in content.nsd.forwarding_graphs[0].paths[0].points] == [
        *("users", "vcache:input", "vcache:output", "vtc:input", "vtc:output", "vtu:input", "vtu:output", "content"),
    ]
    assert content.nsd.managers[0].image.removeprefix("package:") in content.files
