"""Decoded batches to columns: names become indexes, impossible times stay outside.

The door: a reading before 2020 or more than two minutes ahead of the aggregator's clock is taken
out of the columns and counted; its payload is kept in quarantine, where a person may see it, and
from where a clock event lets it in (aggregator/release.py).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from aggregator.batch import Int32, ReadingColumns
from aggregator.directory import Directory, SeriesKey, Source
from aggregator.ingest.decode import Cells, DecodedBatch
from aggregator.ledger.meter_events import AHEAD_MS
from contract.channels import catalogue
from contract.topics import Address
from contract.wire import Range

EARLIEST_MS = 1_577_836_800_000
"""2020-01-01T00:00:00Z: before it, a gateway's clock was never set."""


@dataclass(frozen=True, slots=True)
class Arrival:
    """One batch in columns, on its way to the store."""

    address: Address
    source: int
    """Index of (edge, outbox) in the directory."""
    seq: int
    given_up: tuple[Range, ...]
    """Sequence numbers that need no batch any more: void, and all below the floor."""
    cumulative: ReadingColumns
    instantaneous: ReadingColumns
    refused_at_door: int

    def __len__(self) -> int:
        return len(self.cumulative) + len(self.instantaneous)


class Assembler:
    """Turns batches into columns, listing new series and sources in the directory."""

    def __init__(self, directory: Directory) -> None:
        self._directory = directory
        self._names = tuple(catalogue())
        self._tables: dict[Address, tuple[tuple[str, ...], Int32]] = {}
        """Per edge the meters of its last batch, and the series of each one's channels."""

    def source(self, address: Address, outbox: str) -> int:
        """Return the index of an edge's outbox."""
        return self._directory.sources.add(
            Source(address.region, address.site, address.edge, outbox)
        )

    def assemble(self, address: Address, batch: DecodedBatch, now_ms: int) -> Arrival:
        """Return the columns of a batch; ``now_ms`` is the aggregator's clock."""
        source = self.source(address, batch.outbox)
        parts = []
        refused = 0
        for cells in (batch.cumulative, batch.instantaneous):
            possible = _possible(cells, now_ms)
            columns = self._columns(address, batch, cells, source)
            if not possible.all():
                refused += int(len(possible) - np.count_nonzero(possible))
                columns = columns.take(possible)
            parts.append(columns)
        given_up = batch.void if batch.floor <= 1 else ((1, batch.floor - 1), *batch.void)
        return Arrival(address, source, batch.seq, given_up, parts[0], parts[1], refused)

    def refused(
        self, address: Address, batch: DecodedBatch, now_ms: int
    ) -> tuple[ReadingColumns, ReadingColumns]:
        """Return what the door refused of a batch that came at ``now_ms``, by kind."""
        source = self.source(address, batch.outbox)
        cumulative, instantaneous = (
            self._columns(address, batch, cells, source).take(~_possible(cells, now_ms))
            for cells in (batch.cumulative, batch.instantaneous)
        )
        return cumulative, instantaneous

    def _columns(
        self, address: Address, batch: DecodedBatch, cells: Cells, source: int
    ) -> ReadingColumns:
        return ReadingColumns(
            self._series(address, batch.meters, cells),
            cells.time_ms,
            cells.value,
            cells.quality,
            np.full(len(cells.time_ms), source, np.int32),
            np.full(len(cells.time_ms), batch.seq, np.int64),
        )

    def _series(self, address: Address, meters: tuple[str, ...], cells: Cells) -> Int32:
        if len(cells.block) == 0:
            return np.empty(0, np.int32)
        known, table = self._tables.get(address, ((), None))
        if table is None or known != meters:
            table = self._table(address, meters)
        series: Int32 = table[cells.block, cells.channel]
        unseen = series < 0
        if unseen.any():
            self._list(address, meters, cells.block[unseen], cells.channel[unseen])
            series = self._table(address, meters)[cells.block, cells.channel]
        return series

    def _table(self, address: Address, meters: tuple[str, ...]) -> Int32:
        table = self._directory.series.of_meters(address.region, address.site, meters)
        self._tables[address] = meters, table
        return table

    def _list(
        self,
        address: Address,
        meters: tuple[str, ...],
        blocks: NDArray[np.int32],
        channels: NDArray[np.int32],
    ) -> None:
        for block, channel in sorted(set(zip(blocks.tolist(), channels.tolist(), strict=True))):
            names = meters[block], self._names[channel]
            self._directory.series.add(SeriesKey(address.region, address.site, *names))


def _possible(cells: Cells, now_ms: int) -> NDArray[np.bool_]:
    possible: NDArray[np.bool_] = (cells.time_ms >= EARLIEST_MS) & (
        cells.time_ms <= now_ms + AHEAD_MS
    )
    return possible
