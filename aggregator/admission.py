"""Which readings enter the ledger, and as what."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from aggregator.batch import Int32, ReadingColumns
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
    is as good as any other once a clock event covers it.
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
        readings,
        rejected,
        unset,
        (~counts(readings) & ~unset) | (np.abs(readings.value) > largest),
        readings.time_ms < registers.commissioned_ms,
    )


def admitted(
    readings: ReadingColumns, registers: Registers, directory: Directory
) -> ReadingColumns:
    """Return one channel's cumulative readings as they count, one per time, ascending.

    Left out are those against which something is known. Freezes are `needed` or not.
    """
    found = placed(readings, registers, directory)
    return settle(found.readings.take(found.counting), directory.outbox_rank())


def needed(readings: ReadingColumns, directory: Directory) -> ReadingColumns:
    """Leave out freezes between two polls no further apart than the channel's gap limit.

    A freeze's time is the meter's clock, which may be minutes off: where the register was polled
    it could only do harm. Readings as they count, sorted by (series, time), one per key.
    """
    frozen = readings.quality == Quality.FREEZE
    if not frozen.any():
        return readings
    keep = np.ones(len(readings), np.bool_)
    for index in np.unique(readings.series[frozen]).tolist():
        own = np.flatnonzero(readings.series == index)
        times = readings.time_ms[own]
        polls = times[~frozen[own]]
        if len(polls) == 0:
            continue
        after = np.searchsorted(polls, times)
        apart = polls[after.clip(max=len(polls) - 1)] - polls[(after - 1).clip(min=0)]
        between = frozen[own] & (after > 0) & (after < len(polls))
        keep[own[between & (apart <= gap_limit_ms(directory, index))]] = False
    return readings.take(keep)


def lacking(
    found: ReadingColumns,
    kept: ReadingColumns,
    directory: Directory,
    span: tuple[int, int],
    asked: int,
) -> Int32:
    """Return the channels of which more must be read around a span, ascending.

    found: readings in [from, to] and `asked` counting ones on either side where there are so many;
    kept: those of them that enter the ledger. At least NEIGHBOURS are to be kept on either side,
    and a freeze so near to the end of what was read that it cannot be judged is none of them.
    """
    if len(found) == len(kept) and not (found.quality == Quality.FREEZE).any():
        return np.empty(0, np.int32)  # nearly always
    from_ms, to_ms = span
    counting = found.take(counts(found))
    more = []
    for index in np.unique(counting.series).tolist():
        own = counting.take(counting.series == index)
        times, left = own.time_ms, kept.time_ms[kept.series == index]
        frozen = (own.quality == Quality.FREEZE).any()
        margin_ms = gap_limit_ms(directory, index) if frozen else 0
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
