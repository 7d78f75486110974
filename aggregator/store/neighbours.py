"""Find a reading's neighbours in a store that is quick by time range, not by position.

The range is widened step by step, and only for series that still lack a neighbour: neighbours of
a late reading nearly always lie within the hour, those of a meter that was away do not.
"""

from collections.abc import Callable
from collections.abc import Set as AbstractSet

import numpy as np

from aggregator.batch import Int32, ReadingColumns
from aggregator.store.base import distinct

Fetch = Callable[[Int32, int, int], ReadingColumns]
"""(series, from_ms, to_ms), both ends included -> settled readings sorted by (series, time)."""

EARLIEST_MS = 0
LATEST_MS = 9_000_000_000_000
"""The year 2255: below the largest time that InfluxDB can hold."""
_STEPS_MS = (3_600_000, 86_400_000, 32 * 86_400_000)


def with_neighbours(
    fetch: Fetch,
    series: Int32,
    from_ms: int,
    to_ms: int,
    before: int,
    after: int,
    counting: AbstractSet[int] | None,
) -> ReadingColumns:
    """Answer `StoreReader.readings` by range queries alone."""
    wanted = distinct(series)
    parts = [fetch(wanted, from_ms, to_ms)]
    if before:
        spans = [(from_ms - step, from_ms - 1) for step in _STEPS_MS]
        spans.append((EARLIEST_MS, from_ms - 1))
        parts.append(_search(fetch, wanted, spans, before, counting))
    if after:
        spans = [(to_ms + 1, to_ms + step) for step in _STEPS_MS]
        spans.append((to_ms + 1, LATEST_MS))
        parts.append(_search(fetch, wanted, spans, after, counting))
    found = ReadingColumns.concatenate(parts)
    return found.take(np.lexsort((found.time_ms, found.series)))


def _search(
    fetch: Fetch,
    series: Int32,
    spans: list[tuple[int, int]],
    need: int,
    counting: AbstractSet[int] | None,
) -> ReadingColumns:
    parts: list[ReadingColumns] = []
    backward = spans[0][0] > spans[-1][0]
    seen = np.zeros(len(series), np.int64)
    lacking = series
    done: tuple[int, int] | None = None
    for low, high in spans:
        if done is None:
            span = (low, high)
        else:
            span = (low, done[0] - 1) if backward else (done[1] + 1, high)
        done = (low, high)
        if span[0] > span[1]:
            continue
        parts.append(fetch(lacking, *span))
        counts = parts[-1].series[_counts(parts[-1], counting)]
        np.add.at(seen, np.searchsorted(series, counts), 1)
        lacking = series[seen < need]
        if len(lacking) == 0:
            break
    return _nearest(ReadingColumns.concatenate(parts), need, counting, backward=backward)


def _counts(columns: ReadingColumns, counting: AbstractSet[int] | None) -> np.ndarray:
    if counting is None:
        return np.ones(len(columns), np.bool_)
    return np.isin(columns.quality, np.array(sorted(counting), np.uint8))


def _nearest(
    columns: ReadingColumns, need: int, counting: AbstractSet[int] | None, *, backward: bool
) -> ReadingColumns:
    """Keep per series what is no further away than its `need`-th counting reading."""
    if len(columns) == 0:
        return columns
    distance = -columns.time_ms if backward else columns.time_ms
    nearest_first = columns.take(np.lexsort((distance, columns.series)))
    counts = _counts(nearest_first, counting).astype(np.int64)
    nearer = np.cumsum(counts) - counts
    first = np.searchsorted(nearest_first.series, nearest_first.series, side="left")
    return nearest_first.take(nearer - nearer[first] < need)
