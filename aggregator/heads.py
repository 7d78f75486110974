"""The register kernel's head states, for the series that have one: cumulative channels.

Most of a city's channels are instantaneous; a head has 192 bytes.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aggregator.batch import Int32, Int64
from aggregator.directory import Directory
from aggregator.kernels.register import COUNT, GAP, HEAD_COLUMNS, LIMIT, MODULUS, RAW_T, SLACK
from aggregator.ledger.registers import FOR_EVER_MS, SINCE_EVER_MS
from aggregator.parameters import Parameters
from contract.channels import catalogue


class Heads:
    """Rows [HEAD_COLUMNS] by series index, alone or with columns: ``heads[series, COUNT]``.

    A series without a head must not be asked for.
    """

    def __init__(self, directory: Directory, parameters: Parameters) -> None:
        self._directory = directory
        self._parameters = parameters
        self.rows: Int64 = np.zeros((0, HEAD_COLUMNS), np.int64)
        """What the kernel takes; `row_of` says which."""
        self.row_of: Int32 = np.empty(0, np.int32)
        """By series; -1 where there is none."""
        self.multiplier = np.empty(0, np.int64)
        """By series: of the register that its head counts."""
        self.until_ms = np.empty(0, np.int64)
        """By series: where another register or multiplier begins, after its head's last reading."""
        self.unsure = np.empty(0, np.bool_)
        """By series: whether its last readings hold a freeze, that may become needless."""
        self.silent_ms = np.empty(0, np.int64)
        """By series: after this the primary gateway is silent, and other's readings, that wait for
        it, count; FOR_EVER_MS where none wait."""

    def __len__(self) -> int:
        """Return the number of series that are known, with a head or without."""
        return len(self.row_of)

    def __getitem__(self, key: Any) -> Any:
        """Return a copy of the rows, or of some of their columns."""
        return self.rows[self._rows(key)]

    def __setitem__(self, key: Any, values: Any) -> None:
        self.rows[self._rows(key)] = values

    def _rows(self, key: Any) -> Any:
        if isinstance(key, tuple):
            series, *columns = key
            return self.row_of[series], *columns
        return self.row_of[key]

    def blank(self, series: Int32) -> Int64:
        """Return heads of these series without readings."""
        blank: Int64 = self[series]
        blank[:, COUNT:] = 0
        return blank

    def empty(self, series: int) -> None:
        """Let a series' head be as before its first reading."""
        own, registers = np.array([series], np.int32), self._parameters.registers(series)
        self[own] = self.blank(own)
        self.multiplier[own] = registers.multiplier(SINCE_EVER_MS)
        self.until_ms[own] = registers.next_change(SINCE_EVER_MS)

    def overtaken(self, series: Int32, time_ms: Int64) -> NDArray[np.bool_]:
        """Tell which readings must be seen beside others of their channels.

        They are not newer than the head or of another register, or a freeze was last, or others
        wait and the primary gateway was silent. A series that is not known yet was never read.
        """
        known = series < len(self)
        series, time_ms = series[known], time_ms[known]
        overtaken = np.zeros(len(known), np.bool_)
        overtaken[known] = (
            ((self[series, COUNT] > 0) & (time_ms <= self[series, RAW_T + 3]))
            # Where a register's end is declared already, what it will have shown last is a reading.
            | (self.until_ms[series] < FOR_EVER_MS)
            | self.unsure[series]
            | (time_ms > self.silent_ms[series])
        )
        return overtaken

    def grow(self) -> None:
        """Give every listed cumulative series a head, and every head its present parameters."""
        parameters = self._parameters
        changed = parameters.refresh()
        if len(changed) == 0:
            return
        added = len(parameters.registered) - len(self)
        if added:
            channels, keys = catalogue(), self._directory.series.keys(len(self))
            self._add([channels[key.channel].cumulative for key in keys[:added]])
        changed = changed[self.row_of[changed] >= 0]
        if len(changed) == 0:
            return
        plain = parameters.plain[changed]
        self.multiplier[changed[plain]] = parameters.multiplier[changed[plain]]
        self.until_ms[changed[plain]] = FOR_EVER_MS
        for index in changed[~plain].tolist():
            head, registers = self[index], parameters.registers(index)
            # A head with readings goes on in its own register, up to the next one's first reading.
            since = int(head[RAW_T + 3]) - 1 if head[COUNT] else SINCE_EVER_MS
            self.multiplier[index] = registers.multiplier(since)
            self.until_ms[index] = registers.next_change(since)
        columns = np.array([MODULUS, LIMIT, SLACK, GAP])
        multipliers = self.multiplier[changed].tolist()
        self[np.ix_(changed, columns)] = [
            parameters.limits(index, multiplier)
            for index, multiplier in zip(changed.tolist(), multipliers, strict=True)
        ]

    def _add(self, cumulative: Sequence[bool]) -> None:
        """List more series; those that are cumulative get a head of zeros."""
        new = np.array(cumulative, np.bool_)
        rows = len(self.rows) + np.cumsum(new, dtype=np.int32) - 1
        self.row_of = np.append(self.row_of, np.where(new, rows, -1).astype(np.int32))
        room = np.zeros((int(new.sum()), HEAD_COLUMNS), np.int64)
        self.rows = np.concatenate([self.rows, room])
        self.multiplier = np.append(self.multiplier, np.ones(len(new), np.int64))
        self.until_ms = np.append(self.until_ms, np.full(len(new), FOR_EVER_MS))
        self.unsure = np.append(self.unsure, np.zeros(len(new), np.bool_))
        self.silent_ms = np.append(self.silent_ms, np.full(len(new), FOR_EVER_MS))
