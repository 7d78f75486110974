"""The interval grid: half-open ``[start, end)`` in UTC ms, aligned to the epoch, named by START.

Hour, day and month are cut at Beijing time, a fixed +08:00: China has no summer time.
"""

from datetime import UTC, datetime

SECOND_MS = 1_000
MINUTE_MS = 60 * SECOND_MS
HOUR_MS = 60 * MINUTE_MS
DAY_MS = 24 * HOUR_MS
BEIJING_OFFSET_MS = 8 * HOUR_MS
GRID_MS = 15 * MINUTE_MS
"""Default interval length [ms]; one per deployment, 1 to 60 minutes, divides the hour."""


def check_grid(grid_ms: int) -> int:
    """Return ``grid_ms`` when it is 1 to 60 whole minutes and divides the hour."""
    if MINUTE_MS <= grid_ms <= HOUR_MS and grid_ms % MINUTE_MS == 0 and HOUR_MS % grid_ms == 0:
        return grid_ms
    raise ValueError(f"{grid_ms} ms is not 1 to 60 whole minutes dividing the hour")


def floor_to(time_ms: int, length_ms: int) -> int:
    """Return the start [ms] of the epoch-aligned interval of ``length_ms`` holding ``time_ms``."""
    return time_ms - time_ms % length_ms


def hour_start(time_ms: int) -> int:
    """Return the start [ms UTC] of the hour."""
    return floor_to(time_ms, HOUR_MS)


def day_start(time_ms: int) -> int:
    """Return the start [ms UTC] of the Beijing day."""
    return floor_to(time_ms + BEIJING_OFFSET_MS, DAY_MS) - BEIJING_OFFSET_MS


def month_start(time_ms: int) -> int:
    """Return the start [ms UTC] of the Beijing month."""
    local = datetime.fromtimestamp((time_ms + BEIJING_OFFSET_MS) // SECOND_MS, UTC)
    return _utc_ms(local.year, local.month)


def next_month(time_ms: int) -> int:
    """Return the start [ms UTC] of the Beijing month after the one holding ``time_ms``."""
    local = datetime.fromtimestamp((time_ms + BEIJING_OFFSET_MS) // SECOND_MS, UTC)
    return _utc_ms(local.year + local.month // 12, local.month % 12 + 1)


def _utc_ms(year: int, month: int) -> int:
    return int(datetime(year, month, 1, tzinfo=UTC).timestamp()) * SECOND_MS - BEIJING_OFFSET_MS
