"""The reference tells of everything that is there: commands, paths, codes, keys."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from sonata.api.emulator.app import EmulatorApi
from sonata.api.emulator.wan import WanApi
from sonata.api.northbound.app import northbound_app
from sonata.api.openstack.app import Surface
from sonata.api.openstack.compute.bodies import SERVER_ACTIONS
from sonata.api.openstack.compute.server_actions import ACTIONS
from sonata.api.openstack.network.routes import RESOURCES
from sonata.api.openstack.topic import GENERAL, NOTHING_TOLD
from sonata.formats import topology_document
from sonata.formats.diagnostics import StrictModel, field_names

ROOT = Path(__file__).parents[3]
REFERENCE = ROOT / "docs" / "reference"
NOTHING = cast("Any", SimpleNamespace())


def page(name: str) -> str:
    return (REFERENCE / f"{name}.md").read_text()


def test_command_line_reference_is_current() -> None:
    tool = [sys.executable, str(ROOT / "tools" / "cli_reference.py"), "--check"]
    checked = subprocess.run(tool, capture_output=True, text=True, timeout=60, check=False)
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_reference_of_metrics_is_current() -> None:
    tool = [sys.executable, str(ROOT / "tools" / "metrics_reference.py"), "--check"]
    checked = subprocess.run(tool, capture_output=True, text=True, timeout=60, check=False)
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_every_path_of_the_platform_is_there() -> None:
    paths = northbound_app(NOTHING, "token").openapi()["paths"]
    assert paths
    rows = [re.sub(r"{\w+}", "{}", line) for line in page("api").splitlines()]
    for path, methods in paths.items():
        for method in methods:
            wanted = f"`{method.upper()} {re.sub(r'{[^}]+}', '{}', path.removeprefix('/api/v3'))}`"
            assert any(wanted in row for row in rows), wanted


def test_every_path_of_the_emulator_is_there() -> None:
    text = page("api")
    own = EmulatorApi(NOTHING, dict, "")
    routes = own.routes(lambda handler: handler) + WanApi(NOTHING, list).routes(lambda handler: handler)
    for route in routes:
        (method,) = set(getattr(route, "methods", {"GET"})) - {"HEAD"}  # a WebSocket begins with a GET
        assert f"`{method} {route.path.replace(':path', '')}`" in text, route.path


def codes_in_source() -> set[str]:
    text = "\n".join(path.read_text() for path in (ROOT / "src").rglob("*.py"))
    literal = set(re.findall(r'"([A-Z]+-\d{4})"', text))
    return literal | set(re.findall(r'f"{(?:subject\.)?prefix}-(\d{4})"', text))


def test_every_code_is_explained() -> None:
    text = page("errors") + page("topology") + page("scenario")
    codes = codes_in_source()
    assert len(codes) > 60
    assert [code for code in sorted(codes) if code not in text] == []


@pytest.mark.parametrize(
    "model",
    [each for each in vars(topology_document).values() if isinstance(each, type) and issubclass(each, StrictModel)],
)
def test_every_key_of_a_topology_is_explained(model: type[StrictModel]) -> None:
    text = page("topology")
    assert [key for key in field_names(model) if f"`{key}`" not in text] == []


def test_every_network_resource_and_server_action_is_listed() -> None:
    text = page("openstack-api")
    assert [each.path for each in RESOURCES if f"{each.path}`" not in text] == []
    assert [name for name in ACTIONS if f"`{name}`" not in text] == []


def test_every_page_is_in_the_menu() -> None:
    menu = (ROOT / "mkdocs.yml").read_text()
    pages = [str(path.relative_to(ROOT / "docs")) for path in (ROOT / "docs").rglob("*.md")]
    assert [name for name in pages if name not in menu] == []


def test_every_part_of_the_openstack_apis_tells_what_is_real() -> None:
    topics = {target.topic for routes in Surface({}, "").services.values() for *_, target in routes}
    assert [topic.title for topic in topics - {GENERAL} if topic.truth == NOTHING_TOLD] == []


def test_every_server_action_has_a_body() -> None:
    assert set(ACTIONS) == set(SERVER_ACTIONS)


def test_the_openstack_reference_is_current() -> None:
    tool = [sys.executable, str(ROOT / "tools" / "openstack_reference.py"), "--check"]
    checked = subprocess.run(tool, capture_output=True, text=True, timeout=60, check=False)
    assert checked.returncode == 0, checked.stdout + checked.stderr
