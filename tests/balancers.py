"""The providers of load balancers that this machine can try."""

from __future__ import annotations

import shutil

import pytest

HAPROXY = shutil.which("haproxy", path="/usr/sbin:/usr/bin:/sbin:/bin")


@pytest.fixture(params=["haproxy", "nftables"])
def provider(request: pytest.FixtureRequest) -> str:
    """Each provider."""
    if request.param == "haproxy" and HAPROXY is None:
        pytest.skip("haproxy is not installed")
    return str(request.param)
