"""Which readings enter the ledger, and as what."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from aggregator.batch import SPARE, Int32, Int64, ReadingColumns
from aggregator.directory import Directory
from aggregator.kernels.neighbourhood import NEIGHBOURS
from aggregator.kernels.register import MAX_VALUE_MICRO
from aggregator.ledger.registers import Registers, edit
from aggregator.store.base import counts, settle
from contract.channels import catalogue
from contract.interval import SECOND_MS
from contract.reading import Quality

MORE = 4
"""So many times more neighbours are read where too few of those read count."""


Bools = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Placed:
    """One channel's readings where people say that they belong, and what is known against them."""

    readings: ReadingColumns
    rejected: Bools
    """By a person."""
    unset: Bools
    """The gateway's clock was not set, and nobody has said how far off it was."""
    unfit: Bools
    """Out of range for the edge's device map, or too large to be true."""
    early: Bools
    """From before the register knows the meter."""

    @property
    def counting(self) -> Bools:
        """Nothing is known against them."""
        return ~(self.rejected | self.unset | self.unfit | self.early)


def placed(readings: ReadingColumns, registers: Registers, directory: Directory) -> Placed:
    """Put one channel's cumulative readings in their places, in the order in which they come.

    Clocks and units that people have corrected are right: a reading that was marked for its clock
    is as good as any other once a clock event covers it. Good ones of another gateway than the
    primary one are marked as SPARE.
    """
    quality, rejected = readings.quality, np.zeros(len(readings), np.bool_)
    if registers.edited:
        edges = [directory.sources.key(source).edge for source in readings.source.tolist()]
        # A freeze has its time from the meter: no gateway's clock was wrong about it.
        frozen = (quality == Quality.FREEZE).tolist()
        edges = ["" if own else edge for edge, own in zip(edges, frozen, strict=True)]
        value = readings.value.astype(np.int64)
        edited = edit(registers, edges, readings.time_ms, value)
        told = edited.clocked & (quality == Quality.CLOCK)
        quality = np.where(told, np.uint8(Quality.GOOD), quality)
        readings = replace(readings, time_ms=edited.time_ms, value=edited.value, quality=quality)
        rejected = ~edited.keep
    unset = quality == Quality.CLOCK
    largest = MAX_VALUE_MICRO // registers.largest_multiplier()
    return Placed(
        marked(readings, others(readings, registers, directory)),
        rejected,
        unset,
        (~counts(readings) & ~unset) | (np.abs(readings.value) > largest),
        readings.time_ms < registers.commissioned_ms,
    )


def others(readings: ReadingColumns, registers: Registers, directory: Directory) -> Bools:
    """Tell which readings of one channel another gateway made than the primary one of their time.

    A freeze is the meter's own, whoever brings it.
    """
    found = np.zeros(len(readings), np.bool_)
    if not registers.edges:
        return found
    sources, which = np.unique(readings.source, return_inverse=True)
    edges = np.array([directory.sources.key(source).edge for source in sources.tolist()])[which]
    for since_ms, edge in registers.edges:
        now = readings.time_ms >= since_ms
        found[now] = edge != "" and edges[now] != edge
    found &= readings.quality != Quality.FREEZE
    return found


def marked(readings: ReadingColumns, spare: Bools) -> ReadingColumns:
    """Mark what another gateway than the primary one made, where it counts at all."""
    if not spare.any():
        return readings
    quality = np.where(spare & counts(readings), np.uint8(SPARE), readings.quality)
    return replace(readings, quality=quality)


def admitted(
    readings: ReadingColumns, registers: Registers, directory: Directory
) -> ReadingColumns:
    """Return one channel's cumulative readings as they count, one per time, ascending.

    Left out are those against which something is known. Freezes are `needed` or not.
    """
    found = placed(readings, registers, directory)
    return settle(found.readings.take(found.counting), directory.outbox_rank())


def filling(readings: ReadingColumns) -> Int32:
    """Return the channels with readings that only fill gaps: freezes, and other gateways'."""
    found: Int32 = np.unique(readings.series[_fills(readings)])
    return found


def _fills(readings: ReadingColumns) -> Bools:
    fills: Bools = (readings.quality == Quality.FREEZE) | (readings.quality == SPARE)
    return fills


def needed(readings: ReadingColumns, directory: Directory) -> ReadingColumns:
    """Leave out what was to fill gaps where there is none longer than the channel's gap limit.

    Another gateway's readings count where the primary one did not read, freezes where none did. A
    freeze's time is the meter's clock, which may be minutes off: where the register was polled it
    could only do harm. Readings as they count, sorted by (series, time), one per key.
    """
    if not _fills(readings).any():
        return readings
    keep = np.ones(len(readings), np.bool_)
    for index in filling(readings).tolist():
        own = np.flatnonzero(readings.series == index)
        times, quality = readings.time_ms[own], readings.quality[own]
        frozen, spare = quality == Quality.FREEZE, quality == SPARE
        limit_ms = gap_limit_ms(directory, index)
        # Whether the primary one is silent only tells what was read since: till then the others
        # wait, or each of their readings would come into the figures and go again.
        until_ms = max(times[~frozen].tolist(), default=0)
        left = spare & _covered(times, times[~frozen & ~spare], limit_ms, until_ms)
        left |= frozen & _covered(times, times[~frozen & ~left], limit_ms, None)
        keep[own[left]] = False
    return readings.take(keep)


def _covered(times: Int64, by: Int64, limit_ms: int, until_ms: int | None) -> Bools:
    """Tell which times lie between two of ``by``, ascending, no further apart than a limit.

    until_ms: stands for the one that follows the last; None: nothing does.
    """
    if len(by) == 0:
        return np.zeros(len(times), np.bool_)
    after = np.searchsorted(by, times)
    ends = by if until_ms is None else np.append(by, until_ms)
    apart = ends[after.clip(max=len(ends) - 1)] - by[(after - 1).clip(min=0)]
    covered: Bools = (after > 0) & (after < len(ends)) & (apart <= limit_ms)
    return covered


def lacking(
    found: ReadingColumns,
    admitted: ReadingColumns,
    kept: ReadingColumns,
    directory: Directory,
    span: tuple[int, int],
    asked: int,
) -> Int32:
    """Return the channels of which more must be read around a span, ascending.

    found: readings in [from, to] and `asked` counting ones on either side where there are so many;
    kept: those that enter the ledger, of what was `admitted`. At least NEIGHBOURS are to be kept on
    either side, and where some only fill gaps, one so near to the end of what was read that this
    cannot be judged is none of them.
    """
    fills = filling(admitted)
    if len(found) == len(kept) and len(fills) == 0:
        return np.empty(0, np.int32)  # nearly always
    from_ms, to_ms = span
    counting = found.take(counts(found))
    more = []
    for index in np.unique(counting.series).tolist():
        times, left = counting.time_ms[counting.series == index], kept.time_ms[kept.series == index]
        margin_ms = gap_limit_ms(directory, index) if index in fills else 0
        before = (left >= times.min() + margin_ms) & (left < from_ms)
        after = (left <= times.max() - margin_ms) & (left > to_ms)
        if any(
            there.sum() >= asked and some.sum() < NEIGHBOURS
            for there, some in ((times < from_ms, before), (times > to_ms, after))
        ):
            more.append(index)
    return np.array(more, np.int32)


def gap_limit_ms(directory: Directory, series: int) -> int:
    """Return how far apart a channel's readings may lie without a gap between them [ms]."""
    return catalogue()[directory.series.key(series).channel].gap_limit_s * SECOND_MS
