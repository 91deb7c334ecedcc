"""Scenarios on a running emulation: packets, programs and processors feel them, and a log does it all again."""

from __future__ import annotations

import json
import re
import signal
import subprocess

import pytest

from tests.scenario.emu_command import ORIGIN, Emu
from tests.waiting import eventually

pytestmark = [pytest.mark.root, pytest.mark.serial]

HEAD = "apiVersion: sonata/v1\nkind: Scenario\nname: trouble\nevents:\n"


def scenario(emu: Emu, *events: str) -> str:
    file = emu.home / "trouble.yaml"
    file.write_text(HEAD + "".join(f"- {{{event}}}\n" for event in events))
    return str(file)


def steps_of(log: str) -> list[tuple[str, float, str, str]]:
    lines = [json.loads(line) for line in log.splitlines()[1:]]
    return [(line["kind"], line["step"]["at_s"], line["step"]["action"], line["step"]["target"]) for line in lines]


def test_links_go_and_come_at_their_times_and_a_log_does_it_again(emu: Emu) -> None:
    emu.up()
    file = scenario(
        emu,
        "at: 0s, link: ab, set: {delay: 30ms}, for: 4s",
        f"at: 200ms, run: users, command: [ping, -c, '3', -i, '0.2', {ORIGIN}]",
        "at: 1500ms, link: [b, c], up: false, for: 1s",
        "at: [2s, 3s], times: 3, link: {one_of: [ab, bc]}, set: {loss: 0%}",
        f"at: 1700ms, run: users, command: [ping, -c, '1', -W, '1', {ORIGIN}]",
    )
    first = emu.home / "first.jsonl"
    failed = emu.run("scenario", "run", file, "--log", str(first))
    assert failed.returncode == 1, failed.stderr
    assert "1 of 7 steps could not be done" in failed.stderr
    pings = [json.loads(line) for line in first.read_text().splitlines()[1:]]
    out = next(line["stdout"] for line in pings if line["kind"] == "scenario.done" and line["step"]["action"] == "run")
    assert float(re.search(r"min/avg/max/mdev = ([\d.]+)/", out)[1]) >= 62  # type: ignore[index]
    assert max(line["late_s"] for line in pings) < 1.0

    second = emu.home / "second.jsonl"
    assert emu.run("scenario", "replay", str(first), "--log", str(second)).returncode == 1
    assert sorted(steps_of(second.read_text())) == sorted(steps_of(first.read_text()))
    links = {link["name"]: link for link in emu.json("link", "ls")}
    assert (links["ab"]["impairment"]["delay_s"], links["bc"]["up"]) == (0.01, True)
    assert [run["state"] for run in emu.json("scenario", "ls")] == ["ended", "ended"]


def test_a_program_crashes_and_a_hog_takes_the_processor(emu: Emu) -> None:
    emu.up()
    file = scenario(emu, "at: 0s, hog: origin, cpus: 1, memory: 30MiB, for: 2s", "at: 2500ms, crash: origin")
    emu.ok("scenario", "run", file, "--detach")
    eventually(lambda: [row["status"] for row in emu.json("endpoint", "ls") if row["name"] == "origin"] == ["ended"])
    kinds = [event["kind"] for event in emu.json("events", "--kind", "scenario.")]
    assert kinds == ["scenario.started", "scenario.done", "scenario.undone", "scenario.done", "scenario.ended"]


def test_ctrl_c_undoes_what_was_to_be_undone(emu: Emu) -> None:
    footprint = emu.up()
    file = scenario(emu, "at: 0s, pop: b, up: false, for: 1h", "at: 1h, crash: origin")
    running = subprocess.Popen(
        emu.command("scenario", "run", file, "-o", "json"), env=emu.env, stdout=subprocess.PIPE, text=True
    )
    try:
        assert running.stdout
        assert [json.loads(running.stdout.readline())["kind"] for _ in range(2)] == [
            "scenario.started",
            "scenario.done",
        ]
        assert not any(link["up"] for link in emu.json("link", "ls") if "b" in (link["a"], link["b"]))
        running.send_signal(signal.SIGINT)
        assert running.wait(20) == 130
    finally:
        running.kill()
        running.communicate()
    assert all(link["up"] for link in emu.json("link", "ls"))
    assert emu.run("exec", "users", "--", "ping", "-c", "1", ORIGIN).returncode == 0
    emu.ok("down")
    assert footprint.leftovers() == []


@pytest.mark.slow
def test_mistakes_are_told_before_anything_happens(emu: Emu) -> None:
    emu.up()
    refused = emu.run("scenario", "run", scenario(emu, "at: 0s, link: xy, up: false", "at: 0s, pop: z, up: false"))
    assert refused.returncode == 2
    assert "`xy`" in refused.stderr
    assert "`z`" in refused.stderr
    refused = emu.run("scenario", "run", scenario(emu, "at: 0s, link: ab", "at: 0s, crush: origin"))
    assert refused.returncode == 2
    assert "trouble.yaml:6:" in refused.stderr
    assert "did you mean `crash`?" in refused.stderr
    planned = emu.json("scenario", "run", scenario(emu, "at: 0s, every: 1s, times: 3, crash: origin"), "--dry-run")
    assert [step["at_s"] for step in planned] == [0.0, 1.0, 2.0]
    assert emu.json("scenario", "ls") == []
