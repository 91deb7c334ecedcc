"""The `policy` of a forwarding path: which packets enter it.

SONATA and 5GTANGO leave this text open and write `none`. We read `key=value` pairs, separated by commas:
`protocol=tcp,destination_port=80`. `none`, or nothing, stands for all IPv4.
"""

from __future__ import annotations

from typing import Literal, cast

from sonata._lib.values import dataclass

_EXAMPLE = "write `none` or, for instance, `protocol=tcp,destination_port=80`"


@dataclass(frozen=True, slots=True)
class Policy:
    """What enters a path; None stands for any. A port needs a protocol."""

    protocol: Literal["tcp", "udp"] | None = None
    destination_port: int | None = None


def parse_policy(text: str | None) -> Policy:
    """Read a policy.

    Raises:
        ValueError: with a message for people.
    """
    if text is None or text.strip().lower() in {"", "none"}:
        return Policy()
    pairs = dict(_pair(part) for part in text.split(","))
    if unknown := pairs.keys() - {"protocol", "destination_port"}:
        raise ValueError(f"policy has the unknown key `{min(unknown)}`; {_EXAMPLE}")
    policy = Policy(_protocol(pairs.get("protocol")), _port(pairs.get("destination_port")))
    if policy.destination_port is not None and policy.protocol is None:
        raise ValueError(f"policy `{text}` gives a port without a protocol; {_EXAMPLE}")
    return policy


def _pair(part: str) -> tuple[str, str]:
    key, separator, value = (piece.strip() for piece in part.partition("="))
    if not separator or not value:
        raise ValueError(f"policy part `{part.strip()}` is not `key=value`; {_EXAMPLE}")
    return key, value


def _protocol(value: str | None) -> Literal["tcp", "udp"] | None:
    if value not in {"tcp", "udp", None}:
        raise ValueError(f"policy protocol `{value}` is none of `tcp`, `udp`")
    return cast("Literal['tcp', 'udp'] | None", value)


def _port(value: str | None) -> int | None:
    if value is None:
        return None
    if not value.isascii() or not value.isdigit() or not 1 <= int(value[:6]) <= 65535:
        raise ValueError(f"policy port `{value}` is not within 1..65535")
    return int(value)
