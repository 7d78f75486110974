"""Judges one channel's readings, as they came: which rule says what of which reading.

Pure, and the same kernel and pieces as the book's: what is held, left out or booked as a rollover
there has its verdict here. Rules: docs/formats/ledger.md.
"""

from collections.abc import Callable, Iterator

import numpy as np

from aggregator.admission import Placed, needed, placed
from aggregator.batch import SPARE, Int64, ReadingColumns
from aggregator.directory import Directory
from aggregator.kernels.verdict import BAD, ROLLOVER_STEP, verdicts
from aggregator.ledger.registers import Piece, Registers, pieces
from aggregator.parameters import UNKNOWN, Limits
from aggregator.store.base import settling_order
from aggregator.verdict import Outcome, RuleId, Verdict
from contract.reading import Quality

LimitsOf = Callable[[int], Limits]
"""What a channel's register may do behind a multiplier."""


def judged(
    series: int,
    readings: ReadingColumns,
    registers: Registers,
    limits_of: LimitsOf,
    directory: Directory,
) -> Iterator[Verdict]:
    """Yield the verdicts about one channel's readings, of all that came; in no order.

    Right are those that have NEIGHBOURS counting readings, or the channel's end, on either side.
    """
    if len(readings) == 0:
        return
    found = placed(readings, registers, directory)
    yield from _left_out(series, found)
    counting = found.readings.take(found.counting)
    order = settling_order(counting, directory.outbox_rank())
    counting = counting.take(order)
    again = np.zeros(len(counting), np.bool_)
    again[1:] = counting.time_ms[1:] == counting.time_ms[:-1]
    polled_again = again & (counting.quality != Quality.FREEZE)
    yield from _doubled(series, counting, np.flatnonzero(polled_again))
    one_each = needed(counting.take(~again), directory)
    time_ms, value = one_each.time_ms, one_each.value.astype(np.int64)
    if len(one_each):
        for piece in pieces(registers, time_ms, value):
            yield from _of_register(series, piece, limits_of(piece.multiplier))


def _left_out(series: int, found: Placed) -> Iterator[Verdict]:
    """Yield why readings do not count that no other reading is asked about."""
    for rule, rows in (
        (RuleId.BEFORE_COMMISSIONING, found.early),
        (RuleId.CLOCK_NOT_SET, found.unset & ~found.early),
        (RuleId.VALUE_RANGE, found.unfit & ~found.unset & ~found.early),
    ):
        chosen = found.readings.take(rows & ~found.rejected)
        chosen = chosen.take(np.lexsort((chosen.value, chosen.time_ms)))
        yield from _about(series, chosen.time_ms, chosen.value.astype(np.int64), rule)


def _doubled(series: int, counting: ReadingColumns, again: Int64) -> Iterator[Verdict]:
    """Yield of each time with several values the first that does not count.

    What the primary gateway and another one read at one time is none: it is told by whom.
    """
    said: set[int] = set()
    spare = counting.quality == SPARE
    for row in again.tolist():
        time_ms = int(counting.time_ms[row])
        first = int(np.searchsorted(counting.time_ms, time_ms))
        if spare[row] and not spare[first]:
            first += int(np.argmax(spare[first:]))
        if counting.value[row] != counting.value[first] and time_ms not in said:
            said.add(time_ms)
            value = int(counting.value[row])
            yield Verdict(series, time_ms, RuleId.DUPLICATE_TIME, value, Outcome.LEFT_OUT)


def _about(series: int, time_ms: Int64, value: Int64, rule: RuleId) -> Iterator[Verdict]:
    """Yield one verdict per time, about the lowest value there."""
    _, first = np.unique(time_ms, return_index=True)
    for at, shown in zip(time_ms[first].tolist(), value[first].tolist(), strict=True):
        yield Verdict(series, at, rule, shown, Outcome.LEFT_OUT)


def _of_register(series: int, piece: Piece, limits: Limits) -> Iterator[Verdict]:
    """Yield what the steps of one register say."""
    if piece.trusted:
        limits = limits._replace(modulus_micro=UNKNOWN, limit_micro_per_h=UNKNOWN)
    good, kind = verdicts(
        piece.time_ms,
        piece.value,
        limits.modulus_micro,
        limits.limit_micro_per_h,
        limits.slack_micro,
    )
    counting = np.flatnonzero(good)
    for row in np.flatnonzero((good == 0) | (kind == BAD) | (kind == ROLLOVER_STEP)).tolist():
        rule, outcome = RuleId.ROLLOVER, Outcome.BOOKED
        if not good[row]:
            rule, outcome = RuleId.SPIKE_AND_RETURN, Outcome.LEFT_OUT
        elif kind[row] == BAD:
            before = counting[np.searchsorted(counting, row) - 1]
            step = int(piece.value[row] - piece.value[before])
            rule, outcome = held_by(step, limits.limit_micro_per_h), Outcome.HELD
        shown = int(piece.value[row]) // piece.multiplier
        yield Verdict(series, int(piece.time_ms[row]), rule, shown, outcome)


def held_by(step_micro: int, limit_micro_per_h: int) -> RuleId:
    """Return the rule that holds the energy of a step."""
    if step_micro < 0:
        return RuleId.BACKWARD_STEP
    if limit_micro_per_h != UNKNOWN:
        return RuleId.STEP_ABOVE_RATING
    return RuleId.STEP_ABOVE_HALF_MODULUS
