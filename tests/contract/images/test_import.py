"""Images from container archives: what they contain arrives, what they try does not."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import shutil
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from sonata.adapters.images_local import LocalImages
from sonata.errors import Conflict, InvalidInput, NotFound

Change = Callable[[tarfile.TarInfo], None]


def quiet(_: str) -> None:
    """Tell nothing."""


def member(name: str, content: bytes | None = b"", **changes: object) -> tuple[tarfile.TarInfo, bytes | None]:
    info = tarfile.TarInfo(name)
    info.mode = 0o755 if content is None else 0o644
    info.size = len(content or b"")
    if content is None:
        info.type = tarfile.DIRTYPE
    for field, value in changes.items():
        setattr(info, field, value)
    return info, content


def link(name: str, to: str, kind: bytes = tarfile.SYMTYPE) -> tuple[tarfile.TarInfo, bytes | None]:
    return member(name, b"", type=kind, linkname=to)


def layer(*members: tuple[tarfile.TarInfo, bytes | None]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for info, content in members:
            tar.addfile(info, io.BytesIO(content or b""))
    return buffer.getvalue()


def sha(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def oci(folder: Path, *plain: bytes, pack: Callable[[bytes], bytes] = gzip.compress) -> Path:
    """An OCI layout with these layers, lowest first."""
    blobs = folder / "blobs/sha256"
    blobs.mkdir(parents=True)

    def put(content: bytes) -> dict[str, object]:
        (blobs / sha(content).partition(":")[2]).write_bytes(content)
        return {"digest": sha(content), "size": len(content), "mediaType": "application/octet-stream"}

    program = {"Entrypoint": ["/bin/serve"], "Cmd": ["--port", "80"], "Env": ["COLOUR=blue", "EMPTY="]}
    config = {"config": program, "rootfs": {"type": "layers", "diff_ids": [sha(each) for each in plain]}}
    packed = [put(pack(each)) for each in plain]
    manifest = {"schemaVersion": 2, "config": put(json.dumps(config).encode()), "layers": packed}
    index = {"schemaVersion": 2, "manifests": [put(json.dumps(manifest).encode())]}
    (folder / "index.json").write_text(json.dumps(index))
    (folder / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    return folder


def docker(path: Path, *plain: bytes) -> Path:
    """What `docker save` of old writes."""
    config = json.dumps({"config": {"Cmd": ["/bin/sh"]}, "rootfs": {"diff_ids": [sha(each) for each in plain]}})
    names = [f"{number}/layer.tar" for number in range(len(plain))]
    manifest = json.dumps([{"Config": "c.json", "RepoTags": ["x:1"], "Layers": names}])
    files = {"c.json": config.encode(), "manifest.json": manifest.encode(), **dict(zip(names, plain, strict=True))}
    path.write_bytes(layer(*(member(name, content) for name, content in files.items())))
    return path


@pytest.fixture
def store(tmp_path: Path) -> LocalImages:
    return LocalImages(tmp_path / "images")


def test_host_is_always_there_and_cannot_go(store: LocalImages, tmp_path: Path) -> None:
    assert [image.name for image in store.list()] == ["host"]
    assert store.get("host").layers == ()
    assert store.get(store.get("host").id).name == "host"
    with pytest.raises(Conflict):
        store.remove("host")
    with pytest.raises(Conflict):
        store.import_archive(oci(tmp_path / "x", layer(member("a"))), "host", quiet)


def test_unknown_image_names_those_that_exist(store: LocalImages) -> None:
    with pytest.raises(NotFound, match="`host`"):
        store.get("hots")


@pytest.mark.parametrize("pack", [gzip.compress, bytes, "zstd"])
def test_oci_layout(store: LocalImages, tmp_path: Path, pack: Callable[[bytes], bytes] | str) -> None:
    if pack == "zstd":
        if not shutil.which("zstd"):
            pytest.skip("zstd is not installed")

        def pack(data: bytes) -> bytes:
            return subprocess.run(["zstd", "-c"], input=data, capture_output=True, check=True).stdout

    assert callable(pack)
    content = layer(member("bin", None), member("bin/serve", b"program", mode=0o755), link("sh", "bin/serve"))
    image = store.import_archive(oci(tmp_path / "layout", content, pack=pack), "web", quiet)
    assert image == store.get("web") == store.get(image.id)
    assert image.argv == ("/bin/serve", "--port", "80")
    assert image.env == {"COLOUR": "blue", "EMPTY": ""}
    (root,) = image.layers
    assert (root / "bin/serve").read_bytes() == b"program"
    assert os.access(root / "bin/serve", os.X_OK)
    assert os.readlink(root / "sh") == "bin/serve"


def test_oci_layout_in_a_tar_is_the_same_image(store: LocalImages, tmp_path: Path) -> None:
    layout = oci(tmp_path / "layout", layer(member("a", b"1")))
    with tarfile.open(tmp_path / "layout.tar", "w") as tar:
        tar.add(layout, arcname=".")
    first = store.import_archive(layout, "one", quiet)
    second = store.import_archive(tmp_path / "layout.tar", "two", quiet)
    assert first.digest == second.digest
    assert first.layers == second.layers


def test_docker_archive(store: LocalImages, tmp_path: Path) -> None:
    image = store.import_archive(docker(tmp_path / "saved.tar", layer(member("a", b"1"))), "saved", quiet)
    assert image.argv == ("/bin/sh",)
    assert (image.layers[0] / "a").read_bytes() == b"1"


def test_upper_layers_win_and_remove(store: LocalImages, tmp_path: Path) -> None:
    lower = layer(
        member("d", None), member("d/old", b"o"), member("e", None), member("e/x", b"x"), member("gone", b"g"),
        member("same", b"1"), link("run", "/var/run"), member("var", None), member("var/run", None),
    )  # fmt: skip
    upper = layer(
        member("d", None), member("d/.wh..wh..opq"), member("d/new", b"n"), member("e/.wh.x"), member(".wh.gone"),
        member("same", b"2"), member("run/pid", b"1"),
    )  # fmt: skip
    (root,) = store.import_archive(oci(tmp_path / "layout", lower, upper), "web", quiet).layers
    assert os.listdir(root / "d") == ["new"]
    assert os.listdir(root / "e") == []
    assert not (root / "gone").exists()
    assert (root / "same").read_bytes() == b"2"
    assert (root / "var/run/pid").read_bytes() == b"1", "a link of a lower layer leads inside of the image"
    assert (root / "run").is_symlink()


ATTACKS = {
    "absolute path": [member("/{outside}/file", b"x")],
    "parent": [member("../../../{outside}/file", b"x")],
    "parent in the middle": [member("a", None), member("a/../../x", b"x")],
    "through a link of its own": [link("way", "/{outside}"), member("way/file", b"x")],
    "through a relative link": [link("way", "../../../../../../../../{outside}"), member("way/file", b"x")],
    "hard link outside": [link("copy", "/{outside}/victim", tarfile.LNKTYPE)],
    "hard link upwards": [link("copy", "../../../{outside}/victim", tarfile.LNKTYPE)],
    "hard link to a link": [link("way", "/{outside}/victim"), link("copy", "way", tarfile.LNKTYPE)],
    "whiteout of the parent": [member("a", None), member("a/.wh..", b"")],
}


@pytest.mark.parametrize("name", ATTACKS)
def test_dangerous_members_are_refused_by_name(store: LocalImages, tmp_path: Path, name: str) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "victim").write_text("untouched")
    members = []
    for info, content in ATTACKS[name]:
        fresh = member(info.name.replace("{outside}", str(outside).lstrip("/")), content, type=info.type)[0]
        fresh.linkname = info.linkname.replace("{outside}", str(outside).lstrip("/"))
        members.append((fresh, content))
    with pytest.raises(InvalidInput) as caught:
        store.import_archive(oci(tmp_path / "layout", layer(*members)), "evil", quiet)
    assert members[-1][0].name in str(caught.value)
    assert os.listdir(outside) == ["victim"]
    assert (outside / "victim").read_text() == "untouched"
    assert [image.name for image in store.list()] == ["host"]
    assert list((tmp_path / "images/layers").iterdir()) == []
    assert list((tmp_path / "images/scratch").iterdir()) == []


def test_a_file_written_through_a_lower_layers_link_stays_inside(store: LocalImages, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    lower = layer(link("way", str(outside)))
    upper = layer(member("way/file", b"x"))
    (root,) = store.import_archive(oci(tmp_path / "layout", lower, upper), "web", quiet).layers
    assert os.listdir(outside) == []
    assert (root / str(outside).lstrip("/") / "file").read_bytes() == b"x"


def test_device_nodes_stay_out(store: LocalImages, tmp_path: Path) -> None:
    disk = member("disk", b"", type=tarfile.BLKTYPE, devmajor=254, devminor=0)
    (root,) = store.import_archive(oci(tmp_path / "layout", layer(disk, member("a"))), "web", quiet).layers
    assert os.listdir(root) == ["a"]


@pytest.mark.parametrize("which", ["layer", "config", "manifest"])
def test_damage_is_found(store: LocalImages, tmp_path: Path, which: str) -> None:
    layout = oci(tmp_path / "layout", layer(member("a", b"1" * 1000)), pack=bytes)
    index = json.loads((layout / "index.json").read_text())
    digest = index["manifests"][0]["digest"]
    if which != "manifest":
        manifest = json.loads((layout / "blobs/sha256" / digest.partition(":")[2]).read_text())
        digest = (manifest["config"] if which == "config" else manifest["layers"][0])["digest"]
    blob = layout / "blobs/sha256" / digest.partition(":")[2]
    blob.write_bytes(blob.read_bytes().replace(b"1", b"2"))
    with pytest.raises(InvalidInput, match=digest.partition(":")[2]):
        store.import_archive(layout, "web", quiet)


def test_wrong_content_of_a_docker_archive_is_found(store: LocalImages, tmp_path: Path) -> None:
    good, bad = layer(member("a", b"1")), layer(member("a", b"2"))
    saved = docker(tmp_path / "saved.tar", good)
    saved.write_bytes(saved.read_bytes().replace(good[:1024], bad[:1024]))
    with pytest.raises(InvalidInput, match=r"0/layer\.tar"):
        store.import_archive(saved, "web", quiet)


@pytest.mark.parametrize("content", [b"", b"no archive", layer(member("readme", b"hello"))])
def test_what_is_no_archive_is_told(store: LocalImages, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "file").write_bytes(content)
    with pytest.raises(InvalidInput, match="no image archive") as told:
        store.import_archive(tmp_path / "file", "web", quiet)
    assert "\n" not in told.value.message
    assert "docker save" in told.value.hint
    with pytest.raises(NotFound):
        store.import_archive(tmp_path / "missing", "web", quiet)


def test_removing_frees_what_no_other_image_has(store: LocalImages, tmp_path: Path) -> None:
    layout = oci(tmp_path / "layout", layer(member("a", b"1")))
    (kept,) = store.import_archive(layout, "one", quiet).layers
    store.import_archive(layout, "two", quiet)
    store.remove("one")
    assert kept.is_dir()
    store.remove("two")
    assert not kept.exists()
    assert [image.name for image in store.list()] == ["host"]


def test_a_store_may_be_moved(store: LocalImages, tmp_path: Path) -> None:
    store.import_archive(oci(tmp_path / "layout", layer(member("a", b"1"))), "one", quiet)
    (tmp_path / "images").rename(tmp_path / "elsewhere")
    assert (LocalImages(tmp_path / "elsewhere").get("one").layers[0] / "a").read_bytes() == b"1"
