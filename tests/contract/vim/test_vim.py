"""What every VIM adapter keeps: creates are idempotent by tag, errors tell call and answer, a sweep leaves nothing."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest
from tests.fakes.vim_site import VimSite

from sonata.errors import NotFound, PermanentError, QuotaExceeded, SonataError, TransientError
from sonata.ports.vim import ChainRequest, NetworkRequest, PortRequest, ServerRequest, Vim, VimNetwork

pytestmark = pytest.mark.anyio
NS = "0d9c8d3e-5f0f-4f8e-9a55-0123456789ab"
NETWORK = NetworkRequest(f"{NS}/network/data", "data", "10.1.0.0/24")


def server(port: str, image: str = "vcache", **sizes: int) -> ServerRequest:
    wanted = {"vcpus": 1, "memory_mib": 128, "disk_gib": 0, **sizes}
    return ServerRequest(f"{NS}/server/{image}", image, image, ports=(port,), **wanted)  # type: ignore[arg-type]


async def port_on(vim: Vim, network: VimNetwork, name: str) -> str:
    return (await vim.ensure_port(PortRequest(f"{NS}/port/{name}", name, network))).id


async def deploy(vim: Vim) -> None:
    """One of everything."""
    network = await vim.ensure_network(NETWORK)
    await vim.ensure_router(f"{NS}/router", "router", [network])
    left, right = [await port_on(vim, network, name) for name in ("left", "right")]
    running = await vim.ensure_server(
        ServerRequest(f"{NS}/server/vtc", "vtc", "vcache", 1, 128, 0, ports=(left, right), user_data="hello")
    )
    await vim.wait_active(running, timeout_s=20)
    await vim.ensure_chain(
        ChainRequest(f"{NS}/chain", "chain", ((left, right),), "100.64.0.10/32", "100.64.1.10/32", "tcp", 80)
    )


async def test_capacity_follows_what_is_given_out(vim: Vim) -> None:
    before = await vim.capacity()
    assert (before.pop, before.vcpus_total, before.memory_mib_total) == ("west", 8, 4096)
    assert (before.vcpus_used, before.memory_mib_used) == (0, 0)
    await deploy(vim)
    after = await vim.capacity()
    assert (after.vcpus_used, after.memory_mib_used) == (1, 128)


async def test_images_are_found_and_missing_ones_told_with_those_there(vim: Vim, site: VimSite) -> None:
    assert await vim.check_image("vcache") == site.cloud.images.find("vcache").id
    with pytest.raises(NotFound, match=r"no image `vcash`.*`host`, `vcache`"):
        await vim.check_image("vcash")


async def test_a_network_has_its_subnet(vim: Vim, site: VimSite) -> None:
    pool = ("10.1.0.100", "10.1.0.199")
    network = await vim.ensure_network(
        NetworkRequest(f"{NS}/n", "n", "10.1.0.0/24", pool=pool, gateway_address="10.1.0.2")
    )
    subnet = site.cloud.tables.subnets.get(network.subnet_id)
    assert subnet.network_id == network.id
    assert str(subnet.gateway_ip) == "10.1.0.2"
    assert [tuple(map(str, each)) for each in subnet.pools] == [pool]
    assert network.cidr == "10.1.0.0/24"


async def test_a_network_without_gateway_has_none(vim: Vim, site: VimSite) -> None:
    network = await vim.ensure_network(NetworkRequest(f"{NS}/n", "n", "10.1.0.0/24", gateway=False))
    assert site.cloud.tables.subnets.get(network.subnet_id).gateway_ip is None


async def test_a_half_made_network_is_finished(vim: Vim, site: VimSite) -> None:
    network = await vim.ensure_network(NETWORK)
    await site.cloud.networks.delete_subnet(network.subnet_id)
    finished = await vim.ensure_network(NETWORK)
    assert finished.id == network.id
    assert site.cloud.tables.subnets.get(finished.subnet_id).network_id == network.id


async def test_ports_take_the_address_and_mac_they_are_asked_for(vim: Vim) -> None:
    network = await vim.ensure_network(NETWORK)
    free = await vim.ensure_port(PortRequest(f"{NS}/free", "free", network))
    assert free.address.startswith("10.1.0.")
    assert free.mac.count(":") == 5
    stands_in = await vim.ensure_port(
        PortRequest(f"{NS}/far", "far", network, mac="FA:16:3E:00:00:01", address="10.1.0.77")
    )
    assert (stands_in.mac, stands_in.address) == ("fa:16:3e:00:00:01", "10.1.0.77")


async def test_everything_twice_is_everything_once(vim: Vim) -> None:
    await deploy(vim)
    once = sorted(map(repr, await vim.leftovers(f"{NS}/")))
    await deploy(vim)
    assert sorted(map(repr, await vim.leftovers(f"{NS}/"))) == once
    kinds = Counter(each.kind for each in await vim.leftovers(f"{NS}/"))
    assert kinds == {
        "port_chain": 1,
        "flow_classifier": 1,
        "port_pair_group": 1,
        "port_pair": 1,
        "server": 1,
        "router": 1,
        "port": 2,
        "subnet": 1,
        "network": 1,
    }


async def test_the_same_call_gives_the_same_object(vim: Vim) -> None:
    network = await vim.ensure_network(NETWORK)
    assert await vim.ensure_network(NETWORK) == network
    wish = PortRequest(f"{NS}/p", "p", network)
    port = await vim.ensure_port(wish)
    assert await vim.ensure_port(wish) == port
    assert await vim.ensure_server(server(port.id)) == await vim.ensure_server(server(port.id))
    routers = [await vim.ensure_router(f"{NS}/router", "r", [network]) for _ in range(2)]
    assert routers[0] == routers[1]


async def test_a_router_gets_the_leg_it_lacks(vim: Vim, site: VimSite) -> None:
    first = await vim.ensure_network(NETWORK)
    second = await vim.ensure_network(NetworkRequest(f"{NS}/network/more", "more", "10.2.0.0/24"))
    router = await vim.ensure_router(f"{NS}/router", "r", [first])
    assert await vim.ensure_router(f"{NS}/router", "r", [first, second]) == router
    legs = {port.network_id for port in site.cloud.tables.ports if port.device_id == router}
    assert {first.id, second.id} <= legs


async def test_same_names_with_other_tags_are_other_objects(vim: Vim) -> None:
    one = await vim.ensure_network(NetworkRequest("ns-1/data", "data", "10.1.0.0/24"))
    other = await vim.ensure_network(NetworkRequest("ns-2/data", "data", "10.1.0.0/24"))
    assert one.id != other.id
    ports = [await vim.ensure_port(PortRequest(f"ns-{n}/p", "p", net)) for n, net in ((1, one), (2, other))]
    ids = [
        await vim.ensure_server(ServerRequest(f"ns-{n}/s", "same", "vcache", 1, 64, 0, (port.id,)))
        for n, port in enumerate(ports, 1)
    ]
    assert ids[0] != ids[1]
    assert {each.tag for each in await vim.leftovers("ns-1/")} == {"ns-1/data", "ns-1/p", "ns-1/s"}


async def test_servers_deployed_at_the_same_time_share_one_new_flavor(vim: Vim, site: VimSite) -> None:
    network = await vim.ensure_network(NETWORK)
    ports = [await port_on(vim, network, f"p{n}") for n in range(3)]
    odd = {"vcpus": 1, "memory_mib": 77, "disk_gib": 1}
    await asyncio.gather(
        *(
            vim.ensure_server(ServerRequest(f"{NS}/s{n}", f"s{n}", "vcache", ports=(port,), **odd))  # type: ignore[arg-type]
            for n, port in enumerate(ports)
        )
    )
    assert len([flavor for flavor in site.cloud.tables.flavors if flavor.ram_mib == 77]) == 1


async def test_a_sweep_leaves_nothing_and_spares_others(vim: Vim, site: VimSite) -> None:
    clean = {each: len(list(getattr(site.cloud.tables, each))) for each in ("ports", "networks", "servers", "routers")}
    await deploy(vim)
    stays = await vim.ensure_network(NetworkRequest(f"{NS}0/other", "other", "10.9.0.0/24"))
    await vim.sweep(f"{NS}/")
    assert list(await vim.leftovers(f"{NS}/")) == []
    assert [each.id for each in await vim.leftovers(f"{NS}0/")].count(stays.id) == 1
    await vim.sweep(f"{NS}0/")
    await vim.sweep(f"{NS}/")
    after = {each: len(list(getattr(site.cloud.tables, each))) for each in clean}
    assert after == clean


async def test_a_sweep_removes_a_server_that_is_not_ready_yet(vim: Vim) -> None:
    network = await vim.ensure_network(NETWORK)
    await vim.ensure_server(server(await port_on(vim, network, "p")))
    await vim.sweep(f"{NS}/")
    assert list(await vim.leftovers(f"{NS}/")) == []


async def test_a_server_that_cannot_start_is_told_with_the_fault(vim: Vim) -> None:
    network = await vim.ensure_network(NETWORK)
    broken = await vim.ensure_server(server(await port_on(vim, network, "p"), "broken"))
    with pytest.raises(PermanentError, match=r"`broken`.*is ERROR.*no such file") as caught:
        await vim.wait_active(broken, timeout_s=20)
    assert caught.value.call == f"GET /servers/{broken}"
    assert "no such file" in caught.value.answer


async def test_a_server_that_does_not_fit_is_a_matter_of_capacity(vim: Vim) -> None:
    network = await vim.ensure_network(NETWORK)
    big = await vim.ensure_server(server(await port_on(vim, network, "p"), vcpus=64))
    with pytest.raises(QuotaExceeded, match=r"(?i)no valid host|quota") as caught:
        await vim.wait_active(big, timeout_s=20)
    assert_tells(caught.value, "/servers")


async def test_an_address_that_is_taken_is_a_permanent_error(vim: Vim) -> None:
    network = await vim.ensure_network(NETWORK)
    await vim.ensure_port(PortRequest(f"{NS}/a", "a", network, address="10.1.0.50"))
    with pytest.raises(PermanentError, match=r"10\.1\.0\.50") as caught:
        await vim.ensure_port(PortRequest(f"{NS}/b", "b", network, address="10.1.0.50"))
    assert_tells(caught.value, "POST /ports")


async def test_a_used_up_pool_is_a_matter_of_capacity(vim: Vim) -> None:
    small = NetworkRequest(f"{NS}/small", "small", "10.1.0.0/24", pool=("10.1.0.50", "10.1.0.50"))
    network = await vim.ensure_network(small)
    await vim.ensure_port(PortRequest(f"{NS}/a", "a", network))
    with pytest.raises(QuotaExceeded) as caught:
        await vim.ensure_port(PortRequest(f"{NS}/b", "b", network))
    assert_tells(caught.value, "POST /ports")


async def test_an_unknown_server_is_not_found(vim: Vim) -> None:
    missing = "00000000-0000-4000-8000-00000000dead"
    with pytest.raises(NotFound) as caught:
        await vim.wait_active(missing, timeout_s=5)
    assert_tells(caught.value, f"GET /servers/{missing}")


async def test_a_bad_request_tells_what_the_vim_said(vim: Vim) -> None:
    with pytest.raises(PermanentError) as caught:
        await vim.ensure_network(NetworkRequest(f"{NS}/bad", "bad", "10.1.0.0/99"))
    assert_tells(caught.value, "POST /subnets")


async def test_too_short_a_wait_is_transient(vim: Vim, site: VimSite, monkeypatch: pytest.MonkeyPatch) -> None:
    async def never(*_: object, **__: object) -> int:
        await asyncio.Event().wait()
        return 0

    monkeypatch.setattr(site.cloud.site.runtime, "start", never)
    network = await vim.ensure_network(NETWORK)
    slow = await vim.ensure_server(server(await port_on(vim, network, "p")))
    with pytest.raises(TransientError, match=r"not ACTIVE after 0.05 s"):
        await vim.wait_active(slow, timeout_s=0.05)


def assert_tells(error: SonataError, call: str) -> None:
    """Errors carry the failing call and the VIM's own answer."""
    assert call in getattr(error, "call", "")
    assert getattr(error, "answer", "")
