"""Custom constraints of parameters: that a value is an object of the cloud, or written in a certain form."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from ipaddress import ip_address, ip_network
from typing import Any
from zoneinfo import ZoneInfo

from sonata.emulator.cloud.orchestration.calls import CallRefused
from sonata.emulator.cloud.orchestration.kinds.finding import FINDERS, found
from sonata.emulator.cloud.orchestration.work import ResourceFailed, Work
from sonata.formats.hot.parameters import Parameter

_LABEL = r"[a-zA-Z0-9]([a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?"
_MAC = re.compile(r"([0-9a-fA-F]{2}[:-]){5}[0-9a-fA-F]{2}")
_NAME = re.compile(rf"{_LABEL}(\.{_LABEL})*\.?")


def _network(value: str) -> None:
    if "/" not in value:
        raise ValueError(f'Invalid net cidr "{value}"')
    ip_network(value, strict=False)


def _address_or_network(value: str) -> None:
    ip_network(value, strict=False)


def _mac(value: str) -> None:
    if not _MAC.fullmatch(value):
        raise ValueError(f'Invalid MAC address "{value}"')


def _dns_name(value: str) -> None:
    if len(value) > 255 or not _NAME.fullmatch(value):
        raise ValueError(f"'{value}' is no DNS name")


def _absolute_name(value: str) -> None:
    _dns_name(value)
    if not value.endswith("."):
        raise ValueError(f"'{value}' must end with '.'.")


FORMS: Mapping[str, Callable[[str], Any]] = {
    "ip_addr": ip_address,
    "net_cidr": _network,
    "ip_or_cidr": _address_or_network,
    "mac_addr": _mac,
    "json_string": json.loads,
    "timezone": ZoneInfo,
    "dns_name": _dns_name,
    "rel_dns_name": _dns_name,
    "dns_domain": _absolute_name,
}


def unknown(parameters: Iterable[Parameter], values: Mapping[str, Any]) -> list[str]:
    """Findings about constraints that this cloud does not have."""
    return [
        f"Parameter '{parameter.name}' is invalid: \"{values[parameter.name]}\" does not validate {name} "
        "(constraint not found)"
        for parameter in parameters
        for name in parameter.custom
        if name not in FORMS and name not in FINDERS
    ]


async def findings(work: Work, parameters: Iterable[Parameter], values: Mapping[str, Any]) -> list[str]:
    """What is wrong with the values of parameters that have custom constraints."""
    asked = ((parameter.name, name, values[parameter.name]) for parameter in parameters for name in parameter.custom)
    single = ((of, name, one) for of, name, value in asked for one in (value if isinstance(value, list) else [value]))
    return [
        f"Parameter '{of}' is invalid: Error validating value '{one}': {why}"
        for of, name, one in single
        if (why := await _finding(work, name, str(one)))
    ]


async def _finding(work: Work, name: str, value: str) -> str:
    try:
        if check := FORMS.get(name):
            check(value)
        elif value or name != "nova.keypair":
            await found(work, FINDERS[name], value)
    except (ValueError, KeyError, OSError, ResourceFailed, CallRefused) as error:
        return str(error)
    return ""
