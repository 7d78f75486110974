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
from contract.interval import DAY_MS, day_start
from contract.stored import ARRIVAL_DAY
from contract.topics import Address

_Key = tuple[str, str, str, int]
"""Region, site, edge, start of the day [ms]."""


class Arrivals:
    """Counts on from what is stored. Owned by the pipeline's thread."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._counts: dict[_Key, tuple[int, int, int]] = {}
        """Readings, late ones, longest [ms], since they were written last."""

    def take(self, arrivals: Iterable[Arrival], now_ms: int) -> None:
        """Count batches that were committed now."""
        for arrival in arrivals:
            for columns in (arrival.cumulative, arrival.instantaneous):
                times = columns.time_ms
                if len(times) == 0:
                    continue
                if day_start(int(times.min())) == day_start(int(times.max())):
                    self._take(arrival.address, times, now_ms)  # nearly always
                    continue
                day = fixed_starts(times, DAY_MS)
                for day_ms in np.unique(day).tolist():
                    self._take(arrival.address, times[day == day_ms], now_ms)

    def _take(self, address: Address, times: Int64, now_ms: int) -> None:
        """Count readings of one day."""
        oldest_ms = int(times.min())
        since_ms = now_ms - self._store.grid_ms
        late = int((times < since_ms).sum()) if oldest_ms < since_ms else 0
        key = (address.region, address.site, address.edge, day_start(oldest_ms))
        known = self._counts.get(key, (0, 0, 0))
        longest = max(known[2], now_ms - oldest_ms)
        self._counts[key] = (known[0] + len(times), known[1] + late, longest)

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
            both = (readings + counts[0], late + counts[1], max(longest, counts[2]))
            rows.append((key[:3], key[3], dict(zip(ARRIVAL_DAY.integers, both, strict=True))))
        return Points.of_rows(ARRIVAL_DAY, rows)

    def written(self) -> None:
        """Forget what `points` gave."""
        self._counts.clear()
