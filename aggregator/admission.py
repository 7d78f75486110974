"""Which readings enter the ledger, and as what."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from aggregator.batch import ReadingColumns
from aggregator.directory import Directory
from aggregator.kernels.register import MAX_VALUE_MICRO
from aggregator.ledger.registers import Registers, edit
from aggregator.store.base import counts, settle
from contract.reading import Quality

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

    Left out are those against which something is known.
    """
    found = placed(readings, registers, directory)
    return settle(found.readings.take(found.counting), directory.outbox_rank())
