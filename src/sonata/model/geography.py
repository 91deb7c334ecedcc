"""Distances on earth, and how long light in a fibre takes for them."""

from __future__ import annotations

import math

EARTH_RADIUS_KM = 6371.0088
"""Mean radius (IUGG)."""
FIBRE_KM_PER_S = 299_792.458 * 2 / 3
"""Light in glass has about two thirds of its speed in vacuum."""

Location = tuple[float, float]


def great_circle_km(a: Location, b: Location) -> float:
    """Kilometres between two places, each a latitude and a longitude in degrees; by the haversine formula."""
    (lat_a, lon_a), (lat_b, lon_b) = (map(math.radians, place) for place in (a, b))
    half = math.sin((lat_b - lat_a) / 2) ** 2 + math.cos(lat_a) * math.cos(lat_b) * math.sin((lon_b - lon_a) / 2) ** 2
    return 2 * EARTH_RADIUS_KM * math.asin(math.sqrt(min(1.0, half)))


def fibre_delay_s(kilometres: float, detour: float = 1.0) -> float:
    """One-way delay of a fibre in seconds, to the microsecond; `detour` is its length as a multiple of the distance."""
    return round(kilometres * detour / FIBRE_KM_PER_S, 6)
