"""Which mechanism carries which impairment."""

from __future__ import annotations

import pytest

from sonata.adapters.fabric_linux.cable import mechanism_of
from sonata.model.topology import CLEAN, Impairment


@pytest.mark.parametrize(
    ("impairment", "with_netem", "without"),
    [
        (CLEAN, "veth", "veth"),
        (Impairment(rate_bps=1e6), "veth+tbf", "veth+tbf"),
        (Impairment(delay_s=0.1), "veth+netem", "wire"),
        (Impairment(delay_s=0.1, jitter_s=0.01, rate_bps=1e6), "veth+netem+tbf", "wire+tbf"),
        # netem would cut the deviation off.
        (Impairment(delay_s=9, jitter_s=3), "wire", "wire"),
        # netem would lose whole 64 kB segments.
        (Impairment(loss=0.1), "wire", "wire"),
        (Impairment(delay_s=0.1, loss=0.1, rate_bps=1e6), "wire+tbf", "wire+tbf"),
        (Impairment(duplicate=0.1), "wire", "wire"),
        (Impairment(delay_s=0.1, reorder=0.1), "wire", "wire"),
    ],
)
def test_mechanism(impairment: Impairment, with_netem: str, without: str) -> None:
    assert mechanism_of(impairment, has_netem=True) == with_netem
    assert mechanism_of(impairment, has_netem=False) == without


@pytest.mark.parametrize(
    ("there", "back", "mechanism"),
    [
        (CLEAN, Impairment(rate_bps=1e6), "veth+tbf"),
        (Impairment(delay_s=0.1), Impairment(rate_bps=1e6), "wire+tbf"),
        (Impairment(loss=0.1), CLEAN, "wire"),
    ],
)
def test_what_one_direction_needs_carries_both(there: Impairment, back: Impairment, mechanism: str) -> None:
    assert mechanism_of(there, back, has_netem=False) == mechanism_of(back, there, has_netem=False) == mechanism
