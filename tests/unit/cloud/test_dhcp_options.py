"""Further DHCP options of ports: names and numbers, their form on the wire, and what requests make of them."""

from __future__ import annotations

from ipaddress import IPv4Address

import pytest

from sonata.emulator.cloud.network.dhcp_options import encode, merged, told


@pytest.mark.parametrize(
    ("name", "value", "version", "expected"),
    [
        ("mtu", "1400", 4, (26, (1400).to_bytes(2))),
        ("ntp-server", "192.0.2.1, 192.0.2.2", 4, (42, bytes((192, 0, 2, 1, 192, 0, 2, 2)))),
        ("bootfile-name", "pxelinux.0", 4, (67, b"pxelinux.0")),
        ("67", "pxelinux.0", 4, (67, b"pxelinux.0")),
        ("option:26", "1400", 4, (26, (1400).to_bytes(2))),
        ("224", "site", 4, (224, b"site")),
        ("server-ip-address", "192.0.2.1", 4, (0, bytes((192, 0, 2, 1)))),
        ("domain-search", "a.example,b", 4, (119, b"\1a\7example\0\1b\0")),
        ("classless-static-route", "10.9.0.0/16,10.1.0.9", 4, (121, bytes((16, 10, 9, 10, 1, 0, 9)))),
        ("dns-server", "[fd00::1]", 6, (23, bytes.fromhex("fd00") + bytes(13) + b"\1")),
    ],
)
def test_options_have_their_form(name: str, value: str, version: int, expected: tuple[int, bytes]) -> None:
    assert encode(name, value, version) == expected


@pytest.mark.parametrize(
    ("name", "value", "version"),
    [
        ("mtu", "large", 4),
        ("mtu", "70000", 4),
        ("ntp-server", "time.example", 4),
        ("colour", "red", 4),
        ("53", "1", 4),
        ("300", "x", 4),
        ("mtu", "1400", 6),
        ("3", "x", 6),
        ("bootfile-name", "x" * 256, 4),
        ("domain-search", "a..b", 4),
        ("classless-static-route", "10.9.0.0/16", 4),
        ("٣", "x", 4),
    ],
)
def test_what_cannot_be_told_is_refused(name: str, value: str, version: int) -> None:
    with pytest.raises(ValueError, match="DHCP option"):
        encode(name, value, version)


def test_a_request_replaces_what_it_names_and_takes_away_what_is_null() -> None:
    def option(name: str, value: str | None, version: int = 4) -> dict[str, str | int | None]:
        return {"opt_name": name, "opt_value": value, "ip_version": version}

    before = (option("mtu", "1400"), option("router", "192.0.2.1"), option("dns-server", "fd00::1", 6))
    after = merged(before, (option("mtu", "1300"), option("router", None), option("77", "new")))
    assert after == (option("mtu", "1300"), option("dns-server", "fd00::1", 6), option("77", "new"))
    assert told(after, 4) == {26: (1300).to_bytes(2), 77: b"new"}
    assert list(told(after, 6)) == [23]


def test_addresses_are_those_that_were_named() -> None:
    assert told([{"opt_name": "router", "opt_value": "10.0.0.7", "ip_version": 4}], 4) == {
        3: IPv4Address("10.0.0.7").packed
    }
