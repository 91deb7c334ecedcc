"""Who owns which address."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Interface, IPv4Network

import pytest

from sonata.emulator import addressing
from sonata.errors import QuotaExceeded
from sonata.model import shapes


def test_networks_follow_the_number_of_the_pop() -> None:
    assert addressing.external_network(0) == IPv4Network("100.64.0.0/24")
    assert addressing.external_network(257) == IPv4Network("100.65.1.0/24")
    assert addressing.external_network(addressing.MAX_POPS - 1) == IPv4Network("100.127.255.0/24")
    with pytest.raises(QuotaExceeded):
        addressing.external_network(addressing.MAX_POPS)


def test_endpoints_begin_at_ten_and_go_on_from_the_end_of_the_clouds_addresses() -> None:
    external = addressing.external_network(1)
    assert addressing.router_address(external) == IPv4Interface("100.64.1.1/24")
    assert addressing.endpoint_address(external, 0) == IPv4Interface("100.64.1.10/24")
    assert addressing.endpoint_address(external, 53) == IPv4Interface("100.64.1.63/24")
    assert addressing.endpoint_address(external, 54) == IPv4Interface("100.64.1.254/24")
    assert addressing.endpoint_address(external, 228) == IPv4Interface("100.64.1.80/24")
    with pytest.raises(QuotaExceeded, match="229"):
        addressing.endpoint_address(external, 229)


@pytest.mark.parametrize("endpoints", [0, 54, 55, 200, shapes.MAX_ENDPOINTS_PER_POP])
def test_the_cloud_gives_out_what_endpoints_have_left(endpoints: int) -> None:
    external = addressing.external_network(1)
    end = addressing.end_of_pool(external, endpoints)
    taken = {addressing.endpoint_address(external, number).ip for number in range(endpoints)}
    assert len(taken) == endpoints
    assert not any(external.network_address + 64 <= address < end for address in taken)
    assert end - 1 in external
    assert end > external.network_address + 64 + 15


def test_links_are_pairs_that_never_overlap() -> None:
    addresses = [address.ip for number in range(100) for address in addressing.link_addresses(number)]
    assert len(set(addresses)) == 200
    assert all(a.network == b.network for a, b in map(addressing.link_addresses, range(100)))
    assert addressing.link_addresses(addressing.MAX_LINKS - 1)[1].ip == IPv4Address("198.19.255.255")
    with pytest.raises(QuotaExceeded):
        addressing.link_addresses(addressing.MAX_LINKS)


def test_the_pop_of_an_address_is_found_again() -> None:
    for number in (0, 1, 300, addressing.MAX_POPS - 1):
        assert addressing.pop_number(addressing.external_network(number).network_address + 77) == number


def test_mac_addresses_are_local_unicast_and_stable() -> None:
    mac = addressing.mac_address("users")
    assert mac == addressing.mac_address("users") != addressing.mac_address("origin")
    assert int(mac[:2], 16) & 0b11 == 0b10
