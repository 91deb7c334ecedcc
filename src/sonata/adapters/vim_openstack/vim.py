"""`OpenStackVim`: the port's methods, each run in a thread so that the event loop never waits for a VIM."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import sonata.adapters.vim_openstack.servers as servers
from sonata.adapters.vim_openstack.batches import Batch
from sonata.adapters.vim_openstack.calls import Calls, Login
from sonata.adapters.vim_openstack.chains import ensure_chain
from sonata.adapters.vim_openstack.networks import ensure_floating_ip, ensure_networks, ensure_ports, ensure_router
from sonata.adapters.vim_openstack.sweep import FIRST_POLL_S, LONGEST_POLL_S, leftovers, sweep
from sonata.errors import TransientError
from sonata.model.infrastructure import PopCapacity
from sonata.ports.vim import (
    ChainRequest,
    Leftover,
    NetworkRequest,
    PortRequest,
    ServerRequest,
    VimNetwork,
    VimPort,
)

T = TypeVar("T")
MAX_THREADS = 4


class OpenStackVim:
    """Implements `ports.vim.Vim` for one OpenStack project; connects at its first call.

    Args:
        name: under which the VIM is registered; the PoP's name.
        auth_url: of Identity v3.
        username: a user who may create servers, networks and, where sizes do not fit, flavors.
        password: kept in memory only; in no log and no error.
        project: name of the project that owns what is made.
        user_domain: name of the user's domain.
        project_domain: name of the project's domain.
        region: region in the catalogue, None for the only one.
        verify: whether TLS certificates are checked, or the path of a CA bundle to check them with.
    """

    def __init__(
        self,
        name: str,
        auth_url: str,
        username: str,
        password: str,
        project: str,
        *,
        user_domain: str = "Default",
        project_domain: str = "Default",
        region: str | None = None,
        verify: bool | str = True,
    ) -> None:
        login = Login(auth_url, username, password, project, user_domain, project_domain, region, verify)
        self._calls = Calls(name, login)
        self._threads = ThreadPoolExecutor(MAX_THREADS, thread_name_prefix=f"vim-{name}")
        self._networks = Batch[NetworkRequest, VimNetwork](
            lambda requests: self._run(lambda calls: ensure_networks(calls, requests))
        )
        self._ports = Batch[PortRequest, VimPort](
            lambda requests: self._run(lambda calls: ensure_ports(calls, requests))
        )

    async def capacity(self) -> PopCapacity:
        """Free and total resources; the first to ask finds the other services, too, as they are needed next."""
        found = await self._run(servers.capacity)
        await self._run(Calls.find_services)
        return found

    async def check_image(self, name: str) -> str:
        """Id of the image of this name; raises NotFound with what exists."""
        return await self._run(lambda calls: servers.image_id(calls, name))

    async def ensure_network(self, request: NetworkRequest) -> VimNetwork:
        """Find or create a network and its subnet."""
        return await self._networks.add(request)

    async def ensure_port(self, request: PortRequest) -> VimPort:
        """Find or create a port."""
        return await self._ports.add(request)

    async def ensure_server(self, request: ServerRequest) -> str:
        """Find or create a server; returns its id without waiting."""
        return await self._run(lambda calls: servers.ensure_server(calls, request))

    async def wait_active(self, server_id: str, *, timeout_s: float) -> None:
        """Wait until a server is ACTIVE, asking every 10 ms at first and every second in the end.

        It is noticed at most a sixth of the time late that the server has taken.

        Raises:
            PermanentError: it is in ERROR, with the VIM's fault, or its program has ended.
            QuotaExceeded: it is in ERROR since no host has room.
            TransientError: it is not ACTIVE within `timeout_s`.
        """
        begun = time.monotonic()
        deadline, pause_s = begun + timeout_s, FIRST_POLL_S
        while not await self._run(lambda calls: servers.is_active(calls, server_id)):
            if time.monotonic() + pause_s > deadline:
                message = f"server `{server_id}` in VIM `{self._calls.vim}` is not ACTIVE after {timeout_s:g} s"
                raise TransientError(message, call=f"GET /servers/{server_id}", answer="status BUILD")
            await asyncio.sleep(pause_s)
            pause_s = min(LONGEST_POLL_S, max(FIRST_POLL_S, (time.monotonic() - begun) / 6))

    async def ensure_router(self, tag: str, name: str, networks: Sequence[VimNetwork]) -> str:
        """Find or create a router with external gateway and a leg into each network."""
        return await self._run(lambda calls: ensure_router(calls, tag, name, networks))

    async def ensure_floating_ip(self, tag: str, port_id: str) -> str:
        """Find or create a floating IP that leads to a port, and return it."""
        return await self._run(lambda calls: ensure_floating_ip(calls, tag, port_id))

    async def ensure_chain(self, request: ChainRequest) -> str:
        """Find or create a port chain, symmetric."""
        return await self._run(lambda calls: ensure_chain(calls, request))

    async def leftovers(self, tag_prefix: str) -> Sequence[Leftover]:
        """Everything that carries such a tag."""
        return await self._run(lambda calls: leftovers(calls, tag_prefix))

    async def sweep(self, tag_prefix: str) -> None:
        """Delete everything that carries such a tag, in an order the VIM accepts, and wait until it is gone."""
        await self._run(lambda calls: sweep(calls, tag_prefix))

    async def close(self) -> None:
        """Release connections."""
        await self._run(lambda calls: calls.close())
        self._threads.shutdown(wait=False)

    async def _run(self, call: Callable[[Calls], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, call, self._calls)
