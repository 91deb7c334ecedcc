"""`sonata emu up` on a running emulation: the difference alone while packets flow; plans, refusals, save, return."""

from __future__ import annotations

import json
import re
from pathlib import Path

import openstack
import pytest

from sonata.sdk.emulator_client import EmulatorClient
from tests.scenario.clouds import boot, let_in, network_of, route, site
from tests.scenario.emu_command import ORIGIN, Emu, kill, settle
from tests.scenario.test_emu_wan import through_proxy

pytestmark = [pytest.mark.root, pytest.mark.serial]

LATE = "100.64.3.10"


def changed(emu: Emu, *edits: tuple[str, str]) -> Path:
    """The line with some text replaced, as a file of its own."""
    text = emu.topology.read_text()
    for old, new in edits:
        assert old in text
        text = text.replace(old, new, 1)
    file = emu.home / "changed.yaml"
    file.write_text(text)
    return file


def longer(emu: Emu) -> Path:
    """The line with a fourth PoP, an endpoint and a server there."""
    return changed(
        emu,
        ("  c: {}\n", "  c: {}\n  d: {cpus: 4}\n"),
        ("endpoints:\n", "  - {name: cd, between: [c, d], delay: 5ms}\nendpoints:\n"),
        ("endpoints:\n", "endpoints:\n  late: {attach: d, command: [sleep, infinity]}\n"),
    )


def with_server(file: Path, pop: str) -> Path:
    file.write_text(file.read_text() + f"servers:\n  far: {{pop: {pop}}}\n")
    return file


def apply(emu: Emu, file: Path) -> str:
    """Change the running emulation; what was told."""
    done = emu.here("up", str(file))
    assert done.returncode == 0, done.stderr
    return done.stderr


def plan(emu: Emu, file: Path) -> tuple[int, list[str]]:
    """Exit status and lines of a plan."""
    done = emu.here("up", str(file), "--dry-run", "--exit-code")
    assert done.returncode in (0, 3), done.stderr
    return done.returncode, done.stdout.splitlines()


def client(emu: Emu) -> EmulatorClient:
    return EmulatorClient.of(emu.record())


def pings(emu: Emu, address: str) -> bool:
    return emu.run("exec", "users", "--", "ping", "-c", "1", "-W", "2", address).returncode == 0


def test_only_the_difference_is_changed_and_no_packet_of_others_is_lost(emu: Emu) -> None:
    emu.up()
    cloud = site(emu.record(), "c")
    with cloud:
        network = network_of(cloud, "10.5.0.0/24", "10.5.0.10", "10.5.0.99")
        route(cloud, network)
        (port,) = cloud.network.ports(device_id=boot(cloud, "one", network.id).id)
        external = cloud.network.find_network("external")
        floating = cloud.network.create_ip(floating_network_id=external.id, port_id=port.id).floating_ip_address
        let_in(cloud, "icmp")
    assert pings(emu, floating)
    before, file = emu.record(), with_server(longer(emu), "d")
    # Both go through the links ab and bc and the routes of three PoPs, all the time; they end by SIGINT.
    flows = [f"ping -n -i 0.005 {address} > /tmp/{number} &" for number, address in enumerate((ORIGIN, floating))]
    stop = "while [ ! -e /tmp/stop ]; do sleep 0.05; done; kill -INT %1 %2; wait; cat /tmp/0 /tmp/1"
    running = emu.aside("exec", "users", "--", "bash", "-c", f"{' '.join(flows)} echo begun >&2; {stop} >&2")
    assert running.stderr is not None
    assert "begun" in running.stderr.readline()
    for _ in range(5):
        assert "+ pop d" in apply(emu, file)
        assert pings(emu, LATE)
        assert "- pop d" in apply(emu, emu.topology)
    emu.ok("exec", "users", "--", "touch", "/tmp/stop")
    told = running.communicate(timeout=30)[1]
    for address in (ORIGIN, floating):
        seen = [int(found) for found in re.findall(rf"from {re.escape(address)}: icmp_seq=(\d+)", told)]
        assert len(seen) > 100, told
        assert seen == list(range(1, len(seen) + 1)), "a packet was lost, or came twice"
    after = emu.record()
    assert (after.process, after.url, after.topology) == (before.process, before.url, before.topology)


