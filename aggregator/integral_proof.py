"""The proof of channels that no register counts: rates as stored against the figures as stored.

The rates are integrated again with code of the proof's own, in whole numbers and without the
kernel, interval by interval as docs/formats/ledger.md says.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from fractions import Fraction
from itertools import pairwise

from contract.interval import HOUR_MS

Rates = Mapping[int, int]
"""Time [ms UTC] -> rate behind the multiplier [micro-units per hour], those that count."""


def integrals(rates: Rates, gap_ms: int, grid_ms: int) -> Mapping[int, int]:
    """Return the amount of every interval [micro-units] by its start."""
    doubled: dict[int, int] = defaultdict(int)
    for (t0, r0), (t1, r1) in pairwise(sorted(rates.items())):
        if t1 - t0 > gap_ms:
            continue
        for low, high in pairwise(_cuts(t0, t1, grid_ms)):
            ends = sum(_half_up(r0 + Fraction((r1 - r0) * (t - t0), t1 - t0)) for t in (low, high))
            doubled[low // grid_ms * grid_ms] += ends * (high - low)
    return {start: _half_up(Fraction(area, 2 * HOUR_MS)) for start, area in doubled.items()}


def _cuts(t0: int, t1: int, grid_ms: int) -> Iterator[int]:
    """Yield both ends and the borders of intervals between them."""
    yield t0
    yield from range((t0 // grid_ms + 1) * grid_ms, t1, grid_ms)
    yield t1


def _half_up(value: Fraction) -> int:
    return (2 * value.numerator + value.denominator) // (2 * value.denominator)
