"""The chaos proof: truth = what was answered = what is stored = every figure. Pure, with own code.

1. Totals   per counter, from first to last reading: ledger = answered, true within two steps of the
            display, nothing held (`simulators.demo.proof`).
2. Readings each answer of a meter is the truth within two steps of its display, and is stored, but
            for what an edge had not committed when it was killed (`Lost`); each stored reading of a
            counter was shown by its meter at that time; what an outbox holds is stored, once.
3. Figures  each interval is what its readings make of it, exactly: amount, estimated part, times
            measured and estimated, whether a reading was received. The rule is that of
            docs/formats/ledger.md, written once more. Hours, days, months are sums of intervals.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from contract.channels import catalogue
from contract.interval import HOUR_MS, day_start, month_start
from contract.units import MICRO
from simulators.chaos.records import Answer, Channel, Kept, Stored
from simulators.demo.proof import MAX_STEPS

EARLY_MS = 1_500
"""A reading may bear a time so long before the display's second began ..."""
LATE_MS = 4_500
"""... or after it: an edge places times within a second, and a busy machine answers late."""

LEVELS: Mapping[str, Callable[[int], int]] = {
    "hour": lambda time_ms: time_ms // HOUR_MS * HOUR_MS,
    "day": day_start,
    "month": month_start,
}


@dataclass(frozen=True, slots=True)
class Figure:
    """One figure of a channel: amounts [micro-units], times [ms], slots with a reading."""

    amount: int = 0
    estimated: int = 0
    held: int = 0
    measured_ms: int = 0
    estimated_ms: int = 0
    received: int = 0

    def __add__(self, other: Figure) -> Figure:
        return Figure(
            self.amount + other.amount,
            self.estimated + other.estimated,
            self.held + other.held,
            self.measured_ms + other.measured_ms,
            self.estimated_ms + other.estimated_ms,
            self.received + other.received,
        )


Figures = Mapping[Channel, Mapping[int, Figure]]
"""Channel -> start [UTC ms] -> figure."""


@dataclass(frozen=True, slots=True)
class Lost:
    """Readings of this edge between these times [UTC ms] may be missing in the store."""

    edge: str
    from_ms: int
    to_ms: int


def parse_figures(rows: Iterable[Mapping[str, Any]]) -> dict[Channel, dict[int, Figure]]:
    """The rows of the API's /intervals."""
    figures: dict[Channel, dict[int, Figure]] = defaultdict(dict)
    for row in rows:
        figures[row["site"], row["meter"], row["channel"]][row["start_ms"]] = Figure(
            amount=_micro(row["amount"]),
            estimated=_micro(row["amount_estimated"]),
            held=_micro(row["amount_held"]),
            measured_ms=round(row["measured_s"] * 1000),
            estimated_ms=round(row["estimated_s"] * 1000),
            received=row["received"],
        )
    return dict(figures)


def _micro(amounts: Mapping[str, float]) -> int:
    return sum(round(value * MICRO) for value in amounts.values())


# ----------------------------------------------------------------------------------- readings


def check_truth(
    served: Mapping[Channel, Sequence[Answer]], scale: Mapping[Channel, tuple[int, int]]
) -> list[str]:
    """What is wrong with the meters themselves. scale: (multiplier, step after it)."""
    problems: list[str] = []
    for channel, answers in served.items():
        multiplier, step_micro = scale[channel]
        first = answers[0]
        for answer in answers:
            shown = (answer.shown_micro - first.shown_micro) * multiplier
            off = abs(shown - (answer.true_micro - first.true_micro))
            if off > MAX_STEPS * step_micro:
                problems.append(f"{_name(channel)}: {off} off the truth at {answer.time_ms}")
    return problems


def check_readings(
    served: Mapping[Channel, Sequence[Answer]],
    stored: Stored,
    edge_of: Mapping[tuple[str, str], str],
    lost: Sequence[Lost],
    held_ms: int,
) -> tuple[list[str], int]:
    """What is wrong with the readings, and how many answers were lost with an excuse.

    held_ms: from then on all meters stand still.
    """
    problems: list[str] = []
    excused = 0
    for channel, answers in served.items():
        kept = sorted(stored.counters.get(channel, ()))
        problems += _untrue(channel, answers, kept, held_ms)
        windows = [one for one in lost if one.edge == edge_of[channel[:2]]]
        for answer in _missing(answers, kept):
            if any(one.from_ms <= answer.time_ms <= one.to_ms for one in windows):
                excused += 1
            else:
                problems.append(
                    f"{_name(channel)}: {answer.shown_micro} was answered at {answer.time_ms} "
                    "and is not stored"
                )
    for channel in stored.counters.keys() - served.keys():
        problems.append(f"{_name(channel)}: stored, and no meter answered it")
    return problems, excused


