"""`sonata emu import`, `generate` and `graph`: data on standard output, talk on standard error, exit statuses."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sonata.cli.main import main
from sonata.formats.topology import parse_topology
from sonata.model import shapes

Capture = pytest.CaptureFixture[str]
NATIVE = "?SNDlib native format\nNODES ( A ( 2.35 48.85 ) B ( 13.4 52.52 ) )\nLINKS ( L ( A B ) 0 0 0 0 ( ) )\n"


@pytest.fixture(autouse=True)
def _wide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")


def run(capture: Capture, *args: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as ended:
        main(["emu", *args])
    told = capture.readouterr()
    assert isinstance(ended.value.code, int)
    return ended.value.code, told.out, told.err


def test_an_import_prints_a_topology_and_tells_what_the_file_does_not(tmp_path: Path, capsys: Capture) -> None:
    file = tmp_path / "duo.txt"
    file.write_text(NATIVE)
    code, out, err = run(capsys, "import", str(file), "--detour", "2", "--rate", "10Mbit", "--name", "mine")
    assert code == 0
    topology = parse_topology(out)
    assert topology.name == "mine"
    assert topology.links[0].impairment.rate_bps == 10e6
    assert topology.links[0].impairment.delay_s == pytest.approx(0.00878, abs=1e-4)
    assert "1 links have no rate in the file: 10Mbit" in err


def test_flaws_of_a_file_are_all_told(tmp_path: Path, capsys: Capture) -> None:
    file = tmp_path / "bad.txt"
    file.write_text(NATIVE.replace("2.35", "x").replace("A B )", "A C )"))
    code, out, err = run(capsys, "import", str(file))
    assert (code, out) == (2, "")
    assert f"{file}:2:9: error[NET-0007]" in err
    assert f"{file}:3:9: error[NET-0006]" in err


@pytest.mark.parametrize("option", [("--rate", "much"), ("--delay", "5"), ("--capacity-unit", "x"), ("--detour", "0")])
def test_options_are_checked(tmp_path: Path, capsys: Capture, option: tuple[str, str]) -> None:
    file = tmp_path / "duo.txt"
    file.write_text(NATIVE)
    assert run(capsys, "import", str(file), *option)[:2] == (2, "")


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        (["single", "--servers-per-pop", "3"], shapes.single(kit=shapes.Kit(servers_per_pop=3))),
        (["line", "--pops", "3", "--delay", "5ms"], shapes.line(3, kit=shapes.Kit(delay_s=0.005))),
        (["ring", "--pops", "5", "--name", "o"], shapes.ring(5, name="o")),
        (["star", "--rate", "1Gbit"], shapes.star(4, kit=shapes.Kit(rate_bps=1e9))),
        (["tree", "--depth", "2", "--fanout", "3"], shapes.tree(2, 3)),
        (["fat-tree", "--endpoints-per-pop", "2"], shapes.fat_tree(4, kit=shapes.Kit(endpoints_per_pop=2))),
        (["random-geometric", "--seed", "4"], shapes.random_geometric(10, seed=4)),
        (["waxman", "--pops", "6", "--beta", "1"], shapes.waxman(6, beta=1.0)),
    ],
)
def test_shapes_are_those_of_python(capsys: Capture, args: list[str], expected: object) -> None:
    code, out, err = run(capsys, "generate", *args)
    assert (code, err) == (0, "")
    assert parse_topology(out) == expected


def test_impossible_shapes_end_with_the_reason(capsys: Capture) -> None:
    code, out, err = run(capsys, "generate", "fat-tree", "--k", "5")
    assert (code, out) == (2, "")
    assert "even" in err


@pytest.mark.parametrize(
    ("form", "beginning"), [("svg", "<svg "), ("graphml", "<?xml "), ("mermaid", "---\n"), ("json", "{")]
)
def test_a_file_is_drawn(tmp_path: Path, capsys: Capture, form: str, beginning: str) -> None:
    file = tmp_path / "ring.yaml"
    file.write_text(run(capsys, "generate", "ring")[1])
    code, out, _ = run(capsys, "graph", str(file), "-o", form)
    assert code == 0
    assert out.startswith(beginning)
    if form == "json":
        assert len(json.loads(out)["edges"]) == 4


def test_a_file_and_a_name_are_too_much(tmp_path: Path, capsys: Capture) -> None:
    assert run(capsys, "graph", str(tmp_path / "x.yaml"), "--name", "x")[0] == 2