def test_a_new_site_is_one_as_the_others_and_leaves_nothing_when_it_goes(emu: Emu) -> None:
    footprint = emu.up()
    apply(emu, with_server(longer(emu), "d"))
    record = emu.record()
    assert set(record.topology.pops) == {"a", "b", "c", "d"}
    assert "/d/identity/v3" in emu.ok("openrc", "d")
    shown = emu.json("show")
    assert [pop["pop"] for pop in shown["pops"]] == ["a", "b", "c", "d"]
    assert {one["name"]: one["addresses"] for one in shown["machines"]}["late"] == [LATE]
    with site(record, "d") as cloud:
        assert [server.status for server in cloud.compute.servers()] == ["ACTIVE"]
        network = network_of(cloud, "10.6.0.0/24", "10.6.0.10", "10.6.0.99")
        boot(cloud, "own", network.id)
        cloud.block_storage.create_volume(size=1, name="v")
    assert through_proxy(record, LATE, 9)[0] == 4  # nobody listens, but the way is there
    assert "d" in emu.ok("graph", "--name", emu.name, "-o", "mermaid")
    settle()
    folder = emu.home / "state" / "emulations" / emu.name
    assert [path for path in folder.rglob("*") if path.name in ("pop-d.json", "d")]
    apply(emu, emu.topology)
    settle()
    assert not [path for path in folder.rglob("*") if path.name in ("pop-d.json", "d")]
    assert through_proxy(record, LATE, 9)[0] != 0
    with pytest.raises(openstack.exceptions.SDKException):
        site(record, "d").authorize()
    with client(emu) as asking:
        assert asking.status()["pops"] == 3
    emu.ok("down")
    assert footprint.leftovers() == []


def test_a_plan_tells_what_up_would_do_and_does_nothing(emu: Emu) -> None:
    status, lines = plan(emu, emu.topology)
    assert (status, len(lines)) == (3, 7)
    assert lines[0] == "+ pop a"
    emu.up()
    assert plan(emu, emu.topology) == (0, [])
    file = changed(
        emu,
        ("delay: 10ms", "delay: 30ms, reverse: {loss: 1%}"),
        ("b: {}", "b: {labels: {tier: edge}}"),
        ("users: {attach: a}", "users: {attach: c}"),
    )
    assert plan(emu, file) == (
        3,
        [
            "- endpoint users",
            "~ pop b: labels none -> {tier: edge}",
            "~ link ab: delay 10ms -> 30ms, reverse delay 10ms -> 30ms, reverse loss none -> 1%",
            "+ endpoint users: attach c, image host",
        ],
    )
    told = json.loads(emu.here("up", str(file), "--dry-run", "-o", "json").stdout)
    assert [(row["action"], row["kind"], row["name"]) for row in told["changes"]] == [
        ("remove", "endpoint", "users"),
        ("change", "pop", "b"),
        ("change", "link", "ab"),
        ("add", "endpoint", "users"),
    ]
    assert plan(emu, emu.topology) == (0, [])
    assert emu.here("up", str(file), "--exit-code").returncode == 2


def test_what_cannot_be_done_is_refused_whole(emu: Emu) -> None:
    emu.up()
    host, port = emu.record().url.removeprefix("http://").split(":")
    elsewhere = emu.here("up", str(emu.topology), "--listen", f"{host}:{int(port) ^ 1}")
    assert (elsewhere.returncode, "listens on" in elsewhere.stderr) == (6, True)
    assert emu.here("up", str(emu.topology), "--listen", f"{host}:{port}").returncode == 0
    file = changed(emu, ("c: {}", "c: {managed_by: b}"), ("command: [sleep, infinity]", "image: no-such-image"))
    refused = emu.here("up", str(file))
    assert refused.returncode == 6
    assert "PoP `c`" in refused.stderr
    assert "no-such-image" in refused.stderr
    assert plan(emu, emu.topology) == (0, [])
    assert pings(emu, ORIGIN)


def test_saved_and_started_again_it_is_an_equal_emulation(emu: Emu) -> None:
    emu.up()
    emu.ok("link", "set", "ab", "--delay", "40ms", "--jitter", "2ms", "--from", "b")
    emu.ok("link", "set", "bc", "--down")
    emu.ok("link", "set", "users", "a", "--loss", "0.5%")
    with site(emu.record(), "a") as cloud:
        network = network_of(cloud, "10.5.0.0/24", "10.5.0.10", "10.5.0.99")
        boot(cloud, "apart", network.id)
    apply(emu, with_server(changed(emu, ("name: bc,", "name: bc, up: false,")), "b"))
    emu.ok("link", "set", "ab", "--delay", "40ms", "--jitter", "2ms", "--from", "b")
    saved = emu.run("save", "--with-servers")
    assert saved.returncode == 0
    assert "`a/apart` is left out: it is not on the network `default` alone" in saved.stderr
    file = emu.home / "saved.yaml"
    file.write_text(saved.stdout)
    assert plan(emu, file) == (0, [])
    links, machines = emu.json("link", "ls"), emu.json("show")["machines"]
    emu.ok("down")
    emu.ok("up", str(file), "--listen", "127.0.0.1:0", "--detach")
    assert emu.ok("save") == saved.stdout
    told = ("name", "a", "b", "impairment", "reverse", "up")
    again = emu.json("link", "ls")
    assert [[link[key] for key in told] for link in again] == [[link[key] for key in told] for link in links]
    names = [machine["name"] for machine in machines if machine["name"] != "a/apart"]
    assert [machine["name"] for machine in emu.json("show")["machines"]] == names
    assert not pings(emu, ORIGIN)


