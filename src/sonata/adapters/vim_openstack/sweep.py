"""Finding and removing all objects of a tag prefix, in an order that an OpenStack accepts."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable

from sonata._lib.values import dataclass
from sonata.adapters.vim_openstack.calls import Calls, Document, Service
from sonata.adapters.vim_openstack.faults import VimConflict, VimNotFound
from sonata.adapters.vim_openstack.marks import tag_of
from sonata.errors import TransientError
from sonata.ports.vim import Leftover

GONE_TIMEOUT_S = 60.0
FIRST_POLL_S, LONGEST_POLL_S = 0.01, 1.0


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of object; `listing` is the collection that shows its tag."""

    name: str
    service: Service
    path: str
    listing: str


_SFC = tuple(
    Kind(name, "network", f"/sfc/{name}s", f"/sfc/{name}s")
    for name in ("port_chain", "flow_classifier", "port_pair_group", "port_pair")
)
_SERVER = Kind("server", "compute", "/servers", "/servers/detail")
_NETWORKING = tuple(
    Kind(name, "network", f"/{name}s", f"/{name}s") for name in ("floatingip", "router", "port", "subnet", "network")
)
KINDS = (*_SFC, _SERVER, *_NETWORKING)
"""In the order in which they can be deleted: users before what they use."""


def leftovers(calls: Calls, prefix: str) -> tuple[Leftover, ...]:
    """Everything whose tag begins with the prefix, in the order of deletion."""
    return tuple(leftover for kind in KINDS for leftover in _leftovers_of(calls, kind, prefix))


def sweep(calls: Calls, prefix: str) -> None:
    """Delete everything whose tag begins with the prefix and wait until it is gone.

    Raises:
        TransientError: something did not go within a minute.
        VimConflict: something is in use by an object that does not carry the prefix.
    """
    for kind in KINDS:
        found = _leftovers_of(calls, kind, prefix)
        for leftover in found:
            if kind.name == "router":
                _remove_legs(calls, leftover.id)
            _delete(calls, kind, leftover.id)
        for leftover in found:
            _wait_gone(calls, kind, leftover.id)


def _leftovers_of(calls: Calls, kind: Kind, prefix: str) -> tuple[Leftover, ...]:
    listed: list[Document] = []
    with contextlib.suppress(VimNotFound):  # a cloud without service function chaining has no such collection
        listed = calls.list(kind.service, kind.listing, key=f"{kind.name}s")
    tags = ((document["id"], tag_of(document)) for document in listed)
    return tuple(Leftover(kind.name, id_, tag) for id_, tag in tags if tag and tag.startswith(prefix))


def _remove_legs(calls: Calls, router_id: str) -> None:
    for port in calls.list("network", "/ports", device_id=router_id):
        if port["device_owner"].startswith("network:router_interface"):
            with contextlib.suppress(VimNotFound):
                calls.put("network", f"/routers/{router_id}/remove_router_interface", {"port_id": port["id"]})


def _delete(calls: Calls, kind: Kind, object_id: str) -> None:
    """Delete an object; a conflict is waited out, as its user may be on its way out."""
    refusals: list[VimConflict] = []

    def deleted() -> bool:
        try:
            calls.delete(kind.service, f"{kind.path}/{object_id}")
        except VimNotFound:
            return True
        except VimConflict as error:
            refusals.append(error)
            return False
        return True

    if not _poll(deleted):
        raise refusals[-1]


def _wait_gone(calls: Calls, kind: Kind, object_id: str) -> None:
    """Wait for a server to go; everything else is gone when its DELETE returns."""
    if kind is not _SERVER:
        return
    call = f"GET /servers/{object_id}"

    def gone() -> bool:
        try:
            calls.get(kind.service, f"{kind.path}/{object_id}")
        except VimNotFound:
            return True
        return False

    if not _poll(gone):
        raise TransientError(f"server `{object_id}` in VIM `{calls.vim}` is not deleted yet", call=call)


def _poll(holds: Callable[[], bool]) -> bool:
    """Ask from every 10 ms to every second until it holds; False after a minute."""
    deadline = time.monotonic() + GONE_TIMEOUT_S
    pause_s = FIRST_POLL_S
    while not holds():
        if time.monotonic() > deadline:
            return False
        time.sleep(pause_s)
        pause_s = min(LONGEST_POLL_S, 1.5 * pause_s)
    return True
