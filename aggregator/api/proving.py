"""Rows of the proof: one channel in one or more periods. Shared by the API and `nenghao prove`."""

from collections.abc import Iterator, Sequence
from typing import Literal

import numpy as np

from aggregator.api.reader import LedgerReader, Series
from aggregator.api.shapes import Shape
from aggregator.batch import Int64, IntervalColumns
from aggregator.integral_proof import integrals
from aggregator.proof import prove_walk
from aggregator.register.model import Meter
from aggregator.register.rates import rates
from aggregator.walk import walk
from contract.channels import catalogue
from contract.interval import DAY_MS, SECOND_MS, day_start, floor_to, next_month
from contract.reading import MAX_TIME_MS, MIN_TIME_MS

By = Literal["all", "month", "day"]
_SETTLING_MS = 120_000
"""How long rates may be stored before they are integrated, as far as is known."""
Span = tuple[int | None, int | None]
"""From, included, to, excluded [ms]; None: the first reading, the last reading."""


class ProofRow(Shape):
    """One channel in one period.

    level end - level start + events = booked + held + difference, in micro-units of the channel's
    unit. Levels are registers times the multiplier; registers are as displayed, and between two
    readings to the nearest micro-unit; booked, held and events are energy.
    """

    site: str
    meter: str
    channel: str
    carrier: str
    role: str
    integrated: bool
    """No register counts: the level at the end is the rates' integral, made again by the proof."""
    multiplier: int
    """In force at the end."""
    from_ms: int | None
    """The period as asked for; null: from the first reading on."""
    to_ms: int | None
    received: int
    """Readings that count."""
    first_ms: int | None
    """When the register was at its start: `from`, or the first reading when that is later."""
    last_ms: int | None
    """When it was at its end: `to`, or the last reading when that is earlier."""
    register_start_micro: int | None
    register_end_micro: int | None
    level_start_micro: int
    level_end_micro: int
    rollovers: int
    register_changes: int
    """Exchanges, resets and new multipliers that changed the level."""
    events_micro: int
    booked_micro: int
    held_micro: int
    difference_micro: int
    closes: bool
    slots_received: int
    """Intervals with a reading that counts."""
    slots_expected: int
    """Intervals of the period that have begun."""
    measured_ms: int
    estimated_ms: int
    held_ms: int
    """Time inside steps that await a decision."""
    missing_ms: int
    """The rest of the slots expected."""


def periods(from_ms: int | None, to_ms: int | None, by: By) -> Sequence[Span]:
    """Cut a span at Beijing midnights, or only at months' ends; `all` leaves it whole.

    ValueError: both ends are needed to cut it.
    """
    if by == "all":
        return [(from_ms, to_ms)]
    if from_ms is None or to_ms is None:
        raise ValueError("from and to are needed to cut a span into days or months")
    found: list[Span] = []
    while from_ms < to_ms:
        end_ms = next_month(from_ms) if by == "month" else day_start(from_ms) + DAY_MS
        found.append((from_ms, min(end_ms, to_ms)))
        from_ms = end_ms
    return found


def proof_rows(
    reader: LedgerReader, found: Series, meter: Meter, spans: Sequence[Span]
) -> Iterator[ProofRow]:
    """Prove a channel in spans that follow each other; each begins and ends at a slot's border."""
    key = found.key
    if reader.register.integrated_from(key.site, key.meter, key.channel) is not None:
        yield from _integrated(reader, found, meter, spans)
        return
    readings, intervals = reader.history(found.index, spans[0][0], spans[-1][1])
    facts = reader.facts(found.index)
    walked = walk(readings.time_ms, readings.value.astype(np.int64), facts)
    for from_ms, to_ms in spans:
        own = _rows(intervals.start_ms, from_ms, to_ms)
        line = prove_walk(
            walked,
            facts,
            from_ms,
            to_ms,
            received=len(_rows(readings.time_ms, from_ms, to_ms)),
            booked_micro=int(intervals.amount[own].sum()),
            held_micro=int(intervals.amount_held[own].sum()),
        )
        slots = _slots(reader, intervals, from_ms, to_ms)
        measured, estimated = (
            int(column[own].sum()) for column in (intervals.measured_ms, intervals.estimated_ms)
        )
        yield ProofRow(
            site=meter.site,
            meter=meter.id,
            channel=found.key.channel,
            carrier=meter.carrier,
            role=str(meter.role),
            integrated=False,
            multiplier=line.multiplier,
            from_ms=from_ms,
            to_ms=to_ms,
            received=line.received,
            first_ms=line.first_ms,
            last_ms=line.last_ms,
            register_start_micro=line.register_start_micro,
            register_end_micro=line.register_end_micro,
            level_start_micro=line.level_start_micro,
            level_end_micro=line.level_end_micro,
            rollovers=line.rollovers,
            register_changes=line.register_changes,
            events_micro=line.events_micro,
            booked_micro=line.booked_micro,
            held_micro=line.held_micro,
            difference_micro=line.difference_micro,
            closes=line.closes,
            slots_received=int(intervals.received[own].sum()),
            slots_expected=slots,
            measured_ms=measured,
            estimated_ms=estimated,
            held_ms=line.held_ms,
            missing_ms=slots * reader.grid_ms - measured - estimated - line.held_ms,
        )


