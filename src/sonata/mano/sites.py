"""Registered VIMs and WIMs: how to reach them, kept; credentials are never shown."""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import Callable, Coroutine, Iterable, Mapping, MutableMapping, Sequence
from typing import Any, TypeVar

from sonata._lib.plain import from_plain, to_plain
from sonata._lib.together import together
from sonata._lib.values import dataclass
from sonata.errors import AdapterError, Conflict, InvalidInput, NotFound, SonataError
from sonata.mano.instances import Instances, is_live
from sonata.model.infrastructure import AttachedEndpoint, PopCapacity, WanGraph
from sonata.ports.store import Store
from sonata.ports.vim import Vim
from sonata.ports.wim import Wim

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class VimAccess:
    """How to reach a VIM.

    Args:
        name: name of the PoP, as the WIM's graph knows it.
        url: identity endpoint.
    """

    uuid: str
    name: str
    url: str
    username: str
    password: str
    project: str
    user_domain: str = "Default"
    project_domain: str = "Default"
    region: str = ""
    kind: str = "openstack"

    def __repr__(self) -> str:
        return f"VimAccess({self.name!r}, {self.url!r})"

    def public(self) -> dict[str, Any]:
        """What may be shown."""
        return {"uuid": self.uuid, "name": self.name, "type": self.kind, "endpoint": self.url, "project": self.project}


@dataclass(frozen=True, slots=True)
class WimAccess:
    """How to reach a WIM."""

    uuid: str
    name: str
    url: str
    token: str
    kind: str = "emulator"

    def __repr__(self) -> str:
        return f"WimAccess({self.name!r}, {self.url!r})"

    def public(self) -> dict[str, Any]:
        """What may be shown."""
        return {"uuid": self.uuid, "name": self.name, "type": self.kind, "endpoint": self.url}


VimFactory = Callable[[VimAccess], Vim]
WimFactory = Callable[[WimAccess], Wim]
A = TypeVar("A", VimAccess, WimAccess)
V = TypeVar("V", Vim, Wim)
KINDS = {"vim": ("openstack",), "wim": ("emulator",)}


