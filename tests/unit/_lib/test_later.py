"""A module that stands for another is that one from its first use on, and costs nothing before."""

from __future__ import annotations

import subprocess
import sys

import pytest

from sonata._lib.later import later

CODE = """
import sys
from sonata._lib.later import later
calendar, xml = later("calendar"), later("xml", "sax.handler", "sax.saxutils")
assert not {"calendar", "xml"} & set(sys.modules)
assert calendar.isleap(2024) and xml.sax.saxutils.escape("<") == "&lt;"
assert {"calendar", "xml.sax.handler"} <= set(sys.modules)
"""


def test_is_imported_by_the_first_use() -> None:
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_what_is_not_there_is_told_as_the_module_tells_it() -> None:
    with pytest.raises(AttributeError, match="module 'json' has no attribute 'nothing'"):
        _ = later("json").nothing
    with pytest.raises(ModuleNotFoundError, match="no_such_module"):
        _ = later("no_such_module").anything


def test_finds_what_the_module_has() -> None:
    json = later("json")
    assert json.loads is json.loads
    assert json.loads("[1]") == [1]
