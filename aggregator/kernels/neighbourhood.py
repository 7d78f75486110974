"""Late readings: what to read again, and which intervals may then be rewritten.

A reading's verdict looks two readings around it, and at most `LONGEST_SUSPECT` readings in a row
are left out (found by search over all patterns of values, tests/aggregator). So within
`NEIGHBOURS` readings on either side of a late one there is a reading that counts, whose verdict
the late one cannot change, and whose own context is complete. For late readings of one channel
between t_first and t_last, joined with all the store has:

1. ``lo, hi`` = the times of the NEIGHBOURS-th reading before t_first and after t_last (of the
   first or last reading of the series where there are fewer).
2. ``start, end = affected_span(lo, hi, grid)``.
3. Read NEIGHBOURS readings before ``start``, all in [start, end), NEIGHBOURS from ``end`` on.
4. An empty head with the channel's parameters `advance`s over them; of its rows, those with start
   in [start, end) are to be written.
5. The channel's own head is outdated when ``end`` lies beyond the start of the interval that holds
   its last settled reading, for it carries what that interval has so far. Then rebuild it.

A head is rebuilt, after a restart too, from the interval that holds the NEIGHBOURS-th reading
before the last one: steps 2 to 4 with ``hi`` the last reading, and the head is kept.
"""

LONGEST_SUSPECT = 6
"""Most readings in a row that are ever left out."""
NEIGHBOURS = 12
"""Readings to read on either side: 2 changed verdicts + 6 left out + 1 that counts + 2 context."""


def affected_span(lo_ms: int, hi_ms: int, grid_ms: int) -> tuple[int, int]:
    """Intervals [start, end) from the one that holds ``lo_ms`` to the one that holds ``hi_ms``."""
    return lo_ms // grid_ms * grid_ms, hi_ms // grid_ms * grid_ms + grid_ms