class Sites:
    """VIMs and WIMs by name, opened on first use."""

    def __init__(self, store: Store, instances: Instances, open_vim: VimFactory, open_wim: WimFactory) -> None:
        self._store = store
        self._instances = instances
        self._open_vim, self._open_wim = open_vim, open_wim
        self._vims: dict[str, Vim] = {}
        self._wims: dict[str, Wim] = {}
        self._warming: set[asyncio.Task[None]] = set()

    async def add_vim(self, access: VimAccess, *, replace: bool = False) -> VimAccess:
        """Register a VIM; the same name with the same endpoint changes its credentials.

        Args:
            access: how to reach it.
            replace: whether another endpoint of the same name is replaced, too.

        Raises:
            InvalidInput: unknown kind, or no name.
            Conflict: the name is taken by another endpoint.
        """
        _check_kind("vim", access.name, access.kind)
        known = {each.name: each for each in await self.vims()}.get(access.name)
        if known is not None and known.url != access.url and not replace:
            raise Conflict(f"VIM `{access.name}` is registered with endpoint {known.url}", hint="remove it first")
        await _forget(self._vims, access.name)
        await self._store.put("vim", access.name, to_plain(access))
        logger.info("VIM registered", extra={"vim": access.name, "endpoint": access.url})
        self._warm_up(self._log_in(access.name))
        return access

    async def warm_up(self) -> None:
        """Log in to all VIMs and WIMs in the background, so that the first service need not wait for it."""
        for access in await self.vims():
            self._warm_up(self._log_in(access.name))
        self._warm_up(self._reach_wims())

    def _warm_up(self, call: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(call)
        self._warming.add(task)
        task.add_done_callback(self._warming.discard)

    async def _log_in(self, name: str) -> None:
        try:
            await self._capacity(name)
        except SonataError as error:
            logger.warning("VIM does not answer", extra={"vim": name, "error": error.message})

    async def _reach_wims(self) -> None:
        for wim in await self.open_wims():
            try:
                await wim.graph()
            except SonataError as error:
                logger.warning("WIM does not answer", extra={"error": error.message})

    async def vims(self) -> Sequence[VimAccess]:
        """All VIMs, oldest first."""
        return [from_plain(document, VimAccess) for document in await self._store.list("vim")]

    async def vim_access(self, key: str) -> VimAccess:
        """A VIM by name or UUID; raises NotFound."""
        return _named("VIM", key, await self.vims())

    async def remove_vim(self, key: str) -> None:
        """Forget a VIM.

        Raises:
            NotFound: no such VIM.
            Conflict: a live service has something in it.
        """
        access = await self.vim_access(key)
        users = [
            each.record.name for each in await self._instances.list() if is_live(each) and access.name in each.pops
        ]
        if users:
            raise Conflict(
                f"VIM `{access.name}` is in use by {', '.join(users)}", hint="terminate these services first"
            )
        await self._store.delete("vim", access.name)
        await _forget(self._vims, access.name)

    async def vim(self, name: str) -> Vim:
        """The VIM of a PoP."""
        if name not in self._vims:
            access = await self.vim_access(name)
            if name not in self._vims:  # somebody else may have opened it meanwhile
                self._vims[name] = self._open_vim(access)
        return self._vims[name]

    async def capacities(self) -> dict[str, PopCapacity]:
        """Capacity of every VIM, by name; all are asked at once."""
        names = [access.name for access in await self.vims()]
        capacities = await together([self._capacity(name) for name in names])
        return dict(zip(names, capacities, strict=True))

    async def _capacity(self, name: str) -> PopCapacity:
        return await (await self.vim(name)).capacity()

    async def add_wim(self, access: WimAccess) -> WimAccess:
        """Register a WIM, or change the one of this name."""
        _check_kind("wim", access.name, access.kind)
        await _forget(self._wims, access.name)
        await self._store.put("wim", access.name, to_plain(access))
        logger.info("WIM registered", extra={"wim": access.name, "endpoint": access.url})
        self._warm_up(self._reach_wims())
        return access

    async def wims(self) -> Sequence[WimAccess]:
        """All WIMs, oldest first."""
        return [from_plain(document, WimAccess) for document in await self._store.list("wim")]

    async def wim_access(self, key: str) -> WimAccess:
        """A WIM by name or UUID; raises NotFound."""
        return _named("WIM", key, await self.wims())

    async def remove_wim(self, key: str) -> None:
        """Forget a WIM; raises NotFound, or Conflict while a service spans PoPs."""
        access = await self.wim_access(key)
        users = [each.record.name for each in await self._instances.list() if is_live(each) and len(each.pops) > 1]
        if users:
            raise Conflict(
                f"WIM `{access.name}` is in use by {', '.join(users)}", hint="terminate these services first"
            )
        await self._store.delete("wim", access.name)
        await _forget(self._wims, access.name)

    async def open_wims(self) -> list[Wim]:
        """All WIMs."""
        for access in await self.wims():
            if access.name not in self._wims:
                self._wims[access.name] = self._open_wim(access)
        return list(self._wims.values())

    async def graph(self, pops: Iterable[str]) -> WanGraph:
        """The graphs of all WIMs that answer as one; PoPs that none of them knows stand alone."""
        return merge_graphs(tuple(pops), [graph for _, graph in await _graphs_of(await self.open_wims())])

    async def wim_for(self, pops: Iterable[str]) -> Wim:
        """A WIM that knows all these PoPs; raises NotFound."""
        wanted = set(pops)
        for wim, graph in await _graphs_of(await self.open_wims()):
            if wanted <= set(graph.pops):
                return wim
        raise NotFound(
            f"no WIM connects the PoPs {', '.join(sorted(wanted))}", hint="register one with `sonata wim add`"
        )

    async def close(self) -> None:
        """Release all connections."""
        for task in self._warming:
            task.cancel()
        await asyncio.gather(*self._warming, return_exceptions=True)
        for vim in self._vims.values():
            await vim.close()
        for wim in self._wims.values():
            await wim.close()


async def _graphs_of(wims: Sequence[Wim]) -> list[tuple[Wim, WanGraph]]:
    """WIMs with their graphs; one that cannot be reached must not stop services that do not need it.

    Raises:
        AdapterError: there are WIMs, and none answers.
    """
    answers = await asyncio.gather(*(_graph_of(wim) for wim in wims))
    found = [(wim, answer) for wim, answer in zip(wims, answers, strict=True) if isinstance(answer, WanGraph)]
    failures = [answer for answer in answers if isinstance(answer, AdapterError)]
    if failures and not found:
        raise failures[0]
    for failure in failures:
        logger.warning("a WIM does not answer and is left out", extra={"cause": failure.message})
    return found


async def _graph_of(wim: Wim) -> WanGraph | AdapterError:
    try:
        return await wim.graph()
    except AdapterError as error:
        return error


async def _forget(opened: MutableMapping[str, V], name: str) -> None:
    """Close a site that is open, if it is."""
    if (site := opened.pop(name, None)) is not None:
        await site.close()


def new_uuid() -> str:
    """A fresh random UUID."""
    return str(uuid.uuid4())


def merge_graphs(pops: tuple[str, ...], graphs: Sequence[WanGraph]) -> WanGraph:
    """One graph out of several."""
    names = dict.fromkeys([*(pop for graph in graphs for pop in graph.pops), *pops])
    edges = tuple(edge for graph in graphs for edge in graph.edges)
    endpoints: Mapping[str, AttachedEndpoint] = {k: v for graph in graphs for k, v in graph.endpoints.items()}
    figures = {name: one for graph in graphs for name, one in graph.figures.items() if name in names}
    return WanGraph(tuple(names), edges, endpoints, figures)


def _check_kind(noun: str, name: str, kind: str) -> None:
    if not name:
        raise InvalidInput(f"a {noun.upper()} needs a name")
    if kind not in KINDS[noun]:
        raise InvalidInput(f"{noun.upper()} `{name}` has unknown type `{kind}`; known: {', '.join(KINDS[noun])}")


def _named(noun: str, key: str, known: Sequence[A]) -> A:
    for access in known:
        if key in (access.name, access.uuid):
            return access
    names = ", ".join(f"`{access.name}`" for access in known) or "none"
    raise NotFound(f"no {noun} `{key}`; registered: {names}")
