"""Recipes are read whole, and wrong ones are told with place and remedy."""

from __future__ import annotations

from pathlib import Path

import pytest

from sonata.errors import InvalidInput, NotFound
from sonata.formats.recipe import read_recipe


def write(folder: Path, text: str, name: str = "recipe.yaml") -> Path:
    (folder / name).write_text(text)
    return folder / name


def findings(path: Path) -> list[str]:
    with pytest.raises(InvalidInput) as caught:
        read_recipe(path)
    return [str(finding) for finding in caught.value.diagnostics]


def test_all_that_a_recipe_refers_to_is_read(tmp_path: Path) -> None:
    (tmp_path / "start.sh").write_text("#!/bin/sh\n")
    write(tmp_path, "name: below\npackages: [curl]\nenv: {A: '1', B: '1'}\ncommand: [below]\n", "below.yaml")
    recipe = read_recipe(
        write(
            tmp_path,
            "name: web\nbase: below.yaml\npackages: [squid, nftables, squid]\nready_tcp_port: 80\nenv: {B: '2'}\n"
            'files:\n  /bin/start: {source: start.sh, mode: "0755"}\n  /etc/x: {content: hello}\n',
        )
    )
    assert recipe.base
    assert recipe.base.packages == ("curl",)
    assert recipe.packages == ("nftables", "squid")
    assert recipe.files["/bin/start"].content == b"#!/bin/sh\n"
    assert (recipe.files["/bin/start"].mode, recipe.files["/etc/x"].mode) == (0o755, 0o644)
    assert (recipe.command, dict(recipe.env)) == (("below",), {"A": "1", "B": "2"})


def test_unknown_keys_have_place_and_suggestion(tmp_path: Path) -> None:
    (found,) = findings(write(tmp_path, "name: web\npackges: [squid]\n"))
    assert "recipe.yaml:2:1" in found
    assert "RECIPE-0001" in found
    assert "`packages`" in found


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("packages: [squid]\n", "RECIPE-0002"),
        ("name: web\npackages: ['squid; rm -rf /']\n", "RECIPE-0003"),
        ("name: web\npackages: ['--option']\n", "RECIPE-0003"),
        ("name: ../web\n", "RECIPE-0003"),
        ("name: web\nready_tcp_port: 70000\n", "RECIPE-0003"),
        ("name: web\nfiles: {/a: {}}\n", "RECIPE-0010"),
        ("name: web\nfiles: {/a: {content: x, source: y}}\n", "RECIPE-0010"),
        ("name: web\nfiles: {/a: {source: missing}}\n", "RECIPE-0011"),
        ("name: web\nfiles: {a: {content: x}}\n", "RECIPE-0012"),
        ("name: web\nfiles: {/a/../b: {content: x}}\n", "RECIPE-0012"),
        ('name: web\nfiles: {"/a\\nb": {content: x}}\n', "RECIPE-0012"),
        ("name: web\nbase: recipe.yaml\n", "RECIPE-0013"),
    ],
)
def test_wrong_recipes_are_told(tmp_path: Path, text: str, code: str) -> None:
    assert any(code in found for found in findings(write(tmp_path, text)))


def test_all_findings_come_at_once(tmp_path: Path) -> None:
    assert len(findings(write(tmp_path, "name: web\nfiles: {a: {content: x}, /b: {}}\n"))) == 2


def test_a_missing_recipe_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        read_recipe(tmp_path / "none.yaml")
