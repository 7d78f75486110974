"""Delays counted in buckets: any number of them in little room, percentiles never understated.

What never came is counted with the time it has waited, and from there on a percentile is a bound:
left out, the slowest would make the figures better.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

_FINE_MS = 1_000


class Delays:
    """Buckets of 1 ms up to a second, then of three digits; a percentile is its bucket's end."""

    def __init__(self) -> None:
        self._buckets: Counter[int] = Counter()
        self.count = 0
        self.unsettled = 0
        """How many of them had no end yet: they are at least as long."""
        self._sure_ms: int | None = None
        """The least of those; percentiles below it are exact."""

    def add(self, delay_ms: float, *, unsettled: bool = False) -> None:
        """Count a delay; one below zero, which clocks can make of nothing, counts as zero."""
        bucket = _bucket(delay_ms)
        self._buckets[bucket] += 1
        self.count += 1
        if unsettled:
            self.unsettled += 1
            self._sure_ms = bucket if self._sure_ms is None else min(bucket, self._sure_ms)

    def merge(self, other: Delays) -> None:
        """Count what another has counted."""
        self._buckets.update(other._buckets)
        self.count += other.count
        self.unsettled += other.unsettled
        sure = [ms for ms in (self._sure_ms, other._sure_ms) if ms is not None]
        self._sure_ms = min(sure, default=None)

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
        return {
            "count": self.count,
            **named,
            "max": self.largest,
            "unsettled": self.unsettled,
            "at_least_from": self._sure_ms,
        }


def shown(summary: Mapping[str, int | None], name: str) -> str:
    """One figure of a summary for people; ≥: what still waited may make it any longer."""
    value, sure_ms = summary[name], summary["at_least_from"]
    if value is None:
        return "–"
    return f"{'≥ ' if sure_ms is not None and value >= sure_ms else ''}{value:,}"


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
