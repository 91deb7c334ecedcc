"""Microversions of the Block Storage API: one header, 3.0 where none is asked for."""

from __future__ import annotations

import re

from starlette.requests import Request

from sonata.api.openstack.call import Microversion
from sonata.api.openstack.faults import NotAcceptable
from sonata.errors import InvalidInput

OLDEST: Microversion = (3, 0)
NEWEST: Microversion = (3, 70)
HEADER = "openstack-api-version"


def volume_microversion_of(request: Request) -> Microversion:
    """The microversion asked for; a header may name those of several services.

    Raises:
        InvalidInput: it cannot be read.
        NotAcceptable: it is out of range.
    """
    for part in request.headers.get(HEADER, "").split(","):
        service, _, asked = part.strip().partition(" ")
        if service in ("volume", "block-storage") and asked:
            return _read(asked.strip())
    return OLDEST


def volume_microversion_headers(version: Microversion) -> dict[str, str]:
    """What Cinder tells about the microversion in each answer."""
    return {HEADER: f"volume {dotted(version)}", "vary": "OpenStack-API-Version"}


def dotted(version: Microversion) -> str:
    """`3.70`."""
    return f"{version[0]}.{version[1]}"


def _read(asked: str) -> Microversion:
    if asked == "latest":
        return NEWEST
    if not re.fullmatch(r"\d{1,3}\.\d{1,3}", asked):
        raise InvalidInput(f"API Version String {asked} is of invalid format. Must be of format MajorNum.MinorNum.")
    major, minor = asked.split(".")
    version = (int(major), int(minor))
    if not OLDEST <= version <= NEWEST:
        raise NotAcceptable(
            f"Version {asked} is not supported by the API. Minimum is {dotted(OLDEST)} and maximum is {dotted(NEWEST)}."
        )
    return version
