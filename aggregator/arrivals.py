"""How many readings came, and how many of them late: by gateway and Beijing day of the reading.

A reading is late when it came more than a base interval after it was read: its interval was shown
as missing until then. Whether it was older than others of its channel does not matter here.
"""

from collections.abc import Iterable, Sequence

import numpy as np

from aggregator.batch import Int64
from aggregator.ingest.assemble import Arrival
from aggregator.kernels.rollup import fixed_starts
from aggregator.points import Points
from aggregator.store.base import Store
from contract.interval import DAY_MS
from contract.stored import ARRIVAL_DAY

_Key = tuple[str, str, str, int]
"""Region, site, edge, start of the day [ms]."""


class Arrivals:
    """Counts on from what is stored. Owned by the pipeline's thread."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._counts: dict[_Key, Int64] = {}
        """Readings, late ones, longest [ms], since they were written last."""

    def take(self, arrivals: Iterable[Arrival], now_ms: int) -> None:
        """Count batches that were committed now."""
        for arrival in arrivals:
            times = np.concatenate([arrival.cumulative.time_ms, arrival.instantaneous.time_ms])
            day = fixed_starts(times, DAY_MS)
            took = now_ms - times
            for day_ms in np.unique(day).tolist():
                own = took[day == day_ms]
                late = int((own > self._store.grid_ms).sum())
                counts = np.array([len(own), late, max(0, int(own.max()))], np.int64)
                address = arrival.address
                self._add((address.region, address.site, address.edge, day_ms), counts)

    def _add(self, key: _Key, counts: Int64) -> None:
        known = self._counts.setdefault(key, np.zeros(3, np.int64))
        known[:2] += counts[:2]
        known[2] = max(known[2], counts[2])

    def points(self) -> Points:
        """Return what was counted, with what is stored of the same days; StoreRetriable."""
        if not self._counts:
            return Points.empty(ARRIVAL_DAY)
        days = {key[3] for key in self._counts}
        found: dict[_Key, Sequence[int]] = {}
        for day_ms in days:
            sites = {key[1] for key in self._counts if key[3] == day_ms}
            stored = self._store.points(ARRIVAL_DAY, day_ms, day_ms + 1, {"site": sites})
            for tags, at, row in stored.rows():
                found[*tags, at] = [row[name] for name in ARRIVAL_DAY.integers]  # type: ignore[index]
        rows = []
        for key, counts in self._counts.items():
            readings, late, longest = found.get(key, (0, 0, 0))
            fields = (readings + int(counts[0]), late + int(counts[1]))
            both = (*fields, max(longest, int(counts[2])))
            rows.append((key[:3], key[3], dict(zip(ARRIVAL_DAY.integers, both, strict=True))))
        return Points.of_rows(ARRIVAL_DAY, rows)

    def written(self) -> None:
        """Forget what `points` gave."""
        self._counts.clear()
