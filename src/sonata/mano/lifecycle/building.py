"""Building a placed service in the VIMs and on the wide area, and taking it down again.

Every object carries a tag that begins with the instance's id; creates are idempotent by it, and removal goes by it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from sonata._lib.together import together
from sonata._lib.values import dataclass
from sonata.engine.definition import Done
from sonata.errors import PermanentError
from sonata.mano.lifecycle.plan import ChainPlan, NetworkPlan, PortPlan
from sonata.mano.lifecycle.states import Deployment, Instantiation
from sonata.mano.sites import Sites
from sonata.ports.vim import ChainRequest, NetworkRequest, PortRequest, ServerRequest, VimNetwork, VimPort
from sonata.ports.wim import ConnectionRequest

BOOT_TIMEOUT_S = 60.0


@dataclass(frozen=True, slots=True)
class Builder:
    """The steps that touch infrastructure."""

    sites: Sites

    async def create_networks(self, state: Instantiation) -> Done[Instantiation]:
        """One network per virtual link and PoP, and one router per PoP with a leg in each."""
        parts = await together([self._networks_of(state, pop) for pop in state.plan.pops])
        networks = {key: network for part in parts for key, network in part.items()}
        return Done(replace(state, networks=networks), f"{len(networks)} networks, {len(parts)} routers")

    async def _networks_of(self, state: Instantiation, pop: str) -> dict[str, VimNetwork]:
        vim = await self.sites.vim(pop)
        plans = state.plan.networks_in(pop)
        made = await together([vim.ensure_network(_network_request(state, plan)) for plan in plans])
        await vim.ensure_router(f"{state.tag}router", f"{state.nsd.id.name}-{state.ns[:8]}", made)
        return {plan.key: network for plan, network in zip(plans, made, strict=True)}

    async def connect_networks(self, state: Instantiation) -> Done[Instantiation]:
        """Join the parts of virtual links that span PoPs over the wide area."""
        links = {link.id: link for link in state.nsd.virtual_links}
        for link, members in state.plan.spans.items():
            wim = await self.sites.wim_for(members)
            await wim.ensure_connection(
                ConnectionRequest(
                    tag=f"{state.tag}{link}",
                    members={pop: state.networks[key].id for pop, key in members.items()},
                    rate_bps=links[link].min_rate_bps if link in links else None,
                    max_delay_s=links[link].max_delay_s if link in links else None,
                )
            )
        return Done(state, ", ".join(f"{link}: {' - '.join(pops)}" for link, pops in state.plan.spans.items()))

    async def create_ports(self, state: Instantiation) -> Done[Instantiation]:
        """The interfaces of all servers."""
        plans = list(state.plan.ports.values())
        ports = await together(
            [
                self._port(
                    state,
                    plan.pop,
                    PortRequest("", plan.cp, state.networks[plan.network], address=plan.address),
                    plan.key,
                )
                for plan in plans
            ]
        )
        made = dict(zip(state.plan.ports, ports, strict=True))
        public = [plan for plan in plans if plan.is_public]
        floating = await together([self._floating_ip(state, plan, made[plan.key]) for plan in public])
        addresses = {plan.key: address for plan, address in zip(public, floating, strict=True)}
        return Done(
            replace(state, ports=made, public=addresses), f"{len(ports)} ports, {len(addresses)} reached from outside"
        )

    async def _floating_ip(self, state: Instantiation, plan: PortPlan, port: VimPort) -> str:
        return await (await self.sites.vim(plan.pop)).ensure_floating_ip(f"{state.tag}public/{plan.key}", port.id)

    async def _port(self, state: Instantiation, pop: str, request: PortRequest, key: str) -> VimPort:
        named = replace(request, tag=f"{state.tag}port/{key}", name=f"{key.replace('/', '-')}-{state.ns[:8]}")
        return await (await self.sites.vim(pop)).ensure_port(named)

    async def deploy(self, state: Deployment) -> Done[Deployment]:
        """Order the servers of one VNF."""
        ids = {}
        for server in state.servers:
            vim = await self.sites.vim(server.pop)
            ids[server.key] = await vim.ensure_server(
                ServerRequest(
                    tag=f"{state.ns}/server/{server.key}",
                    name=f"{server.key.replace('/', '-')}-{state.ns[:8]}",
                    image=server.vdu.image,
                    vcpus=server.vdu.vcpus,
                    memory_mib=server.vdu.memory_mib,
                    disk_gib=server.vdu.disk_gib,
                    ports=tuple(state.ports[key] for key in server.ports),
                    user_data=server.vdu.user_data,
                )
            )
        return Done(replace(state, ids=ids), f"{len(ids)} servers in {state.servers[0].pop}")

    async def wait_active(self, state: Instantiation) -> Done[Instantiation]:
        """Wait until all servers run."""
        waited: dict[str, list[str]] = {}
        for key, server in state.servers.items():
            waited.setdefault(state.plan.servers[key].pop, []).append(server)
        await together([self._wait(pop, servers) for pop, servers in waited.items()])
        return Done(state, f"{len(state.servers)} servers active")

    async def _wait(self, pop: str, servers: Sequence[str]) -> None:
        """Ask a VIM for one server after another: they boot side by side, and questions take from the time of boots."""
        vim = await self.sites.vim(pop)
        for server in servers:
            await vim.wait_active(server, timeout_s=BOOT_TIMEOUT_S)

    async def chain(self, state: Instantiation) -> Done[Instantiation]:
        """Steer packets along the forwarding paths."""
        plans = list(state.plan.chains.values())
        chains = await together([self._chain(state, plan) for plan in plans])
        made = {plan.key: chain for plan, chain in zip(plans, chains, strict=True)}
        return Done(replace(state, chains=made), ", ".join(f"{plan.key} in {plan.pop}" for plan in plans))

    async def _chain(self, state: Instantiation, plan: ChainPlan) -> str:
        ids = {key: port.id for key, port in state.ports.items()}
        for remote in plan.remote:
            far = state.ports[remote.port]
            request = PortRequest("", "", state.networks[remote.network], far.mac, far.address)
            ids[remote.key] = (await self._port(state, plan.pop, request, remote.key)).id
        vim = await self.sites.vim(plan.pop)
        return await vim.ensure_chain(
            ChainRequest(
                tag=f"{state.tag}chain/{plan.key}",
                name=f"{plan.key.replace('/', '-')}-{state.ns[:8]}",
                pairs=tuple((ids[ingress], ids[egress]) for ingress, egress in plan.pairs),
                source_prefix=_prefix(state, state.ingress),
                destination_prefix=_prefix(state, state.egress),
                protocol=plan.protocol,
                destination_port=plan.destination_port,
            )
        )

    async def verify(self, state: Instantiation) -> Done[Instantiation]:
        """Look up in the VIMs that everything that was made is still there."""
        found = await together([self._tags_in(state, pop) for pop in state.plan.pops])
        expected = _expected_tags(state)
        gone = sorted(tag for tag in expected if not any(tag in tags for tags in found))
        if gone:
            raise PermanentError(
                f"the VIM lost what it had made: {', '.join(gone)}", hint="look at the VIM's own log; then try again"
            )
        return Done(state, f"{len(expected)} objects present")

    async def _tags_in(self, state: Instantiation, pop: str) -> set[str]:
        return {each.tag for each in await (await self.sites.vim(pop)).leftovers(state.tag)}

    async def disconnect(self, state: Instantiation) -> str:
        """Remove the wide area connections."""
        for wim in await self.sites.open_wims():
            await wim.sweep(state.tag)
        return "wide area connections removed"

    async def sweep(self, state: Instantiation) -> str:
        """Remove everything from the PoPs, and check that nothing is left."""
        counts = await together([self._sweep(state, pop) for pop in state.plan.pops])
        return f"{sum(counts)} objects removed from {', '.join(state.plan.pops)}"

    async def _sweep(self, state: Instantiation, pop: str) -> int:
        vim = await self.sites.vim(pop)
        found = await vim.leftovers(state.tag)
        await vim.sweep(state.tag)
        refuse_leftovers(pop, [f"{left.kind} {left.id}" for left in await vim.leftovers(state.tag)])
        return len(found)


def refuse_leftovers(where: str, left: Sequence[str]) -> None:
    """Raise PermanentError when something is left behind."""
    if left:
        raise PermanentError(
            f"left behind in `{where}`: {', '.join(left)}", hint="terminate the service again, or remove it by hand"
        )


def _network_request(state: Instantiation, plan: NetworkPlan) -> NetworkRequest:
    return NetworkRequest(
        tag=f"{state.tag}network/{plan.key}",
        name=f"{state.nsd.id.name}-{plan.link}-{state.ns[:8]}",
        cidr=plan.cidr,
        pool=plan.pool,
        gateway_address=plan.gateway_address,
    )


def _prefix(state: Instantiation, endpoint: str) -> str | None:
    return f"{state.wan.endpoints[endpoint].address}/32" if endpoint else None


def _expected_tags(state: Instantiation) -> list[str]:
    made: dict[str, Mapping[str, object]] = {
        "network": state.networks,
        "port": state.ports,
        "public": state.public,
        "server": state.servers,
        "chain": state.chains,
    }
    return [f"{state.tag}{kind}/{key}" for kind, objects in made.items() for key in objects]