def wide(emu: Emu) -> Path:
    """The line without `b`, with six more PoPs and a server in each."""
    names = [f"w{number}" for number in range(6)]
    file = changed(
        emu,
        ("  b: {}\n", "".join(f"  {name}: {{}}\n" for name in names)),
        ("  - {name: ab, between: [a, b], delay: 10ms}\n", "  - {name: ac, between: [a, c]}\n"),
        (
            "  - {name: bc, between: [b, c], rate: 100Mbit}\n",
            "".join(f"  - {{between: [c, {name}], delay: 1ms}}\n" for name in names),
        ),
    )
    file.write_text(file.read_text() + "servers:\n" + "".join(f"  s{name}: {{pop: {name}}}\n" for name in names))
    return file


@pytest.mark.parametrize(
    "moment",
    ["link.removed", *(pytest.param(other, marks=pytest.mark.slow) for other in ("pop.added", "server.created"))],
)
def test_killed_in_the_middle_it_comes_back_as_wanted(emu: Emu, moment: str) -> None:
    emu.up()
    with site(emu.record(), "c") as cloud:
        network = network_of(cloud, "10.5.0.0/24", "10.5.0.10", "10.5.0.99")
    file = wide(emu)
    settle()
    with client(emu) as watching:
        emu.aside("up", str(file))
        next(iter(watching.follow_events([moment])))
        kill(emu)
    emu.ok("up", str(file), "--listen", "127.0.0.1:0", "--detach")
    assert plan(emu, file) == (0, [])
    names = {"a", "c", *(f"w{number}" for number in range(6))}
    assert set(emu.record().topology.pops) == names
    machines = {machine["name"]: machine["status"] for machine in emu.json("show")["machines"]}
    assert {machines[f"{name}/s{name}"] for name in names if name.startswith("w")} == {"ACTIVE"}
    assert pings(emu, ORIGIN)  # PoP `c` keeps its address, though `b` before it is gone
    with site(emu.record(), "c") as cloud:
        assert cloud.network.find_network(network.id)
    saved = {path.name for path in (emu.home / "state" / "emulations" / emu.name / "clouds").glob("pop-*.json")}
    assert "pop-b.json" not in saved


def test_a_failure_half_way_is_told_and_the_same_command_goes_on(emu: Emu) -> None:
    emu.up()
    wanted = changed(emu, ("delay: 10ms", "delay: 20ms"))
    broken = emu.home / "broken.yaml"
    broken.write_text(
        wanted.read_text().replace("users: {attach: a}", "users: {attach: a}\n  bad: {attach: b, command: [/no/such]}")
    )
    failed = emu.here("up", str(broken))
    assert failed.returncode == 1
    assert "/no/such" in failed.stderr
    assert plan(emu, broken) == (3, ["+ endpoint bad: attach b, image host"])
    assert plan(emu, wanted) == (0, [])
    assert [one["name"] for one in emu.json("show")["machines"]] == ["users", "origin"]


def test_further_endpoints_take_addresses_that_openstack_has_not_given_out(emu: Emu) -> None:
    def crowded(count: int) -> Path:
        lines = "".join(f"  e{number}: {{attach: b}}\n" for number in range(count))
        return changed(emu, ("endpoints:\n", f"endpoints:\n{lines}"))

    emu.up()
    apply(emu, crowded(56))
    with site(emu.record(), "b") as cloud:
        network = cloud.network.find_network("external")
        (subnet,) = cloud.network.subnets(network_id=network.id, ip_version=4)
        assert [pool["end"] for pool in subnet.allocation_pools] == ["100.64.1.252"]
        assert pings(emu, "100.64.1.254")
        assert pings(emu, "100.64.1.253")
        taken = cloud.network.create_ip(floating_network_id=network.id, floating_ip_address="100.64.1.251")
        refused = emu.here("up", str(crowded(58)))
        assert refused.returncode != 0
        assert "100.64.1.251" in refused.stderr
        cloud.network.delete_ip(taken)
    apply(emu, crowded(58))
    assert pings(emu, "100.64.1.251")
