"""Building from recipes: fast when known, whole or not at all, and it never starts a daemon.

The bare system is taken from the store of whoever runs the tests, so that it is made once and for all.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from tests.machines import needs_root

from sonata._lib.paths import data_home
from sonata.adapters.images_local import LocalImages
from sonata.errors import InvalidInput, PermanentError
from sonata.formats.recipe import read_recipe
from sonata.model.recipe import Recipe

pytestmark = [
    pytest.mark.root,
    pytest.mark.slow,
    pytest.mark.timeout(300),
    needs_root,
    pytest.mark.skipif(not shutil.which("mmdebstrap"), reason="needs mmdebstrap (apt-get install mmdebstrap)"),
]
PAIR = ("netcat-openbsd", "socat")


@pytest.fixture
def store() -> LocalImages:
    return LocalImages(data_home() / "images")


@pytest.fixture
def name(store: LocalImages) -> Iterator[str]:
    fresh = f"test-{uuid.uuid4().hex[:8]}"
    yield fresh
    if fresh in [image.name for image in store.list()]:
        store.remove(fresh)


def recipe_file(folder: Path, name: str, text: str) -> Path:
    path = folder / "recipe.yaml"
    path.write_text(f"name: {name}\n{text}")
    return path


def recipe(folder: Path, name: str, text: str) -> Recipe:
    return read_recipe(recipe_file(folder, name, text))


def test_known_content_is_there_at_once(store: LocalImages, name: str, tmp_path: Path) -> None:
    steps: list[str] = []
    written = recipe(tmp_path, name, f"files: {{/etc/said: {{content: '{name}'}}, /bin/x: {{content: x}}}}\n")
    first = store.build(written, steps.append)
    assert any("/etc/said" in step for step in steps)
    steps.clear()
    assert store.build(written, steps.append) == first
    assert steps == [f"image {name} is up to date"]
    assert (first.layers[0] / "etc/said").read_text() == name
    assert (first.layers[0] / "usr/bin/x").is_file(), "a link of a lower layer was replaced by a folder"
    assert not (first.layers[0] / "bin").exists()


def test_other_content_is_another_image(store: LocalImages, name: str, tmp_path: Path) -> None:
    first = store.build(recipe(tmp_path, name, f"files: {{/a: {{content: '{name}1'}}}}\n"), print)
    second = store.build(recipe(tmp_path, name, f"files: {{/a: {{content: '{name}2'}}}}\n"), print)
    assert first.digest != second.digest
    assert first.id != second.id
    assert store.get(name) == second
    shutil.rmtree(first.layers[0])


def test_builds_side_by_side_wait_for_each_other(store: LocalImages, name: str, tmp_path: Path) -> None:
    texts = {
        f"{name}-{package}": f"packages: [{package}]\nfiles: {{/said: {{content: '{name}'}}}}\n" for package in PAIR
    }
    for folder in texts:
        (tmp_path / folder).mkdir()
    written = [recipe(tmp_path / each, each, text) for each, text in texts.items()]
    try:
        with ThreadPoolExecutor() as threads:
            images = list(threads.map(lambda each: store.build(each, print), written))
    finally:
        for each in {image.name for image in store.list()} & set(texts):
            store.remove(each)
    assert len({image.layers[0] for image in images}) == len(PAIR)


def test_a_package_that_does_not_exist_is_told(store: LocalImages, name: str, tmp_path: Path) -> None:
    with pytest.raises(PermanentError) as caught:
        store.build(recipe(tmp_path, name, "packages: [no-such-package-at-all]\n"), print)
    assert "no-such-package-at-all" in caught.value.answer
    assert name not in [image.name for image in store.list()]


def test_no_daemon_is_started_and_nothing_stays_mounted(store: LocalImages, name: str, tmp_path: Path) -> None:
    image = store.build(recipe(tmp_path, name, "packages: [tinyproxy-bin, tinyproxy]\n"), print)
    assert (image.layers[0] / "usr/bin/tinyproxy").is_file()
    assert not (image.layers[0] / "usr/sbin/policy-rc.d").exists()
    assert not subprocess.run(["pgrep", "-x", "tinyproxy"], capture_output=True, check=False).stdout
    assert str(data_home() / "images") not in Path("/proc/self/mounts").read_text()


def test_an_interrupted_build_leaves_nothing_half_made(store: LocalImages, name: str, tmp_path: Path) -> None:
    written = recipe_file(tmp_path, name, "packages: [tinyproxy-bin, socat, netcat-openbsd]\n")
    before = set(os.listdir(data_home() / "images/layers"))
    code = "import sys; from pathlib import Path; from sonata.adapters.images_local import LocalImages;"
    code += "from sonata.formats.recipe import read_recipe;"
    code += "recipe = read_recipe(Path(sys.argv[2]));"
    code += "LocalImages(Path(sys.argv[1])).build(recipe, lambda line: print(line, flush=True))"
    argv = [sys.executable, "-c", code, str(data_home() / "images"), str(written)]
    builder = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)
    assert builder.stdout
    assert "installing" in builder.stdout.readline()
    time.sleep(0.7)
    builder.send_signal(signal.SIGKILL)
    builder.wait()
    assert set(os.listdir(data_home() / "images/layers")) == before
    assert name not in [image.name for image in store.list()]
    image = store.build(read_recipe(written), print)
    assert (image.layers[0] / "usr/bin/tinyproxy").is_file()
    assert os.listdir(data_home() / "images/scratch") == []


def test_a_wrong_recipe_builds_nothing(store: LocalImages, name: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput):
        store.build(recipe(tmp_path, name, "packages: ['--allow-everything']\n"), print)
