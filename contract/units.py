"""Units and micro-units.

The wire carries what the meter's display shows, in the channel's unit. A cumulative register is
an integer count of micro-units (1e-6 of kWh, kvarh, m3, t or GJ) everywhere else, so that sums
of intervals equal differences of registers exactly.
"""

import math
from enum import StrEnum

MICRO = 1_000_000
"""Micro-units in one unit."""

MAX_CUMULATIVE_MICRO = 4_000_000_000 * MICRO
"""Largest magnitude of a cumulative value [micro-units]: four thousand million units.

Up to 2**32 units the nearest double is at most 2**-22 units away, a quarter of a micro-unit, so
that a JSON number times one million rounds back to the same integer. Above, it does not: one in
four integers just below 2**52 comes back as its neighbour.
"""


class Unit(StrEnum):
    """Closed list of the units of the channel catalogue."""

    KWH = "kWh"
    KVARH = "kvarh"
    M3 = "m3"
    TONNE = "t"
    GJ = "GJ"
    KW = "kW"
    KVAR = "kvar"
    KVA = "kVA"
    ONE = "1"
    HZ = "Hz"
    VOLT = "V"
    AMPERE = "A"
    M3_PER_H = "m3/h"
    TONNE_PER_H = "t/h"
    GJ_PER_H = "GJ/h"
    CELSIUS = "degC"
    KPA = "kPa"


def to_micro(value: float) -> int:
    """Convert a value [unit] to an integer [micro-units], rounded to nearest.

    Raises ValueError when the value is not finite or beyond ``MAX_CUMULATIVE_MICRO``.
    """
    scaled = value * MICRO
    if not math.isfinite(scaled) or abs(scaled) > MAX_CUMULATIVE_MICRO:
        raise ValueError(f"{value!r} is not within ±{MAX_CUMULATIVE_MICRO // MICRO} units")
    return round(scaled)


def from_micro(micro: int) -> float:
    """Convert [micro-units] to the nearest double [unit]; ``to_micro`` is its exact inverse."""
    return micro / MICRO
