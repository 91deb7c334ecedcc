"""`sonata ns`: what its options take."""

from __future__ import annotations

import pytest

from sonata.cli.ns import read_pin
from sonata.errors import InvalidInput


@pytest.mark.parametrize("text", ["squid", "=edge", "squid=", ""])
def test_pins_on_the_command_line_name_a_vnf_and_a_pop(text: str) -> None:
    assert read_pin("squid=edge") == ("squid", "edge")
    with pytest.raises(InvalidInput, match="is no pin"):
        read_pin(text)