def _integrated(
    reader: LedgerReader, found: Series, meter: Meter, spans: Sequence[Span]
) -> Iterator[ProofRow]:
    """Prove a channel that is integrated: its rates, integrated once more, against its figures.

    Intervals that ended less than a gap limit and two minutes ago are taken as they are: rates that
    have come may not be integrated yet.
    """
    _, intervals = reader.history(found.index, spans[0][0], spans[-1][1])
    starts, amounts = intervals.start_ms.tolist(), intervals.amount.tolist()
    gap_ms = catalogue()[rates()[found.key.channel].channel].gap_limit_s * SECOND_MS
    low = spans[0][0] if spans[0][0] is not None else MIN_TIME_MS
    high = spans[-1][1] if spans[-1][1] is not None else MAX_TIME_MS
    read = reader.rates(found.index, low - gap_ms, high + gap_ms)
    rolled_up_ms = reader.live.rolled_up_ms  # rates are integrated when a round begins
    settled_ms = reader.now_ms() - _SETTLING_MS if rolled_up_ms is None else rolled_up_ms
    sure_ms = settled_ms - gap_ms - reader.grid_ms
    made = {
        start: amount
        for start, amount in integrals(read, gap_ms, reader.grid_ms).items()
        if start <= sure_ms
    } | {start: amount for start, amount in zip(starts, amounts, strict=True) if start > sure_ms}
    facts = reader.facts(found.index)
    made_ms, read_ms = (np.array(sorted(times), np.int64) for times in (made, read))
    for from_ms, to_ms in spans:
        own = _rows(intervals.start_ms, from_ms, to_ms)
        of_span = read_ms[_rows(read_ms, from_ms, to_ms)].tolist()
        level = sum(made[start] for start in made_ms[_rows(made_ms, from_ms, to_ms)].tolist())
        booked = int(intervals.amount[own].sum())
        measured = int(intervals.measured_ms[own].sum())
        slots = _slots(reader, intervals, from_ms, to_ms)
        last_ms = of_span[-1] if of_span else None
        registers = facts.registers
        yield ProofRow(
            site=meter.site,
            meter=meter.id,
            channel=found.key.channel,
            carrier=meter.carrier,
            role=str(meter.role),
            integrated=True,
            multiplier=registers.multiplier(last_ms or 0) if registers else facts.multiplier,
            from_ms=from_ms,
            to_ms=to_ms,
            received=len(of_span),
            first_ms=of_span[0] if of_span else None,
            last_ms=last_ms,
            register_start_micro=None,
            register_end_micro=None,
            level_start_micro=0,
            level_end_micro=level,
            rollovers=0,
            register_changes=0,
            events_micro=0,
            booked_micro=booked,
            held_micro=0,
            difference_micro=level - booked,
            closes=level == booked,
            slots_received=int(intervals.received[own].sum()),
            slots_expected=slots,
            measured_ms=measured,
            estimated_ms=0,
            held_ms=0,
            missing_ms=slots * reader.grid_ms - measured,
        )


def _rows(times: Int64, from_ms: int | None, to_ms: int | None) -> Int64:
    """Return the rows of times in [from_ms, to_ms)."""
    inside = np.ones(len(times), np.bool_)
    if from_ms is not None:
        inside &= times >= from_ms
    if to_ms is not None:
        inside &= times < to_ms
    return np.flatnonzero(inside)


def _slots(
    reader: LedgerReader, intervals: IntervalColumns, from_ms: int | None, to_ms: int | None
) -> int:
    """Return how many intervals of a period have begun by now."""
    grid_ms, starts = reader.grid_ms, intervals.start_ms
    if from_ms is None:
        from_ms = int(starts[0]) if len(starts) else to_ms
    if to_ms is None:
        to_ms = int(starts[-1]) + grid_ms if len(starts) else from_ms
    if from_ms is None or to_ms is None:
        return 0
    begun_ms = floor_to(reader.now_ms(), grid_ms) + grid_ms
    if len(starts):
        begun_ms = max(begun_ms, int(starts[-1]) + grid_ms)  # edges' clocks may be ahead
    return max(0, min(to_ms, begun_ms) - from_ms) // grid_ms
