"""What every manager host keeps: managers are asked, bounded in time, and stopped with a reason when they misbehave."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from tests.contract.managers import authors
from tests.fakes.processes import PlainProcesses, python_here, source_path

from sonata.adapters.bus_local import LocalBus
from sonata.adapters.manager_host import PythonLaunch, SandboxedManagers
from sonata.errors import InvalidInput, ManagerError
from sonata.mano.managers import EventPolicy, ask_placement, problem_to_json
from sonata.ports.managers import ManagerLaunch

pytestmark = pytest.mark.anyio
NAME = "ns-1.cdn"


def launching(code: str, name: str = NAME, **options: Any) -> ManagerLaunch:
    files = {"managers/author.py": code.encode(), "data/table.txt": b"42"}
    return ManagerLaunch(name, "managers/author.py", files, **{"start_timeout_s": 20.0, **options})


async def ask(host: SandboxedManagers, name: str = NAME, timeout_s: float = 10.0) -> Mapping[str, Any]:
    return await host.ask(name, "placement", problem_to_json(authors.STATE.problem), timeout_s=timeout_s)


async def test_a_manager_decides(host: SandboxedManagers) -> None:
    await host.launch(launching(authors.GOOD))
    for _ in range(2):
        assert await ask(host) == {"mapping": {"cache": "edge"}, "reason": "near"}
    assert (await host.logs(NAME)).count("asked") == 2


async def test_the_decision_is_read_and_checked(host: SandboxedManagers) -> None:
    await host.launch(launching(authors.GOOD))
    placement = await ask_placement(host, NAME, authors.STATE.problem)
    assert placement.mapping == {"cache": "edge"}
    with pytest.raises(ManagerError, match="forbids"):
        await ask_placement(host, NAME, authors.STATE.problem, EventPolicy("forbid"))
    with pytest.raises(ManagerError, match="does not permit `cache` at `edge`"):
        await ask_placement(host, NAME, authors.STATE.problem, EventPolicy("bound", frozenset({"core"})))


async def test_a_lie_is_caught_and_the_manager_lives_on(host: SandboxedManagers) -> None:
    await host.launch(launching(authors.LYING))
    for _ in range(2):
        with pytest.raises(ManagerError, match="unknown PoP `atlantis`"):
            await ask_placement(host, NAME, authors.STATE.problem)


async def test_launching_twice_is_one_manager(host: SandboxedManagers) -> None:
    await asyncio.gather(*(host.launch(launching(authors.GOOD)) for _ in range(2)))
    await host.launch(launching(authors.GOOD))
    await ask(host)
    assert (await host.logs(NAME)).count("manager registered") == 1


async def test_a_spare_sandbox_becomes_the_manager(host: SandboxedManagers, folder: Path) -> None:
    await host.warm_up()
    await host.warm_up()
    spare = spare_of(folder)
    await host.launch(launching(authors.GOOD))
    await host.launch(launching(authors.GOOD, "ns-2.cdn"))  # there is but one spare
    assert spare in sandboxes_of(folder), "the spare's folder is the manager's"
    assert await ask(host) == await ask(host, "ns-2.cdn")
    assert (await host.logs(NAME)).count("asked") == 1
    await host.stop(NAME)
    assert (await host.logs(NAME)).count("asked") == 1
    assert not list(folder.rglob(spare))


async def test_a_spare_that_died_is_not_missed(bus: LocalBus, folder: Path) -> None:
    processes = PlainProcesses()
    host = SandboxedManagers(bus, processes, folder, PythonLaunch(python_here(), env={"PYTHONPATH": source_path()}))
    await host.warm_up()
    (spare,) = processes.pids()
    os.kill(spare, signal.SIGKILL)
    while list(folder.rglob("bus/entry")):
        await asyncio.sleep(0.01)
    await host.launch(launching(authors.GOOD))
    assert await ask(host)
    await host.close()


async def test_a_spare_is_bounded_as_the_launch_asks(host: SandboxedManagers, folder: Path) -> None:
    await host.warm_up()
    spare = spare_of(folder)
    await host.launch(launching(authors.GOOD, memory_bytes=128 * 1024**2))
    assert await ask(host)
    assert spare in sandboxes_of(folder)


def spare_of(folder: Path) -> str:
    """Name of the only sandbox whose entry pipe has been made."""
    (spare,) = sandboxes_of(folder)
    return spare


def sandboxes_of(folder: Path) -> set[str]:
    """Names of the sandboxes whose entry pipes have been made; a while after a launch the next spare is among them."""
    return {entry.parent.parent.name for entry in folder.rglob("bus/entry")}


async def test_managers_do_not_meet(host: SandboxedManagers) -> None:
    await host.launch(launching(authors.GOOD, "ns-1.a"))
    await host.launch(launching(authors.RAISING, "ns-1.a.b"))
    with pytest.raises(ManagerError, match="no pops left"):
        await ask(host, "ns-1.a.b")
    await host.stop("ns-1.a.b")
    assert await ask(host, "ns-1.a")


async def test_what_an_author_raises_fails_the_event_alone(host: SandboxedManagers) -> None:
    await host.launch(launching(authors.RAISING))
    for _ in range(2):
        with pytest.raises(
            ManagerError, match=r"(?s)failed on `placement`.*author.py.*ZeroDivisionError: no pops left"
        ):
            await ask(host)


@pytest.mark.parametrize("code", [authors.STALLING, authors.SPINNING], ids=["stalling", "spinning"])
async def test_a_manager_that_stalls_is_stopped(host: SandboxedManagers, code: str) -> None:
    await host.launch(launching(code))
    with pytest.raises(ManagerError, match=r"was stopped: it gave no answer to `placement` within 0.3 s"):
        await ask(host, timeout_s=0.3)
    with pytest.raises(ManagerError, match="does not run: it gave no answer"):
        await ask(host)


async def test_a_manager_that_dies_is_told_with_its_last_words(host: SandboxedManagers) -> None:
    await host.launch(launching(authors.DYING))
    with pytest.raises(ManagerError, match=r"(?s)was stopped.*goodbye"):
        await ask(host)
    with pytest.raises(ManagerError, match="does not run"):
        await ask(host)
    assert "goodbye" in await host.logs(NAME)


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (authors.NONSENSE, "must be JSON"),
        (authors.NO_OBJECT, "must be a JSON object, not list"),
        (authors.HUGE, "too big"),
    ],
    ids=["nonsense", "no-object", "huge"],
)
async def test_a_manager_that_answers_nonsense_is_stopped(host: SandboxedManagers, code: str, reason: str) -> None:
    await host.launch(launching(code))
    with pytest.raises(ManagerError, match=f"was stopped: .*{reason}"):
        await ask(host)
    with pytest.raises(ManagerError, match="does not run"):
        await ask(host)


async def test_a_decision_that_is_too_long_fails_the_event(host: SandboxedManagers) -> None:
    await host.launch(launching(authors.CHATTY))
    with pytest.raises(ManagerError, match="1048576 are allowed"):
        await ask(host)


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (authors.BROKEN, r"ended by itself.*hello.*no_such_module_anywhere"),
        (authors.EMPTY, r"ended by itself.*defines no manager"),
        (authors.OUTDATED, "version `99`"),
    ],
    ids=["broken", "empty", "outdated"],
)
async def test_a_manager_that_cannot_start_is_told_why(host: SandboxedManagers, code: str, reason: str) -> None:
    with pytest.raises(ManagerError, match=rf"(?s)did not start: .*{reason}") as caught:
        await host.launch(launching(code))
    assert NAME in str(caught.value)
    with pytest.raises(ManagerError, match="does not run"):
        await ask(host)


async def test_a_manager_that_never_registers_is_stopped(host: SandboxedManagers) -> None:
    with pytest.raises(ManagerError, match=r"(?s)did not register within 1 s.*asleep"):
        await host.launch(launching(authors.SILENT, start_timeout_s=1.0))


async def test_after_a_failure_it_can_be_launched_again(host: SandboxedManagers) -> None:
    with pytest.raises(ManagerError):
        await host.launch(launching(authors.BROKEN))
    await host.launch(launching(authors.GOOD))
    assert await ask(host)


async def test_an_event_nobody_registered_for_is_refused(host: SandboxedManagers) -> None:
    await host.launch(launching(authors.GOOD))
    with pytest.raises(ManagerError, match="does not answer `scale`, only: placement"):
        await host.ask(NAME, "scale", {}, timeout_s=1)


async def test_stopping_is_idempotent_and_leaves_the_log_alone(host: SandboxedManagers, folder: Path) -> None:
    await host.launch(launching(authors.GOOD))
    await ask(host)
    await host.stop(NAME)
    await host.stop(NAME)
    await host.stop("never-started")
    assert "asked" in await host.logs(NAME)
    assert await host.logs("never-started") == ""
    assert [path.name for path in folder.rglob("author.py")] == []
    assert [path.name for path in folder.rglob("bus.sock")] == []
    with pytest.raises(ManagerError, match="does not run: it was stopped"):
        await ask(host)


@pytest.mark.parametrize("path", ["/etc/x", "../x", "a/../../x", ""])
async def test_files_stay_inside_of_the_package(host: SandboxedManagers, path: str) -> None:
    files = {"author.py": authors.GOOD.encode(), path: b""}
    with pytest.raises(InvalidInput, match="no path inside"):
        await host.launch(ManagerLaunch(NAME, "author.py", files))


async def test_a_file_that_is_a_folder_too_is_refused(host: SandboxedManagers) -> None:
    files = {"author.py": authors.GOOD.encode(), "a": b"", "a/b": b""}
    with pytest.raises(InvalidInput, match="both a file and a folder"):
        await host.launch(ManagerLaunch(NAME, "author.py", files))


async def test_a_missing_entry_is_told(host: SandboxedManagers) -> None:
    with pytest.raises(ManagerError, match=r"`main\.py` is not in its package"):
        await host.launch(ManagerLaunch(NAME, "main.py", {"author.py": b""}))


@pytest.mark.parametrize("name", ["", "a/b", "../a", "a#", "a*", "a b", ".a", "x" * 300])
async def test_odd_instance_names_are_refused(host: SandboxedManagers, name: str) -> None:
    with pytest.raises(InvalidInput):
        await host.launch(launching(authors.GOOD, name))
