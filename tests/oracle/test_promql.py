"""Queries over the history come to what a real Prometheus answers on the same samples."""

from __future__ import annotations

import json
import math
import random
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from sonata.emulator.observing.history import History
from sonata.emulator.observing.promql import understand
from sonata.emulator.observing.rules import read_rules
from sonata.model.metrics import Family, Point

NEEDED = ("prometheus", "promtool")
pytestmark = [
    pytest.mark.serial,
    pytest.mark.skipif(
        not all(map(shutil.which, NEEDED)), reason="needs `prometheus` and `promtool`: apt-get install prometheus"
    ),
]

EVERY_S, COUNT = 5, 120
REQUESTS = Family("requests_total", "counter", "With new beginnings.", ("pop", "code"))
LOAD = Family("load", "gauge", "Up and down, below zero too.", ("pop",))
LIMIT = Family("limit", "gauge", "Of the same labels.", ("pop",))
LATE = Family("late_total", "counter", "Comes late.", ("pop",))

EXPRESSIONS = """
load
load{pop="a"}
load{pop!="a"}
load{pop=~"a|b"}
load{pop!~"a.*"}
{__name__=~"lo.*|limit"}
rate(requests_total[1m])
rate(requests_total[7s])
rate(requests_total[17s])
increase(requests_total[2m])
increase(late_total[5m])
rate(late_total[10m])
avg_over_time(load[1m])
min_over_time(load[1m])
max_over_time(load[1m])
sum_over_time(load[90s])
count_over_time(load[91s])
count_over_time(late_total[10m])
sum(load)
sum by (pop) (rate(requests_total[1m]))
sum without (pop) (requests_total)
sum by (nothing) (load)
avg by (code) (requests_total)
min(requests_total)
max by (pop) (requests_total)
count(requests_total)
count by (__name__) ({__name__=~"load|limit"})
load + 1
1 - load
-load
-(load * 2)
load / limit
load - limit
load % 3
-7 % 3
load ^ 2
(-8) ^ 0.5
load / 0
0 / 0
1 / 0
2 ^ 3 ^ 2
load > 0
load > bool 0
0 < load
load >= limit
load == bool limit
load != limit
load < bool limit
1 > bool 2
sum(load) / count(load)
sum by (pop) (rate(requests_total[1m])) / sum by (pop) (rate(requests_total{code="200"}[1m]))
100 * (limit - load) / limit
nothing_of_this_name
rate(nothing_of_this_name[1m])
max(rate(requests_total[1m])) - min(rate(requests_total[1m]))
""".strip().splitlines()


