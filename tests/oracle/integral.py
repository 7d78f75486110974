"""The integral of a rate, interval by interval, in fractions: slow and obvious."""

from collections.abc import Mapping
from fractions import Fraction
from itertools import pairwise
from typing import NamedTuple

HOUR_MS = 3_600_000


class Integral(NamedTuple):
    """One interval."""

    amount: int
    measured_ms: int
    received: int


def half_up(value: Fraction) -> int:
    return (value + Fraction(1, 2)).__floor__()


def rate_at(before: tuple[int, int], after: tuple[int, int], time_ms: int) -> int:
    (ta, ra), (tb, rb) = before, after
    return half_up(ra + Fraction((rb - ra) * (time_ms - ta), tb - ta))


def integral(readings: Mapping[int, int], gap_ms: int, grid_ms: int) -> dict[int, Integral]:
    """readings: time [ms] -> rate [micro-units per hour]."""
    known = sorted(readings.items())
    if not known:
        return {}
    found = {}
    first, last = known[0][0] // grid_ms * grid_ms, known[-1][0]
    for start in range(first, last + 1, grid_ms):
        end = start + grid_ms
        amount, measured = Fraction(0), 0
        for before, after in pairwise(known):
            low, high = max(before[0], start), min(after[0], end)
            if after[0] - before[0] <= gap_ms and low < high:
                rates = rate_at(before, after, low) + rate_at(before, after, high)
                amount += Fraction(rates * (high - low), 2 * HOUR_MS)
                measured += high - low
        received = sum(start <= time_ms < end for time_ms, _ in known)
        if measured or received:
            found[start] = Integral(half_up(amount), measured, received)
    return found
