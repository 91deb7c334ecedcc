"""The fixtures that tests elsewhere get from us, in test sessions of their own."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from sonata.embedding.testing import what_is_missing
from sonata.sdk.emulation_records import recorded

pytest_plugins = ["pytester"]
pytestmark = pytest.mark.serial

ROOT = Path(__file__).parents[2]
TOPOLOGY = """
apiVersion: sonata/v1
kind: Topology
name: Shared
pops: {a: {}, b: {}}
links: [{between: [a, b]}]
endpoints: {users: {attach: a}, origin: {attach: b}}
"""


@pytest.fixture
def session(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """A folder of tests with a topology, a home of its own, and this very Sonata."""
    monkeypatch.setenv("SONATA_HOME", str(pytester.path / "home"))
    monkeypatch.setenv("PYTHONPATH", str(ROOT / "src"))
    (pytester.path / "net.yaml").write_text(TOPOLOGY)
    return pytester


@pytest.fixture
def emulating(session: pytest.Pytester) -> pytest.Pytester:
    """The same where emulations can run."""
    if lacking := what_is_missing():
        pytest.skip(lacking)
    return session


def run(session: pytest.Pytester, text: str, *options: str) -> pytest.RunResult:
    session.makepyfile(text)
    result = session.runpytest_subprocess("-p", "sonata.pytest_plugin", "-p", "no:cacheprovider", "-rs", *options)
    assert [record.name for record in recorded()] == [], "nothing is left when a session is over"
    return result


@pytest.mark.root
def test_tests_of_a_module_share_the_emulation_of_their_marker(emulating: pytest.Pytester) -> None:
    result = run(
        emulating,
        """
        import pytest
        seen = set()
        pytestmark = pytest.mark.sonata_topology("net.yaml")

        def test_reached(sonata_emulation):
            (origin, *_) = sonata_emulation.addresses("origin")
            sonata_emulation.exec("users", f"ping -c1 -W5 {origin}", check=True)
            seen.add(sonata_emulation.name)

        def test_same(sonata_emulation):
            assert {sonata_emulation.name} == seen
            assert sonata_emulation.name.startswith("shared-")
            assert not sonata_emulation.url.endswith(":8901")

        @pytest.mark.sonata_topology("net.yaml", scope="function")
        def test_another(sonata_emulation):
            assert sonata_emulation.name not in seen
        """,
    )
    result.assert_outcomes(passed=3)


@pytest.mark.slow
@pytest.mark.root
def test_a_topology_may_be_a_value_and_fixtures_may_be_ones_own(emulating: pytest.Pytester) -> None:
    result = run(
        emulating,
        """
        import pytest
        from sonata.embedding import shapes, attach

        @pytest.mark.sonata_topology(shapes.line(2), scope="session")
        def test_value(sonata_emulation):
            assert len(sonata_emulation.topology.pops) == 2

        @pytest.fixture(scope="module")
        def own(sonata_emulator):
            with sonata_emulator(shapes.ring(3)) as emulation:
                yield emulation

        def test_own(own):
            assert len(own.links()) == 3

        def test_left_behind(sonata_emulator):
            assert attach(sonata_emulator(shapes.single()).start().name).url
        """,
    )
    result.assert_outcomes(passed=3)


@pytest.mark.root
@pytest.mark.slow
def test_failures_leave_nothing(emulating: pytest.Pytester) -> None:
    result = run(
        emulating,
        """
        import pytest

        @pytest.mark.sonata_topology("net.yaml")
        def test_fails(sonata_emulation):
            assert sonata_emulation.exec("users", "false").status == 0
        """,
    )
    result.assert_outcomes(failed=1)


@pytest.mark.slow
@pytest.mark.root
def test_an_interrupted_session_leaves_nothing(emulating: pytest.Pytester) -> None:
    file = emulating.makepyfile(
        """
        import pytest, sys, time

        @pytest.mark.sonata_topology("net.yaml")
        def test_waits(sonata_emulation):
            print("READY", flush=True)
            time.sleep(60)
        """
    )
    command = [sys.executable, "-m", "pytest", "-s", "-p", "sonata.pytest_plugin", "-p", "no:cacheprovider", str(file)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True) as running:
        assert running.stdout is not None
        assert any("READY" in line for line in running.stdout)
        (record,) = recorded()
        running.send_signal(signal.SIGINT)
        running.communicate(timeout=60)
    assert running.returncode == pytest.ExitCode.INTERRUPTED
    assert not record.is_running
    assert [record.name for record in recorded()] == []


@pytest.mark.slow
def test_a_machine_that_cannot_skips_with_the_reason(session: pytest.Pytester) -> None:
    session.makeconftest(
        """
        import pytest
        import sonata.embedding.testing as testing
        from sonata.adapters.host_probe import Finding

        @pytest.fixture(autouse=True, scope="session")
        def _poor_machine():
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(testing, "probe", lambda: [Finding("kernel", "veth", "missing", "no such device")])
                yield
        """
    )
    result = run(
        session,
        """
        import pytest

        @pytest.mark.sonata_topology("net.yaml")
        def test_skipped(sonata_emulation):
            raise AssertionError

        def test_goes_on():
            pass
        """,
    )
    result.assert_outcomes(passed=1, skipped=1)
    result.stdout.fnmatch_lines(["*emulations cannot run here*veth: no such device*"])


@pytest.mark.parametrize(
    ("marker", "told"),
    [
        ("", "*mark the test with*"),
        ("@pytest.mark.sonata_topology()", "*mark the test with*"),
        ('@pytest.mark.sonata_topology("net.yaml", scope="galaxy")', "*`galaxy` is no scope*"),
        ('@pytest.mark.sonata_topology("none.yaml")', "*none.yaml*"),
    ],
)
@pytest.mark.slow
def test_a_wrong_marker_is_told(session: pytest.Pytester, marker: str, told: str) -> None:
    result = run(session, f"import pytest\n\n{marker}\ndef test_it(sonata_emulation):\n    pass\n")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines([told])


def test_sessions_that_ask_for_nothing_import_nothing(session: pytest.Pytester) -> None:
    result = run(
        session,
        """
        import sys

        def test_it():
            ours = {name for name in sys.modules if name.startswith("sonata")}
            assert ours == {"sonata", "sonata.pytest_plugin"}
            assert not {"httpx", "yaml", "pydantic"} & set(sys.modules)
        """,
        "--strict-markers",
    )
    result.assert_outcomes(passed=1)
