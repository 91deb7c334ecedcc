"""The nftables rules of a router between address scopes: text out, no kernel.

Addresses of one scope are unique, those of two may overlap: between these only what is translated passes, and what
answers it. A network without a scope is in one with all others that have none.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from sonata.ports.fabric import RouterInterface, RouterSpec

TABLE = "scopes"
_FAMILIES = ("ipv4", "ipv6")


def table(
    spec: RouterSpec, outside: str, ifname: Callable[[RouterInterface], str], masqueraded: Sequence[str]
) -> Iterator[str]:
    """The table of a router; nothing where there is one scope for each version of IP.

    Args:
        spec: the router.
        outside: name of its external leg.
        ifname: names its legs.
        masqueraded: IPv4 prefixes that are hidden behind its own address.
    """
    apart = [(family, groups) for family, groups in _groups(spec, outside, ifname) if len(groups) > 1]
    if not apart:
        return
    yield f"table inet {TABLE} {{"
    yield "chain forward { type filter hook forward priority filter; policy accept;"
    yield "ct state untracked accept"
    yield "ct status dnat accept"
    yield "ct state related accept"
    yield "ct state established ct direction reply accept"
    for hidden in (masqueraded, sorted(map(str, spec.floating.values()))):
        if hidden:
            yield f'oifname "{outside}" ip saddr {{ {", ".join(hidden)} }} accept'
    for family, groups in apart:
        for names in groups:
            inside = ", ".join(f'"{name}"' for name in names)
            yield f"meta nfproto {family} oifname {{ {inside} }} iifname != {{ {inside} }} drop"
    yield from ("}", "}")


def _groups(
    spec: RouterSpec, outside: str, ifname: Callable[[RouterInterface], str]
) -> Iterator[tuple[str, list[list[str]]]]:
    """Names of the legs of each scope, for each version of IP."""
    for position, family in enumerate(_FAMILIES):
        scopes: dict[str, list[str]] = {}
        for leg in spec.interfaces:
            scopes.setdefault(leg.scopes[position], []).append(ifname(leg))
        if spec.external:
            scopes.setdefault(spec.external_scopes[position], []).append(outside)
        yield family, list(scopes.values())
