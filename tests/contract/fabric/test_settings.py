"""Settings hold in the namespace that they are written for, however many there are, and however they are reached."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import sonata.adapters.fabric_linux.requests as requests
from sonata.adapters.fabric_linux import settings
from sonata.adapters.fabric_linux.netspace import MACHINE_SETTINGS, ROUTER_SETTINGS, Netspace, create

FORWARDING = "ipv4/ip_forward"
MORE_THAN_ONE_VIEW = 70


@contextmanager
def namespaces_of(count: int, wanted: dict[str, bytes]) -> Iterator[list[Netspace]]:
    made = create([f"n{number}" for number in range(count)], wanted)
    try:
        yield made
    finally:
        for netspace in made:
            netspace.close()


def value_in(netspace: Netspace, setting: str) -> bytes:
    with netspace.entered():
        return Path("/proc/sys/net", setting).read_bytes().strip()


def open_descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def test_each_of_many_namespaces_has_what_was_written_for_it() -> None:
    with namespaces_of(MORE_THAN_ONE_VIEW, dict(ROUTER_SETTINGS)) as made:
        for netspace in made[::2]:
            with netspace.entered():
                settings.write({FORWARDING: b"0"})
        assert [value_in(each, FORWARDING) for each in made] == [b"0", b"1"] * (len(made) // 2)
        assert {value_in(each, "ipv6/conf/all/disable_ipv6") for each in made} == {b"1"}


def test_where_no_proc_of_our_own_can_be_had_the_usual_one_serves(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused() -> int:
        raise PermissionError("fsmount")

    monkeypatch.setattr(settings, "detached_proc", refused)
    monkeypatch.setattr(settings, "_views", settings._Views())
    with namespaces_of(1, dict(ROUTER_SETTINGS)) as (netspace,):
        assert value_in(netspace, FORWARDING) == b"1"


def test_settings_that_the_kernel_lacks_are_left_out_and_found_missing() -> None:
    with namespaces_of(1, {"ipv4/no_such_setting": b"1", FORWARDING: b"1"}) as (netspace,):
        assert value_in(netspace, FORWARDING) == b"1"
        with netspace.entered():
            assert settings.exist([FORWARDING])
            assert not settings.exist([FORWARDING, "ipv4/no_such_setting"])


def test_no_descriptor_is_left_behind() -> None:
    with namespaces_of(1, dict(MACHINE_SETTINGS)) as (netspace,), netspace.entered():
        settings.write({FORWARDING: b"1"})
        before = open_descriptors()
        for _ in range(MORE_THAN_ONE_VIEW):
            settings.write({FORWARDING: b"1"})
        assert open_descriptors() == before


def test_both_ends_of_a_pair_have_the_one_queue_that_is_used() -> None:
    with namespaces_of(2, dict(MACHINE_SETTINGS)) as (near, far):
        near.apply([requests.veth(7, "a", 8, "b", far.descriptor, mtu=1500)])
        for netspace, ifname in ((near, "a"), (far, "b")):
            with netspace.entered():
                shown = subprocess.run(["ip", "-d", "-j", "link", "show", ifname], capture_output=True, check=True)
            (link,) = json.loads(shown.stdout)
            assert (link["num_tx_queues"], link["num_rx_queues"]) == (1, 1)
