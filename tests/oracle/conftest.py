"""Both who answer: Heat, and this project."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.oracle.heat_oracle import Heat, Unavailable, python
from tests.oracle.our_answers import Ours


@pytest.fixture(scope="module")
def heat() -> Iterator[Heat]:
    try:
        oracle = Heat(python())
    except Unavailable as error:
        pytest.skip(f"Heat cannot be installed here: {error}")
    yield oracle
    oracle.close()


@pytest.fixture(scope="module")
def ours() -> Iterator[Ours]:
    answers = Ours()
    yield answers
    answers.close()
