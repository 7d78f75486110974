"""Delays counted in buckets: any number of them in little room, percentiles never understated."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

_FINE_MS = 1_000


class Delays:
    """Buckets of 1 ms up to a second, then of three digits; a percentile is its bucket's end."""

    def __init__(self) -> None:
        self._buckets: Counter[int] = Counter()
        self.count = 0

    def add(self, delay_ms: float, times: int = 1) -> None:
        """Count a delay; one below zero, which clocks can make of nothing, counts as zero."""
        self._buckets[_bucket(delay_ms)] += times
        self.count += times

    def merge(self, other: Delays) -> None:
        """Count what another has counted."""
        self._buckets.update(other._buckets)
        self.count += other.count

    def percentile(self, percent: float) -> int | None:
        """The delay [ms] that `percent` of all do not exceed; None of nothing."""
        needed = max(1, -(-self.count * percent // 100))
        seen = 0
        for bucket in sorted(self._buckets):
            seen += self._buckets[bucket]
            if seen >= needed:
                return bucket
        return None

    @property
    def largest(self) -> int | None:
        """The longest delay [ms]."""
        return max(self._buckets, default=None)

    def summary(self) -> dict[str, int | None]:
        """What a report says of it [ms]."""
        named = {f"p{percent}": self.percentile(percent) for percent in (50, 90, 99)}
        return {"count": self.count, **named, "max": self.largest}


def _bucket(delay_ms: float) -> int:
    """The end of a delay's bucket [ms]."""
    whole = max(0, -int(-delay_ms // 1))
    width = 1
    while whole > _FINE_MS * width:
        width *= 10
    return -(-whole // width) * width


def merged(parts: Iterable[Delays]) -> Delays:
    """All of them in one."""
    total = Delays()
    for part in parts:
        total.merge(part)
    return total
