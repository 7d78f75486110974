"""Periods at +08:00: where the figures of a level start, which level keeps apart what a date parts,
how years and months are written.
"""

from collections.abc import Iterable, Iterator
from datetime import date

from aggregator.ledger.rows import date_of, day_ms
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


def pieces(
    level: Level, grid_ms: int, borders: Iterable[int], from_ms: int, to_ms: int
) -> Iterator[tuple[Level, int, int]]:
    """Yield (level, from, to) that make up the figures of a level that start in [from, to).

    A figure in which a border lies is replaced by shorter ones that no border parts; all others
    stay as long as they were asked for.
    """
    at_ms, end_ms = (first_start(level, grid_ms, time_ms) for time_ms in (from_ms, to_ms))
    parted: dict[int, list[int]] = {}
    for time_ms in sorted(borders):
        after_ms = first_start(level, grid_ms, time_ms)
        if after_ms != time_ms and at_ms < time_ms < end_ms:
            parted.setdefault(after_ms, []).append(time_ms)
    for after_ms, inside in parted.items():
        before_ms = _start_before(level, grid_ms, after_ms)
        if at_ms < before_ms:
            yield level, at_ms, before_ms
        yield level_with_borders(level, grid_ms, inside), before_ms, after_ms
        at_ms = after_ms
    if at_ms < end_ms:
        yield level, at_ms, end_ms


def period_span(period: str) -> tuple[int, int]:
    """Return start and end [ms UTC] of a Beijing year like 2026 or month like 2026-03."""
    year, _, month = period.partition("-")
    start_ms = day_ms(date(int(year), int(month or 1), 1))
    return start_ms, month_after(start_ms) if month else day_ms(date(int(year) + 1, 1, 1))


def month_text(month_ms: int) -> str:
    """Return `2026-10` for the start of a Beijing month."""
    return date_of(month_ms).strftime("%Y-%m")


def month_of(text: str) -> int:
    """Return the start [ms UTC] of the Beijing month `2026-10`; ValueError for anything else."""
    year, mark, month = text.partition("-")
    if not (mark and len(year) == 4 and len(month) == 2 and (year + month).isdecimal()):
        raise ValueError(f"{text!r:.40} is not a month like 2026-10")
    return day_ms(date(int(year), int(month), 1))


def _start_before(level: Level, grid_ms: int, start_ms: int) -> int:
    """Return the start of the figure that ends where another one starts."""
    length_ms = {Level.DAY: DAY_MS, Level.HOUR: HOUR_MS}.get(level, grid_ms)
    return month_start(start_ms - 1) if level is Level.MONTH else start_ms - length_ms