def points(number: int, chance: random.Random) -> dict[Family, list[Point]]:
    """What is read at a moment."""
    found: dict[Family, list[Point]] = {REQUESTS: [], LOAD: [], LIMIT: [], LATE: []}
    for pop in "abc":
        for step, code in ((3, "200"), (1, "500")):
            count = (number * step * (ord(pop) - 90)) % 700  # begins anew every now and then
            found[REQUESTS].append(Point(REQUESTS.labelled(pop, code), count))
        found[LOAD].append(Point(LOAD.labelled(pop), round(chance.uniform(-5, 5), 3)))
        found[LIMIT].append(Point(LIMIT.labelled(pop), 4.0 if pop != "c" else found[LOAD][-1].value))
    if number > COUNT // 2:
        found[LATE].append(Point(LATE.labelled("a"), 5 * (number - COUNT // 2)))
    return found


@pytest.fixture(scope="module")
def history() -> tuple[History, list[tuple[float, dict[Family, list[Point]]]]]:
    chance = random.Random(7)
    end = int(time.time()) - 60
    told = [(float(end - (COUNT - number) * EVERY_S), points(number, chance)) for number in range(COUNT)]
    made = History()
    for at, readings in told:
        made.record(at, readings)
    return made, told


@pytest.fixture(scope="module")
def url(
    history: tuple[History, list[tuple[float, dict[Family, list[Point]]]]], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """A Prometheus on loopback that has the same samples."""
    folder = tmp_path_factory.mktemp("prometheus")
    text = folder / "samples.om"
    text.write_text(written(history[1]))
    made = ["promtool", "tsdb", "create-blocks-from", "openmetrics", str(text), str(folder / "data")]
    subprocess.run(made, check=True, capture_output=True, timeout=60)
    (folder / "prometheus.yml").write_text("scrape_configs: []\n")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    process = subprocess.Popen(
        [
            "prometheus",
            f"--config.file={folder / 'prometheus.yml'}",
            f"--storage.tsdb.path={folder / 'data'}",
            f"--web.listen-address=127.0.0.1:{port}",
            "--log.level=error",
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        address = f"http://127.0.0.1:{port}"
        wait_ready(address, process)
        yield address
    finally:
        process.terminate()
        process.wait(30)


def written(told: list[tuple[float, dict[Family, list[Point]]]]) -> str:
    """All samples of each family together, as OpenMetrics wants it."""
    lines = []
    for family in told[0][1]:
        name = family.name.removesuffix("_total")
        lines.append(f"# TYPE {name} {family.kind}")
        series: dict[str, list[str]] = {}
        for at, readings in told:
            for labels, value, _ in readings[family]:
                braced = ",".join(f'{key}="{text}"' for key, text in labels)
                series.setdefault(braced, []).append(f"{family.name}{{{braced}}} {value!r} {at}")
        lines += [line for each in series.values() for line in each]
    return "\n".join([*lines, "# EOF", ""])


def wait_ready(address: str, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with urllib.request.urlopen(f"{address}/-/ready", timeout=5):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.1)
    pytest.fail("Prometheus is not ready")


def asked(address: str, query: str, at: float) -> dict[str, float]:
    arguments = urllib.parse.urlencode({"query": query, "time": at})
    with urllib.request.urlopen(f"{address}/api/v1/query?{arguments}", timeout=30) as answer:
        data = json.load(answer)["data"]
    if data["resultType"] == "scalar":
        return {"": float(data["result"][1])}
    return {str(sorted(one["metric"].items())): float(one["value"][1]) for one in data["result"]}


def ours(history: History, query: str, at: float) -> dict[str, float]:
    value = understand(query)(history, at)
    if isinstance(value, float):
        return {"": value}
    found = {}
    for one in value:
        name = {"__name__": one.name} if one.name else {}
        found[str(sorted({**name, **dict(one.labels)}.items()))] = one.value
    assert len(found) == len(value)
    return found


@pytest.mark.parametrize("query", EXPRESSIONS)
def test_a_query_comes_to_what_prometheus_says(
    history: tuple[History, list[tuple[float, dict[Family, list[Point]]]]], url: str, query: str
) -> None:
    times = [at for at, _ in history[1]]
    for at in (times[3], times[40] + 2.5, times[75] + 0.25, times[-1], times[-1] + 4, times[-1] + 200, times[-1] + 400):
        theirs, own = asked(url, query, at), ours(history[0], query, at)
        assert own.keys() == theirs.keys(), (query, at - times[0])
        for key, value in theirs.items():
            same = math.isclose(own[key], value, rel_tol=1e-9, abs_tol=1e-12) or (
                math.isnan(own[key]) and math.isnan(value)
            )
            assert same, (query, at - times[0], key, own[key], value)


def test_rules_that_we_take_load_in_prometheus(tmp_path: Path) -> None:
    text = "groups:\n- name: ours\n  interval: 10s\n  rules:\n"
    for number, query in enumerate(EXPRESSIONS):
        text += f"  - record: rule:number{number}\n    expr: '{query}'\n    labels: {{team: blue}}\n"
    assert len(list(read_rules(text))) == len(EXPRESSIONS)
    file = tmp_path / "rules.yml"
    file.write_text(text)
    checked = subprocess.run(["promtool", "check", "rules", str(file)], capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout + checked.stderr
