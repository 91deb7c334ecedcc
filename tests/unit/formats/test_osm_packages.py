"""OSM packages and their SOL006 descriptors: what comes out of them, and what is told when they are wrong."""

from __future__ import annotations

import gzip
import io
import tarfile
from pathlib import Path

import pytest

from sonata.errors import InvalidInput, NotFound
from sonata.formats.archive import read_tarball
from sonata.formats.osm_package import write_osm_package
from sonata.formats.package import inspect_package, read_package
from sonata.model.descriptors import ConstituentVnf, CpRef, DescriptorId, PackageContent
from sonata.sdk.packages import build_package, validate_project

VNFD = """\
vnfd:
  id: forwarder
  provider: acme
  version: '1.2'
  mgmt-cp: mgmt
  product-name: anything
  virtual-compute-desc:
    - id: size
      virtual-cpu: {num-virtual-cpu: 2}
      virtual-memory: {size: '0.5'}
  virtual-storage-desc:
    - {id: disk, size-of-storage: 3}
  sw-image-desc:
    - {id: image, name: shown, image: socat}
  vdu:
    - id: unit
      sw-image-desc: image
      virtual-compute-desc: size
      virtual-storage-desc: [disk]
      cloud-init-file: start.cfg
      int-cpd:
        - {id: second, virtual-network-interface-requirement: [{name: eth1, position: 2}]}
        - {id: first, virtual-network-interface-requirement: [{name: eth0, position: '1'}]}
  ext-cpd:
    - {id: mgmt, int-cpd: {vdu-id: unit, cpd: first}}
    - {id: data, int-cpd: {vdu-id: unit, cpd: second}}
  df:
    - id: default
      instantiation-level: [{id: level, vdu-level: [{vdu-id: unit, number-of-instances: 2}]}]
"""
NSD = """\
nsd:
  nsd:
    - id: pair
      designer: acme
      version: '1.0'
      vnfd-id: [forwarder]
      virtual-link-desc:
        - {id: mgmt, mgmt-network: 'true'}
        - {id: data}
      sapd: [{id: users, virtual-link-desc: data}]
      df:
        - id: default
          virtual-link-profile:
            - id: data-profile
              virtual-link-desc-id: data
              virtual-link-protocol-data: {l3-protocol-data: {cidr: 10.9.0.0/24}}
          vnf-profile:
            - id: 1
              vnfd-id: forwarder
              virtual-link-connectivity:
                - virtual-link-profile-id: mgmt
                  constituent-cpd-id: [{constituent-base-element-id: 1, constituent-cpd-id: mgmt}]
                - virtual-link-profile-id: data-profile
                  constituent-cpd-id:
                    - {constituent-base-element-id: '1', constituent-cpd-id: data, ip-address: 10.9.0.20}
"""


def folder_of(where: Path, name: str, text: str, **others: str) -> Path:
    folder = where / name
    (folder / "cloud_init").mkdir(parents=True)
    (folder / f"{name}.yaml").write_text(text)
    for path, content in others.items():
        (folder / "cloud_init" / path.replace("_", ".")).write_text(content)
    return folder


def vnf_package(where: Path, text: str = VNFD) -> bytes:
    return write_osm_package(folder_of(where, "forwarder_vnfd", text, start_cfg="#cloud-config\n"))


def ns_package(where: Path, text: str = NSD) -> bytes:
    return write_osm_package(folder_of(where, "pair_nsd", text))


def findings_of(data: bytes) -> list[str]:
    return [f"{each.code} {each.line} {each.summary}" for each in inspect_package(data, name="p")[1]]


def test_a_vnf_package(tmp_path: Path) -> None:
    content: PackageContent = read_package(vnf_package(tmp_path))
    (vnfd,) = content.vnfds
    (unit,) = vnfd.vdus
    assert (content.nsd, content.id, vnfd.id) == (None, vnfd.id, DescriptorId("acme", "forwarder", "1.2"))
    assert (unit.image, unit.vcpus, unit.memory_mib, unit.disk_gib, unit.instances) == ("socat", 2, 512, 3, 2)
    assert [point.id for point in unit.connection_points] == ["first", "second"]
    assert unit.user_data == "#cloud-config\n"
    assert [(point.id, point.type) for point in vnfd.connection_points] == [
        ("mgmt", "management"),
        ("data", "external"),
    ]
    assert vnfd.virtual_links[1].members == (CpRef("unit", "second"), CpRef("", "data"))


def test_a_service_package(tmp_path: Path) -> None:
    content = read_package(ns_package(tmp_path))
    assert content.nsd is not None
    assert content.nsd.vnfs == (ConstituentVnf("1", DescriptorId("", "forwarder", "")),)
    mgmt, data = content.nsd.virtual_links
    assert mgmt.members == (CpRef("1", "mgmt"), CpRef("", "mgmt"))
    assert (data.members, data.cidr) == ((CpRef("1", "data"), CpRef("", "users")), "10.9.0.0/24")
    assert data.addresses == {"1:data": "10.9.0.20"}
    assert [(each.id, each.type) for each in content.nsd.connection_points] == [
        ("users", "external"),
        ("mgmt", "management"),
    ]


