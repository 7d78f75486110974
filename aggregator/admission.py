"""Which readings enter the ledger, and as what."""

from dataclasses import replace

import numpy as np

from aggregator.batch import ReadingColumns
from aggregator.directory import Directory
from aggregator.kernels.register import MAX_VALUE_MICRO
from aggregator.ledger.registers import Registers, edit
from aggregator.store.base import counts, settle


def admitted(
    readings: ReadingColumns, registers: Registers, directory: Directory
) -> ReadingColumns:
    """Return one channel's cumulative readings as they count, one per time, ascending.

    Left out are those not of counting quality, rejected by a person, or too large to be true;
    clocks and units that people have corrected are right.
    """
    readings = readings.take(counts(readings))
    if registers.edited:
        edges = [directory.sources.key(source).edge for source in readings.source.tolist()]
        value = readings.value.astype(np.int64)
        edited = edit(registers, edges, readings.time_ms, value)
        readings = replace(readings, time_ms=edited.time_ms, value=edited.value).take(edited.keep)
    largest = MAX_VALUE_MICRO // registers.largest_multiplier()
    readings = readings.take(np.abs(readings.value) <= largest)
    return settle(readings, directory.outbox_rank())
