"""Quantities as people write them: `20ms`, `100Mbit`, `32GiB`, `0.1%`. SI inside, text outside.

Parsing is exact (decimal, not binary arithmetic), and `parse_*(format_*(value)) == value` holds for every value that a
parser can return. Every parser takes text, or the bare number 0 which needs no unit, and raises ValueError with a
message that names the units to choose from; booleans, other numbers without a unit and negative values are refused.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal

_NUMBER = re.compile(r"(?P<number>[+-]?\d+(\.\d*)?|[+-]?\.\d+)\s*(?P<unit>[A-Za-z]+|%)?", re.ASCII)
# Longer than any float written out.
_LONGEST = 400

_DURATIONS: Mapping[str, Decimal] = {
    "ns": Decimal("1e-9"),
    "us": Decimal("1e-6"),
    "ms": Decimal("1e-3"),
    "s": Decimal(1),
    "min": Decimal(60),
    "h": Decimal(3600),
}
_RATES: Mapping[str, Decimal] = {
    "bit": Decimal(1),
    "kbit": Decimal(10**3),
    "Mbit": Decimal(10**6),
    "Gbit": Decimal(10**9),
    "Tbit": Decimal(10**12),
}
_SIZES: Mapping[str, Decimal] = {
    "B": Decimal(1),
    "kB": Decimal(10**3),
    "MB": Decimal(10**6),
    "GB": Decimal(10**9),
    "TB": Decimal(10**12),
    "KiB": Decimal(2**10),
    "MiB": Decimal(2**20),
    "GiB": Decimal(2**30),
    "TiB": Decimal(2**40),
}
_SHARES: Mapping[str, Decimal] = {"%": Decimal("1e-2")}

_DURATIONS_WRITTEN = ("s", "ms", "us", "ns")
_RATES_WRITTEN = ("Tbit", "Gbit", "Mbit", "kbit", "bit")
_SIZES_WRITTEN = ("TiB", "GiB", "MiB", "KiB")


def parse_duration(value: object) -> float:
    """Seconds from `500us`, `20ms`, `1.5s`, `2min`, `1h`."""
    return float(_parse(value, _DURATIONS, "duration", "20ms"))


def parse_rate(value: object) -> float:
    """Bits per second from `64kbit`, `100Mbit`, `10Gbit`; prefixes are decimal."""
    return float(_parse(value, _RATES, "rate", "100Mbit"))


def parse_size(value: object) -> int:
    """Bytes from `512MiB`, `32GiB` (binary) or `500MB` (decimal); a fraction of a byte is refused."""
    size = _parse(value, _SIZES, "size", "32GiB")
    if size != size.to_integral_value():
        raise ValueError(f"`{value}` is not a whole number of bytes")
    return int(size)


def parse_share(value: object) -> float:
    """A share in 0..1 from a percentage such as `0.1%`; more than `100%` is refused."""
    share = float(_parse(value, _SHARES, "percentage", "0.1%"))
    if share > 1:
        raise ValueError(f"`{value}` is more than 100%")
    return share


def format_duration(seconds: float) -> str:
    """Text of a duration in seconds, in the largest unit of which it is at least one."""
    return _format(seconds, _DURATIONS, _DURATIONS_WRITTEN)


def format_rate(bits_per_second: float) -> str:
    """Text of a rate in bits per second."""
    return _format(bits_per_second, _RATES, _RATES_WRITTEN)


def format_size(size_bytes: int) -> str:
    """Text of a size in bytes, in the largest binary unit that divides it."""
    unit = next((unit for unit in _SIZES_WRITTEN if size_bytes and size_bytes % int(_SIZES[unit]) == 0), "B")
    return f"{size_bytes // int(_SIZES[unit])}{unit}"


def format_share(share: float) -> str:
    """Text of a share in 0..1 as a percentage."""
    return _format(share, _SHARES, ("%",))


def _parse(value: object, units: Mapping[str, Decimal], noun: str, example: str) -> Decimal:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise ValueError(f"a {noun} is a text such as `{example}`")
    text = str(value).strip()
    match = _NUMBER.fullmatch(text) if len(text) <= _LONGEST else None
    if match is None:
        raise ValueError(f"`{text[:40]}` is not a {noun}; write it as `{example}`")
    number, unit = Decimal(match["number"]), match["unit"] or ""
    if number < 0:
        raise ValueError(f"`{text}` is negative")
    if not unit and number == 0:
        return Decimal(0)
    if unit not in units:
        fault = f"has the unknown unit `{unit}`" if unit else "has no unit"
        raise ValueError(f"`{text}` {fault}; a {noun} has one of {', '.join(f'`{name}`' for name in units)}")
    return number * units[unit]


def _format(value: float, units: Mapping[str, Decimal], written: tuple[str, ...]) -> str:
    # repr is the shortest text that reads back as the same float, so nothing is lost on the way.
    exact = Decimal(repr(value))
    unit = next((unit for unit in written if exact >= units[unit]), written[-1])
    return f"{(exact / units[unit]).normalize():f}{unit}"
