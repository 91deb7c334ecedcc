"""The examples in the author kit's own documentation run."""

from __future__ import annotations

import doctest
import importlib

import pytest


@pytest.mark.parametrize("module", ["", ".author", ".state", ".testing"])
def test_examples_run(module: str) -> None:
    result = doctest.testmod(importlib.import_module(f"sonata.managers{module}"))
    assert result.attempted > 0
    assert result.failed == 0
