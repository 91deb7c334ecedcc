"""What stock OpenStack clients need to know to use a site of an emulation."""

from __future__ import annotations

from sonata.errors import NotFound
from sonata.model.topology import Topology
from sonata.sdk.emulation_records import EmulationRecord

PROJECT = USER = "admin"
REGION = "RegionOne"


def auth_url(record: EmulationRecord, pop: str) -> str:
    """Where the identity service of a site is."""
    return f"{record.url}/{pop}/identity/v3"


def openrc(record: EmulationRecord, pop: str, *, project: str = PROJECT, user: str = USER) -> dict[str, str]:
    """The variables `OS_...` for a site; without a password for others than `admin`.

    Raises:
        NotFound: there is no such site.
    """
    check_site(record.topology, pop)
    return {
        "OS_AUTH_URL": auth_url(record, pop),
        "OS_IDENTITY_API_VERSION": "3",
        "OS_USERNAME": user,
        **({"OS_PASSWORD": record.admin_password} if user == USER else {}),
        "OS_USER_DOMAIN_NAME": "Default",
        "OS_PROJECT_NAME": project,
        "OS_PROJECT_DOMAIN_NAME": "Default",
        "OS_REGION_NAME": REGION,
    }


def check_site(topology: Topology, pop: str) -> None:
    """Refuse a PoP that has no OpenStack of its own.

    Raises:
        NotFound: with the names that there are, or with the site to use instead.
    """
    if pop not in topology.pops:
        raise NotFound(f"no PoP `{pop}`", hint=f"there are {', '.join(list(topology.pops)[:10])}")
    if manager := topology.pops[pop].managed_by:
        raise NotFound(
            f"PoP `{pop}` has no OpenStack of its own: it is the availability zone `{pop}` of `{manager}`",
            hint=f"use `sonata emu openrc {manager}`",
        )
