"""Runs readings through heads, register after register, and turns kernel rows into figures."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from aggregator.batch import Int32, Int64, IntervalColumns, ReadingColumns
from aggregator.heads import Heads
from aggregator.kernels.register import (
    GAP,
    LIMIT,
    MODULUS,
    SLACK,
    SLOT,
    TAKEN,
    IntervalRows,
    advance,
    follow,
)
from aggregator.ledger.registers import Piece, pieces
from aggregator.measures import Measures
from aggregator.parameters import Parameters
from aggregator.store.base import Store
from contract.reading import Quality


class Runs:
    """The register kernel with the parameters of the channels whose readings it is given."""

    def __init__(
        self, store: Store, parameters: Parameters, measures: Measures, heads: Heads
    ) -> None:
        self._grid_ms = store.grid_ms
        self._parameters = parameters
        self._measures = measures
        self._heads = heads
        self.refused: dict[int, str] = {}
        """Series whose readings the kernel refused, and why: a fault of ours, not of a meter."""

    def run_all(
        self, heads: Int64, readings: ReadingColumns, listed: Int32
    ) -> tuple[IntervalRows, dict[int, Piece]]:
        """Run readings from the first on through blank heads, register after register.

        Row i of ``heads`` is of series ``listed[i]``. Returns also the last piece of each series
        that is not plain. Of a series that is `refused` in this there are no rows.
        """
        plain = self._parameters.plain[readings.series]
        blocks = [self.run(heads, readings.take(plain), listed).block]
        last: dict[int, Piece] = {}
        for index in np.unique(readings.series[~plain]).tolist():
            own = readings.take(readings.series == index)
            head = heads[np.searchsorted(listed, index)]
            before = None
            registers = self._parameters.registers(index)
            frozen = own.time_ms[own.quality == Quality.FREEZE]
            first = len(blocks)
            for piece in pieces(registers, own.time_ms, own.value.astype(np.int64)):
                rows = self._run_piece(head, index, piece, before, frozen)
                if len(rows) == 0:
                    del blocks[first:]
                    last.pop(index, None)
                    break
                if before is not None and rows.start_ms[0] == before.start_ms[-1]:
                    blocks[-1] = blocks[-1][:, :-1]  # the new row says that one's figures too
                blocks.append(rows.block)
                before, last[index] = rows, piece
        return IntervalRows(np.concatenate(blocks, axis=1)), last

    def run(
        self, heads: Int64, readings: ReadingColumns, listed: Int32 | None = None
    ) -> IntervalRows:
        """Run settled readings through heads; sorted by (series, time) as they are.

        Row i of ``heads`` is of series ``listed[i]`` (ascending), or they are those of all series.
        """
        first = np.flatnonzero(np.diff(readings.series, prepend=-1))
        series = readings.series[first]
        slots = self._heads.row_of[series] if listed is None else np.searchsorted(listed, series)
        value = readings.value * self._heads.multiplier[readings.series]
        return self._advance(
            heads,
            slots.astype(np.int64),
            np.append(first, len(readings)),
            readings.time_ms.copy(),  # writable, as the kernel was compiled for
            value.astype(np.int64),
            readings.quality == Quality.FREEZE,
            series,
        )

    def _run_piece(
        self,
        head: Int64,
        series: int,
        piece: Piece,
        before: IntervalRows | None,
        frozen_ms: Int64,
    ) -> IntervalRows:
        """Run one register's readings through a head; `before` are the last register's rows."""
        limits = self._parameters.limits(series, piece.multiplier)
        if piece.trusted:
            limits = limits._replace(modulus_micro=0, limit_micro_per_h=0)
        if before is not None:
            follow(head, before)
        head[[MODULUS, LIMIT, SLACK, GAP]] = limits
        return self._advance(
            head[np.newaxis], np.zeros(1, np.int64), np.array([0, len(piece.time_ms)]),
            piece.time_ms, piece.value, np.isin(piece.time_ms, frozen_ms), np.array([series]),
        )  # fmt: skip

    def _advance(
        self, heads: Int64, slots: Int64, offsets: Int64, time_ms: Int64, value: Int64,
        frozen: NDArray[np.bool_], series: NDArray[np.integer[Any]],
    ) -> IntervalRows:  # fmt: skip
        """Run the kernel; group i is of ``series[i]``, and so are its rows."""
        rows, status = advance(
            heads, slots, offsets, time_ms, value, self._grid_ms,
            frozen=frozen.view(np.uint8) if frozen.any() else None,
            spreads=self._parameters.spreads(series.tolist()),
        )  # fmt: skip
        for bad in np.flatnonzero(status != TAKEN).tolist():
            self.refused[int(series[bad])] = f"the register kernel says {status[bad]}"
        if len(series):
            order = np.argsort(slots)
            rows.block[SLOT] = series[order][np.searchsorted(slots[order], rows.slot)]
        return rows

    def figures(self, rows: IntervalRows) -> IntervalColumns:
        """Turn kernel rows into stored figures with their measures."""
        series = rows.slot.astype(np.int32)
        measures = self._measures.of(series, rows.start_ms, rows.amount)
        count = len(rows)
        return IntervalColumns(
            series=series,
            start_ms=rows.start_ms.copy(),
            amount=rows.amount.copy(),
            amount_estimated=rows.amount_estimated.copy(),
            amount_held=rows.amount_held.copy(),
            measured_ms=rows.measured_ms.copy(),
            estimated_ms=rows.estimated_ms.copy(),
            missing_ms=self._grid_ms - rows.measured_ms - rows.estimated_ms,
            received=np.minimum(rows.received, 1),
            expected=np.ones(count, np.int64),
            flags=rows.flags.copy(),
            **measures,
        )
