"""The kernel of node figures: rows times signs, and their sums, over columns.

Pure. `aggregator.nodes` says which channel counts for which node with what sign.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aggregator.batch import Int64, IntervalColumns
from aggregator.kernels.rollup import rollup, runs
from aggregator.points import Points, Tags, concatenated
from contract.stored import INTEGER_FIELDS, MEASURE_FIELDS, NODE_FIGURES, THE_REGION, Level

SUMMED = (
    "amount",
    "amount_estimated",
    "amount_held",
    "measured_ms",
    "estimated_ms",
    "received",
)


Signs = NDArray[np.int8]
_ALIKE = 1e-9
"""Of a measure, and absolute [kg, CNY]: what remains of sums that cancel out."""


@dataclass(frozen=True)
class Weights:
    """The parts of an allocation as columns, by ascending series.

    Pieces of formulas follow the store's series: piece i has the number `first_piece + i`.
    """

    series: Int64
    key: Int64
    amount: Signs
    measures: Signs
    known: Signs

    def take(self, chosen: NDArray[Any]) -> "Weights":
        return Weights(
            self.series[chosen],
            self.key[chosen],
            self.amount[chosen],
            self.measures[:, chosen],
            self.known[chosen],
        )

    @classmethod
    def joined(cls, parts: Sequence["Weights"]) -> "Weights":
        """Join weights of different sites."""
        joined = cls(
            np.concatenate([part.series for part in parts]),
            np.concatenate([part.key for part in parts]),
            np.concatenate([part.amount for part in parts]),
            np.concatenate([part.measures for part in parts], axis=1),
            np.concatenate([part.known for part in parts]),
        )
        return joined.take(np.argsort(joined.series, kind="stable"))


@dataclass(frozen=True)
class Rows:
    """Figures to be spread over nodes: of channels, and of pieces of formulas."""

    series: Int64
    period_ms: Int64
    integers: Int64
    """[SUMMED, rows]"""
    flags: Int64
    measures: NDArray[np.float64]

    @classmethod
    def of(cls, rows: IntervalColumns, period_ms: Int64) -> "Rows":
        return cls(
            rows.series.astype(np.int64),
            period_ms,
            np.stack([getattr(rows, name) for name in SUMMED]),
            rows.flags,
            np.stack([getattr(rows, name) for name in MEASURE_FIELDS]),
        )

    def spread(self, weights: Weights) -> "Rows":
        """Return a row per figure and node it counts for; `series` is then the node's key."""
        low = np.searchsorted(weights.series, self.series, "left")
        times = np.searchsorted(weights.series, self.series, "right") - low
        row = np.repeat(np.arange(len(self.series)), times)
        ends = np.cumsum(times)
        at = np.arange(len(row)) - np.repeat(ends - times, times) + np.repeat(low, times)
        amount, known = weights.amount[at], weights.known[at]
        signs = np.stack([amount, np.abs(amount), np.abs(amount), known, known, known])
        of_measures = weights.measures[:, at]
        with np.errstate(invalid="ignore"):
            # What does not count may be unknown
            measures = np.where(of_measures == 0, 0.0, of_measures * self.measures[:, row])
        return Rows(
            weights.key[at],
            self.period_ms[row],
            signs * self.integers[:, row],
            self.flags[row],
            measures,
        )


def of_region(level: Level, points: Points) -> Points:
    """Sum the figures of a region's sites, as read back, into the region's own."""
    of = NODE_FIGURES[level]
    rows = points.take(
        np.array([points.keys[k][1] != THE_REGION for k in points.key.tolist()], np.bool_)
    )
    if len(rows) == 0:
        return Points.empty(of)
    index: dict[Tags, int] = {}
    to = np.array(
        [
            index.setdefault((region, THE_REGION, *more), len(index))
            for region, _, *more in points.keys
        ],
        np.int64,
    )
    key = to[rows.key]
    order = np.lexsort((rows.time_ms, key))
    key, times = key[order], rows.time_ms[order]
    group, first = runs(key, times)
    names = [name for name in INTEGER_FIELDS if name != "flags"]
    sums, totals = rollup(
        group,
        len(first),
        np.stack([rows.columns[name][order] for name in names]),
        np.stack([rows.columns[name][order] for name in MEASURE_FIELDS]),
    )
    columns: dict[str, NDArray[Any]] = dict(zip(names, sums, strict=True))
    columns["flags"] = np.bitwise_or.reduceat(rows.columns["flags"][order], first)
    columns |= dict(zip(MEASURE_FIELDS, totals, strict=True))
    return Points(of, tuple(index), key[first], times[first], columns)


def unlike(old: Points, new: Points) -> Points:
    """Return those of the new points that are not stored like that.

    Measures are sums of floats in an order that nobody promises: they are alike to 1e-9.
    """
    at = {
        (old.keys[k], t): row
        for row, (k, t) in enumerate(zip(old.key.tolist(), old.time_ms.tolist(), strict=True))
    }
    keys = zip(new.key.tolist(), new.time_ms.tolist(), strict=True)
    rows = np.array([at.get((new.keys[k], t), -1) for k, t in keys], np.int64)
    known = np.flatnonzero(rows >= 0)
    same = np.zeros(len(new), np.bool_)
    same[known] = True
    for name, column in new.columns.items():
        was, now = old.columns[name][rows[known]], column[known]
        if column.dtype.kind == "f":
            same[known] &= np.isclose(was, now, rtol=_ALIKE, atol=_ALIKE, equal_nan=True)
        else:
            same[known] &= was == now
    return new.take(~same)


def taken_back(old: Points, new: Points) -> Points:
    """Return zeros for the points that are stored and should not be."""
    there = {(new.keys[k], t) for k, t in zip(new.key.tolist(), new.time_ms.tolist(), strict=True)}
    gone = [
        row
        for row, (k, t) in enumerate(zip(old.key.tolist(), old.time_ms.tolist(), strict=True))
        if (old.keys[k], t) not in there
    ]
    rows = old.take(np.array(gone, np.int64))
    zeros = {name: np.zeros(len(rows), column.dtype) for name, column in rows.columns.items()}
    return concatenated(old.of, [Points(old.of, rows.keys, rows.key, rows.time_ms, zeros), new])