def _untrue(
    channel: Channel, answers: Sequence[Answer], kept: Sequence[Kept], held_ms: int
) -> Iterator[str]:
    times = [answer.time_ms for answer in answers]
    for reading in kept:
        low = bisect_left(times, min(reading.time_ms, held_ms) - LATE_MS)
        high = bisect_right(times, reading.time_ms + EARLY_MS)
        if all(answer.shown_micro != reading.value_micro for answer in answers[low:high]):
            yield (
                f"{_name(channel)}: {reading.value_micro} is stored at {reading.time_ms}, "
                "when the meter did not show it"
            )


def _missing(answers: Sequence[Answer], kept: Sequence[Kept]) -> Iterator[Answer]:
    times = [reading.time_ms for reading in kept]
    for answer in answers:
        low = bisect_left(times, answer.time_ms - EARLY_MS)
        high = bisect_right(times, answer.time_ms + LATE_MS)
        if all(reading.value_micro != answer.shown_micro for reading in kept[low:high]):
            yield answer


def check_outboxes(
    stored: Stored, outboxes: Mapping[str, Mapping[str, Any]], *, doubles: bool
) -> list[str]:
    """What is wrong between stores: what an outbox holds is stored; doubles: it may stand twice."""
    problems: list[str] = []
    for edge, outbox in outboxes.items():
        rows = stored.by_edge.get(edge, [])
        there = Counter(rows)
        count = sum(1 for row in there if row[3] == outbox["id"] and row[4] >= outbox["floor"])
        if count != outbox["held_readings"]:
            problems.append(
                f"{edge}: its outbox holds {outbox['held_readings']} readings, "
                f"{count} of them are stored"
            )
        if not doubles and (twice := len(rows) - len(there)):
            problems.append(f"{edge}: {twice} readings are stored twice")
        if outbox["unacked_batches"]:
            problems.append(f"{edge}: {outbox['unacked_batches']} batches are not acknowledged")
        problems += [
            f"{edge}: {name} = {outbox[name]}"
            for name in ("dropped_readings", "lost_batches")
            if outbox[name]
        ]
    return problems


# ------------------------------------------------------------------------------------ figures


def check_figures(
    stored: Stored, multipliers: Mapping[tuple[str, str], int], figures: Figures, grid_ms: int
) -> list[str]:
    """What is wrong with the intervals."""
    problems: list[str] = []
    for channel, kept in stored.counters.items():
        expected = intervals_of(
            kept, multipliers[channel[:2]], catalogue()[channel[2]].gap_limit_s * 1000, grid_ms
        )
        there = figures.get(channel, {})
        problems += [
            f"{_name(channel)} at {start_ms}: {there.get(start_ms)}, its readings make "
            f"{expected.get(start_ms)}"
            for start_ms in sorted(expected.keys() | there.keys())
            if there.get(start_ms, Figure()) != expected.get(start_ms, Figure())
        ]
    return problems


def check_levels(figures: Figures, levels: Mapping[str, Figures]) -> list[str]:
    """What is wrong with hours, days and months."""
    problems: list[str] = []
    for name, start_of in LEVELS.items():
        for channel, intervals in figures.items():
            sums: dict[int, Figure] = defaultdict(Figure)
            for start_ms, figure in intervals.items():
                sums[start_of(start_ms)] += figure
            there = levels[name].get(channel, {})
            problems += [
                f"{_name(channel)} {name} {start_ms}: {there.get(start_ms)}, its intervals sum to "
                f"{sums.get(start_ms)}"
                for start_ms in sorted(sums.keys() | there.keys())
                if there.get(start_ms, Figure()) != sums.get(start_ms, Figure())
            ]
    return problems


def intervals_of(
    kept: Iterable[Kept], multiplier: int, gap_limit_ms: int, grid_ms: int
) -> dict[int, Figure]:
    """The figures that readings of a register that never falls make, start [UTC ms] -> figure."""
    levels = {one.time_ms: one.value_micro * multiplier for one in kept if one.counts}
    readings = sorted(levels.items())
    figures: dict[int, Figure] = defaultdict(Figure)
    for time_ms, _ in readings:
        start_ms = time_ms // grid_ms * grid_ms
        if not figures[start_ms].received:
            figures[start_ms] += Figure(received=1)
    for (from_ms, low), (to_ms, high) in pairwise(readings):
        span_ms, measured = to_ms - from_ms, to_ms - from_ms <= gap_limit_ms
        begin_ms, before = from_ms, 0
        while begin_ms < to_ms:
            start_ms = begin_ms // grid_ms * grid_ms
            end_ms = min(start_ms + grid_ms, to_ms)
            after = _share(high - low, end_ms - from_ms, span_ms)
            amount, took_ms = after - before, end_ms - begin_ms
            figures[start_ms] += Figure(
                amount=amount,
                estimated=0 if measured else amount,
                measured_ms=took_ms if measured else 0,
                estimated_ms=0 if measured else took_ms,
            )
            begin_ms, before = end_ms, after
    return dict(figures)


def _share(amount: int, part: int, whole: int) -> int:
    """`amount` x part / whole, rounded half away from zero; amount is not negative."""
    return (2 * amount * part + whole) // (2 * whole)


def _name(channel: Channel) -> str:
    return "/".join(channel)
