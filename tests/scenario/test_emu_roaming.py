"""Endpoints move between cells and sites: same address, same connections, another way."""

from __future__ import annotations

import re
import subprocess

import pytest

from tests.scenario.emu_command import Emu

pytestmark = [pytest.mark.root, pytest.mark.serial]

CELLS = """
apiVersion: sonata/v1
kind: Topology
name: {name}
pops:
  west: {{cells: [w1, w2]}}
  east: {{cells: [e1]}}
  core: {{}}
links:
  - {{name: wc, between: [west, core], delay: 5ms}}
  - {{name: ec, between: [east, core], delay: 25ms}}
endpoints:
  phone: {{attach: west, delay: 1ms}}
  friend: {{attach: west}}
  stranger: {{attach: east}}
  origin: {{attach: core}}
"""


def round_trip_s(emu: Emu, source: str, target: str) -> float:
    told = emu.ok("exec", source, "--", "ping", "-c", "3", "-i", "0.2", target)
    found = re.search(r"min/avg/max/mdev = ([\d.]+)/", told)
    assert found, told
    return float(found[1]) / 1000


def test_an_endpoint_keeps_its_address_and_connections_when_it_moves(emu: Emu) -> None:
    emu.topology.write_text(CELLS.format(name=emu.name))
    footprint = emu.up()
    addresses = {row["name"]: row["address"] for row in emu.json("endpoint", "ls")}
    assert 0.012 <= round_trip_s(emu, "phone", addresses["origin"]) < 0.04

    talk = subprocess.Popen(
        emu.command("exec", "phone", "--", "ping", "-i", "0.1", "-w", "60", "-c", "100", addresses["origin"]),
        env=emu.env,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        emu.ok("endpoint", "move", "phone", "--to", "e1")
        moved = {row["name"]: row for row in emu.json("endpoint", "ls")}["phone"]
        assert (moved["pop"], moved["cell"], moved["home"]) == ("east", "e1", "west")
        assert moved["address"] == addresses["phone"]
        assert round_trip_s(emu, "phone", addresses["origin"]) >= 0.052
        # Both ways, with those at home and those nearby, who know it by ARP alone.
        for other in ("friend", "stranger", "origin"):
            round_trip_s(emu, "phone", addresses[other])
            round_trip_s(emu, other, addresses["phone"])
        assert round_trip_s(emu, "stranger", addresses["phone"]) < 0.02
        emu.ok("endpoint", "move", "phone", "--to", "w2")
        for other in ("friend", "stranger", "origin"):
            round_trip_s(emu, "phone", addresses[other])
            round_trip_s(emu, other, addresses["phone"])
        assert round_trip_s(emu, "phone", addresses["origin"]) < 0.04
        out, _ = talk.communicate(timeout=80)
    finally:
        talk.kill()
        talk.communicate()
    received = re.search(r"(\d+) received", out)
    assert received
    assert int(received[1]) >= 95, out
    kinds = [(event["detail"]["pop"], event["detail"]["cell"]) for event in emu.json("events", "--kind", "endpoint.")]
    assert kinds == [("east", "e1"), ("west", "w2")]
    emu.ok("down")
    assert footprint.leftovers() == []


@pytest.mark.slow
def test_a_live_access_link_goes_along(emu: Emu) -> None:
    emu.topology.write_text(CELLS.format(name=emu.name))
    emu.up()
    emu.ok("link", "set", "phone", "west", "--delay", "30ms")
    emu.ok("endpoint", "move", "phone", "--to", "east")
    emu.ok("endpoint", "move", "phone", "--to", "core")
    links = {link["name"]: link for link in emu.json("link", "ls")}
    assert (links["access-phone"]["a"], links["access-phone"]["impairment"]["delay_s"]) == ("core", 0.03)
    address = {row["name"]: row["address"] for row in emu.json("endpoint", "ls")}["origin"]
    assert 0.06 <= round_trip_s(emu, "phone", address) < 0.09


@pytest.mark.slow
def test_what_cannot_be_moved_is_told(emu: Emu) -> None:
    emu.topology.write_text(CELLS.format(name=emu.name))
    emu.up()
    for arguments, code, told in (
        (("nobody", "--to", "e1"), 5, "no endpoint"),
        (("phone", "--to", "x9"), 5, "cells are e1, w1, w2"),
    ):
        refused = emu.run("endpoint", "move", *arguments)
        assert (refused.returncode, told in refused.stderr) == (code, True), refused.stderr
