"""Demand and power factor, written to be read: one number after the other, in fractions."""

from collections.abc import Mapping, Sequence
from fractions import Fraction

Rows = Mapping[int, tuple[int, bool]]
"""Start -> amount [micro-units], measured from end to end."""


def coincident(registers: Sequence[tuple[int, Rows]]) -> dict[int, int]:
    """Sum of (sign, rows) where each was measured."""
    starts = set.intersection(*(set(rows) for _, rows in registers))
    return {
        start: sum(sign * rows[start][0] for sign, rows in registers)
        for start in sorted(starts)
        if all(rows[start][1] for _, rows in registers)
    }


def largest(load: Mapping[int, int], grid_ms: int) -> tuple[Fraction, int, Fraction] | None:
    """Maximum [kW], its start, mean [kW]."""
    if not load:
        return None
    per_kw = Fraction(1_000_000 * grid_ms, 3_600_000)
    best = max(load.values())
    start = min(at for at, amount in load.items() if amount == best)
    return best / per_kw, start, Fraction(sum(load.values()), len(load)) / per_kw


def power_factor_squared(active: Mapping[int, int], reactive: Mapping[int, int]) -> Fraction | None:
    both = active.keys() & reactive.keys()
    kwh, kvarh = (sum(of[start] for start in both) for of in (active, reactive))
    return Fraction(kwh**2, kwh**2 + kvarh**2) if kwh or kvarh else None
