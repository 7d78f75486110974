"""Where the figures of a level start, and which level keeps apart what a date parts."""

from collections.abc import Iterable

from contract.interval import DAY_MS, HOUR_MS, day_start, floor_to, hour_start, month_start
from contract.interval import next_month as month_after
from contract.stored import Level


def first_start(level: Level, grid_ms: int, time_ms: int) -> int:
    """Return the first start of a figure that is not before a time [ms UTC]."""
    if level is Level.MONTH:
        start_ms = month_start(time_ms)
        return start_ms if start_ms == time_ms else month_after(time_ms)
    length_ms = {Level.DAY: DAY_MS, Level.HOUR: HOUR_MS}.get(level, grid_ms)
    start = {Level.DAY: day_start, Level.HOUR: hour_start}.get(level)
    start_ms = start(time_ms) if start else floor_to(time_ms, grid_ms)
    return start_ms if start_ms == time_ms else start_ms + length_ms


def level_with_borders(level: Level, grid_ms: int, borders: Iterable[int]) -> Level:
    """Return the longest level up to a given one in whose figures no border lies; else INTERVAL."""
    times = list(borders)
    levels = [Level.MONTH, Level.DAY, Level.HOUR, Level.INTERVAL]
    for one in levels[levels.index(level) :]:
        if all(first_start(one, grid_ms, time_ms) == time_ms for time_ms in times):
            return one
    return Level.INTERVAL
