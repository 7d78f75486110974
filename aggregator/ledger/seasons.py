"""Reads the seasons of a calendar's row: which period holds at which minute, month by month.

Every month stands in exactly one season, every minute of a season's day in exactly one period.
"""

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from aggregator.ledger.rows import is_a, kind_name
from aggregator.ledger.tariffs import DAY_MIN, PERIODS, Period

Fault = tuple[str, str]
"""Key and reason."""
Day = tuple[tuple[int, Period], ...]
"""(minute of the day, period that begins then), the first at 0."""

_SPAN = re.compile(r"([01][0-9]|2[0-4]):([0-5][0-9])-([01][0-9]|2[0-4]):([0-5][0-9])")


@dataclass(frozen=True, slots=True)
class Year:
    """The day of each month, January first; of use only without faults."""

    months: tuple[Day, ...]
    faults: tuple[tuple[str, str, str], ...]
    """(" season 1" or "", key, reason)."""


def read_seasons(seasons: Sequence[Any]) -> Year:
    """Read the `season` tables of one row."""
    faults: list[tuple[str, str, str]] = []
    days: dict[int, Day] = {}
    owners: dict[int, list[int]] = defaultdict(list)
    for number, season in enumerate(seasons, start=1):
        found = list(_season_faults(season))
        faults += [(f" season {number}", key, reason) for key, reason in found]
        if isinstance(season, Mapping) and all(key != "months" for key, _ in found):
            for month in season["months"]:
                owners[month].append(number)
                if not found:
                    days[month] = _day(season)
    for month in range(1, 13):
        if not owners[month]:
            faults.append(("", "season", f"gap: no season has month {month}"))
        elif len(owners[month]) > 1:
            names = " and ".join(map(str, owners[month]))
            faults.append(("", "season", f"overlap: month {month} stands in seasons {names}"))
    return Year(tuple(days.get(month, ()) for month in range(1, 13)), tuple(faults))


def _season_faults(season: Any) -> Iterator[Fault]:
    if not isinstance(season, Mapping):
        yield "", "not a table"
        return
    for key in sorted({*season} - {"months", *PERIODS}):
        yield key, f"unknown key; periods are {', '.join(PERIODS)}"
    months = season.get("months")
    if (
        not isinstance(months, list)
        or not months
        or not all(is_a(month, int) and 1 <= month <= 12 for month in months)
        or len(set(months)) < len(months)
    ):
        yield "months", f"{months!r} is not a list of different months 1 to 12"
    spans: list[tuple[int, int, str]] = []
    for period in PERIODS:
        texts = season.get(period, [])
        if not isinstance(texts, list) or not all(is_a(text, str) for text in texts):
            yield period, f"not a list of {kind_name(str)} like '16:00-19:00'"
            continue
        for text in texts:
            try:
                spans.append((*_span(text), period))
            except ValueError as error:
                yield period, str(error)
    yield from _day_faults(spans)


def _day_faults(spans: list[tuple[int, int, str]]) -> Iterator[Fault]:
    """Tell where the day is covered twice or not at all."""
    edges = [(0, 0, ""), *sorted(spans), (DAY_MIN, DAY_MIN, "")]
    reached, last = 0, ""
    for (_, end, period), (begin, _, following) in pairwise(edges):
        if end >= reached:
            reached, last = end, period
        if begin > reached:
            yield following or last, f"gap: nothing holds from {_clock(reached)} to {_clock(begin)}"
        elif begin < reached and following:
            reason = f"overlap: begins at {_clock(begin)}, while {last} lasts until"
            yield following, f"{reason} {_clock(reached)}"


def _span(text: str) -> tuple[int, int]:
    """Read '16:00-19:00' as minutes of the day."""
    match = _SPAN.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is not a span like '16:00-19:00'")
    h1, m1, h2, m2 = map(int, match.groups())
    begin, end = 60 * h1 + m1, 60 * h2 + m2
    if end > DAY_MIN:
        raise ValueError(f"{text!r} ends after 24:00")
    if begin >= end:
        raise ValueError(f"{text!r} ends before it begins; cut it at 24:00")
    return begin, end


def _day(season: Mapping[str, Any]) -> Day:
    spans = sorted((_span(text)[0], p) for p in PERIODS for text in season.get(p, []))
    return tuple(spans)


def _clock(minute: int) -> str:
    return f"{minute // 60:02}:{minute % 60:02}"