def test_a_folder_is_built_and_the_same_folder_gives_the_same_bytes(tmp_path: Path) -> None:
    folder = folder_of(tmp_path, "forwarder_vnfd", VNFD, start_cfg="#cloud-config\n")
    built = build_package(folder, tmp_path)
    assert built.name == "forwarder_vnfd.tar.gz"
    assert built.read_bytes() == write_osm_package(folder)
    assert validate_project(folder) == []
    with tarfile.open(built) as archive:
        names = archive.getnames()
    assert "forwarder_vnfd/checksums.txt" in names


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("sw-image-desc: image", "sw-image-desc: imago", "SOL006-0010 LINE there is no `sw-image-desc` `imago`"),
        ("vdu-id: unit, cpd: first", "vdu-id: unit, cpd: third", "SOL006-0010 LINE there is no `int-cpd` `third`"),
        ("mgmt-cp: mgmt", "mgmt-cp: mgnt", "SOL006-0010 LINE there is no `ext-cpd` `mgnt`"),
        ("start.cfg", "begin.cfg", "SOL006-0013 LINE the package has no file `cloud_init/begin.cfg`"),
        ("provider", "provlder", "SOL006-0001 LINE unknown key `provlder` in `vnfd`"),
        ("num-virtual-cpu: 2", "num-virtual-cpu: none", "SOL006-0003 LINE"),
    ],
)
def test_a_faulty_vnf_is_told_with_its_line(old: str, new: str, told: str, tmp_path: Path) -> None:
    text = VNFD.replace(old, new)
    line = text[: text.index(new)].count("\n") + 1
    found = findings_of(vnf_package(tmp_path, text))
    assert any(finding.startswith(told.replace("LINE", str(line))) for finding in found), found


def test_a_faulty_service_is_told_at_once(tmp_path: Path) -> None:
    text = NSD.replace("virtual-link-desc: data}", "virtual-link-desc: dato}").replace("10.9.0.20", "10.9.0")
    assert [finding[:14] for finding in findings_of(ns_package(tmp_path, text))] == ["SOL006-0003 25"]
    text = NSD.replace("virtual-link-desc: data}", "virtual-link-desc: dato}").replace("[forwarder]", "[other]")
    told = findings_of(ns_package(tmp_path / "more", text))
    assert [finding[:11] for finding in told] == ["SOL006-0010", "SOL006-0010"]


def test_a_changed_file_is_noticed(tmp_path: Path) -> None:
    files = read_tarball(vnf_package(tmp_path), "p")
    files["forwarder_vnfd/cloud_init/start.cfg"] = b"#!/bin/sh\n"
    assert [finding[:8] for finding in findings_of(tarball(files))] == ["PKG-0012"]


def test_no_descriptor_and_no_folder(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match=r"no `\*_vnfd.yaml`"):
        write_osm_package(tmp_path)
    assert findings_of(tarball({"a/readme": b"x"}))[0].startswith("PKG-0041")
    with pytest.raises(InvalidInput) as caught:
        read_package(tarball({"a/x_nsd.yaml": b"x", "b/y_nsd.yaml": b"y"}))
    assert caught.value.diagnostics[0].code == "PKG-0040"


def tarball(files: dict[str, bytes], kind: bytes = tarfile.REGTYPE) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.type, member.size, member.linkname = kind, len(content), "/etc/passwd"
            archive.addfile(member, io.BytesIO(content))
    return gzip.compress(stream.getvalue())


@pytest.mark.parametrize("name", ["/etc/passwd", "../x", "a/../../x", "a\\b", "a/./b"])
def test_names_that_lead_elsewhere_are_refused(name: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        read_tarball(tarball({name: b""}), "p")
    assert caught.value.diagnostics[0].code == "PKG-0002"


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE])
def test_links_and_devices_are_refused(kind: bytes) -> None:
    with pytest.raises(InvalidInput) as caught:
        read_tarball(tarball({"a/link": b""}, kind), "p")
    assert caught.value.diagnostics[0].code == "PKG-0002"


def test_a_bomb_is_refused_before_it_grows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sonata.formats.archive.MAX_TOTAL_BYTES", 10_000)
    with pytest.raises(InvalidInput) as caught:
        read_tarball(gzip.compress(bytes(1_000_000)), "p")
    assert caught.value.diagnostics[0].code == "PKG-0003"


@pytest.mark.parametrize("cut", [5, 30, 100])
def test_a_cut_archive_is_refused(cut: int, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput):
        read_tarball(vnf_package(tmp_path)[:-cut], "p")
