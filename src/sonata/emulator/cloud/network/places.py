"""In which of a site's PoPs ports are, or are about to be."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from sonata.emulator.cloud.entities.network import DHCP_OWNER
from sonata.emulator.cloud.site import Site


class Places:
    """Where the ports of one site are plugged in. A port that moves has two places; packets pass in the first."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._tables = site.tables
        self._pops: dict[str, tuple[str, ...]] = {}

    def __iter__(self) -> Iterator[tuple[str, tuple[str, ...]]]:
        """All ports that are plugged in or are about to be, with their places."""
        return iter(tuple(self._pops.items()))

    def __contains__(self, port_id: str) -> bool:
        return port_id in self._pops

    def home(self, port_id: str) -> str:
        """Where a port belongs: with its server's host, or where its network is served; else in the site's own PoP."""
        port = self._tables.ports.peek(port_id)
        if port and port.device_owner == DHCP_OWNER:
            return self._site.service_pop(self._tables.networks.get(port.network_id)).name
        server = self._tables.servers.peek(port.device_id) if port else None
        return self._site.pop_of(server.host).name if server else self._site.pop.name

    def current(self, port_id: str) -> str:
        """Where a port is plugged in, else where it belongs."""
        return self._pops[port_id][0] if port_id in self._pops else self.home(port_id)

    def settle(self, port_ids: Iterable[str]) -> None:
        """Note that ports are about to be plugged in where they belong, unless they are somewhere already."""
        for port_id in port_ids:
            self._pops.setdefault(port_id, (self.home(port_id),))

    def put(self, port_ids: Iterable[str], *pops: str) -> None:
        """Note where ports are, and where else they are expected or not yet gone from."""
        self._pops.update(dict.fromkeys(port_ids, tuple(dict.fromkeys(pops))))

    def forget(self, port_ids: Iterable[str]) -> None:
        """Forget ports that are plugged out; idempotent."""
        for port_id in port_ids:
            self._pops.pop(port_id, None)

    def networks_of(self, port_ids: Iterable[str]) -> tuple[str, ...]:
        """The networks of ports, each once."""
        ports = filter(None, map(self._tables.ports.peek, port_ids))
        return tuple(dict.fromkeys(port.network_id for port in ports))
