"""Scenario files: the same seed gives the same steps; mistakes are told with their place; logs give scenarios back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sonata._lib.plain import to_plain
from sonata.errors import InvalidInput, NotFound
from sonata.formats.scenario import parse_scenario, read_scenario
from sonata.formats.scenario_log import head_line, read_log, step_line
from sonata.model.scenario import Scenario, Step

HEAD = "apiVersion: sonata/v1\nkind: Scenario\nname: s\n"
WHOLE = (
    HEAD
    + """seed: 7
events:
- {at: 2s, link: backbone, set: {delay: 80ms, loss: 2%, rate: none}, from: core, for: 10s}
- {at: 5s, link: [access, core], up: false, for: 3s}
- {at: 10s, crash: core/cache}
- {at: 12s, hog: core/cache, cpus: 1, memory: 200MiB, for: 5s}
- {at: 15s, move: users, to: {one_of: [c1, c2]}}
- {at: 20s, pop: core, up: false, for: 30s}
- {at: [0s, 60s], times: 20, link: {one_of: [x, y]}, up: false, for: 500ms}
- {at: 1s, every: 10s, times: 3, run: users, command: [ping, -c, "3", 100.64.1.10]}
"""
)


def test_the_documented_file() -> None:
    steps = parse_scenario(WHOLE).steps
    assert [step.at_s for step in steps] == sorted(step.at_s for step in steps)
    link = next(step for step in steps if step.target == "backbone")
    assert link == Step(2.0, "link", "backbone", 10.0, {"delay_s": 0.08, "loss": 0.02, "rate_bps": None}, "core")
    assert [step.at_s for step in steps if step.action == "run"] == [1.0, 11.0, 21.0]
    assert next(step for step in steps if step.target == "access|core").up is False
    assert {step.target for step in steps if step.for_s == 0.5} == {"x", "y"}


def test_chance_is_the_seeds() -> None:
    assert parse_scenario(WHOLE) == parse_scenario(WHOLE) == parse_scenario(WHOLE, seed=7)
    assert parse_scenario(WHOLE).steps != parse_scenario(WHOLE, seed=8).steps


@pytest.mark.parametrize(
    ("event", "code"),
    [
        ("{at: 2s}", "SCEN-0010"),
        ("{at: 2s, link: a, crash: b/c}", "SCEN-0010"),
        ("{at: 2s, link: a}", "SCEN-0012"),
        ("{at: 2s, link: a, set: {dely: 1s}}", "SCEN-0001"),
        ("{at: 2s, crash: a, cpus: 3}", "SCEN-0011"),
        ("{at: 2s, crash: a, for: 3s}", "SCEN-0013"),
        ("{at: [3s, 2s], hog: a/b, cpus: 1}", "SCEN-0015"),
        ("{at: 3s, hog: a/b, cpus: 1, times: 3}", "SCEN-0014"),
        ("{at: 3s, move: a}", "SCEN-0012"),
        ("{at: soon, crash: a}", "SCEN-0003"),
        ("{at: 1s, crash: {one_of: []}}", "SCEN-0003"),
    ],
)
def test_each_mistake_has_code_and_place(event: str, code: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        parse_scenario(f"{HEAD}events:\n- {{at: 1s, crash: a/b}}\n- {event}\n", "s.yaml")
    assert {(one.code, one.file, one.line) for one in caught.value.diagnostics} >= {(code, "s.yaml", 6)}


steps = st.builds(
    Step,
    st.floats(0, 1e6),
    st.sampled_from(["link", "pop", "crash", "hog", "move", "run"]),
    st.text(min_size=1, max_size=8),
    st.none() | st.floats(0.1, 100),
    st.dictionaries(st.sampled_from(["delay_s", "loss"]), st.none() | st.floats(0, 1), max_size=2),
    up=st.none() | st.booleans(),
    command=st.lists(st.text(max_size=5), max_size=3).map(tuple),
)


@given(st.lists(steps, max_size=5), st.integers(0, 2**40))
def test_a_log_gives_its_scenario_back(tmp_path_factory: Any, several: list[Step], seed: int) -> None:
    path = tmp_path_factory.mktemp("log") / "s.jsonl"
    scenario = Scenario("s", tuple(several), seed)
    lines = [head_line(scenario, "emu", 1.5)]
    for step in several:
        detail = {"run": 1, "step": to_plain(step), "late_s": 0.1}
        lines.append(step_line({"kind": "scenario.done", "at": 2.0, "detail": detail}))
        lines.append(step_line({"kind": "scenario.undone", "at": 2.0, "detail": detail}))
    path.write_text("".join(lines))
    assert read_log(path) == scenario
    path.write_text("".join(lines) + lines[-1][:-3])
    assert read_log(path) == scenario


def test_what_is_no_log_is_told(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    with pytest.raises(NotFound):
        read_log(path)
    for text in ("", "{}\n", "[]\n", "hello\n"):
        path.write_text(text)
        with pytest.raises(InvalidInput):
            read_log(path)
    path.write_text(head_line(Scenario("s", ()), "emu", 0.0) + "nonsense\n{}\n[]\n{}\n")
    with pytest.raises(InvalidInput) as caught:
        read_log(path)
    assert [one.line for one in caught.value.diagnostics] == [2, 4]
    with pytest.raises(NotFound):
        read_scenario(tmp_path / "none.yaml")
