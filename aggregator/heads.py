"""The register kernel's head states, for the series that have one: cumulative channels.

Most of a city's channels are instantaneous; a head has 192 bytes.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from aggregator.batch import Int32, Int64
from aggregator.kernels.register import HEAD_COLUMNS


class Heads:
    """Rows [HEAD_COLUMNS] by series index, alone or with columns: ``heads[series, COUNT]``.

    A series without a head must not be asked for.
    """

    def __init__(self) -> None:
        self.rows: Int64 = np.zeros((0, HEAD_COLUMNS), np.int64)
        """What the kernel takes; `row_of` says which."""
        self.row_of: Int32 = np.empty(0, np.int32)
        """By series; -1 where there is none."""

    def __len__(self) -> int:
        """Return the number of series that are known, with a head or without."""
        return len(self.row_of)

    def grow(self, cumulative: Sequence[bool]) -> None:
        """List more series; those that are cumulative get a head of zeros."""
        new = np.array(cumulative, np.bool_)
        rows = len(self.rows) + np.cumsum(new, dtype=np.int32) - 1
        self.row_of = np.append(self.row_of, np.where(new, rows, -1).astype(np.int32))
        room = np.zeros((int(new.sum()), HEAD_COLUMNS), np.int64)
        self.rows = np.concatenate([self.rows, room])

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
