"""Maximum demand, load factor and power factor of measured intervals: pure, exact until divided.

Only what registers counted from end to end of an interval enters: an estimate sets no maximum.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from aggregator.batch import Int64, IntervalColumns
from contract.interval import HOUR_MS
from contract.units import MICRO


@dataclass(frozen=True, slots=True)
class Load:
    """Energy per interval of one or more registers, where all of them were measured."""

    start_ms: Int64
    amount: Int64
    """[micro-units]; signed: what flows back is taken away."""


@dataclass(frozen=True, slots=True)
class Demand:
    """Demand [kW] is energy over the length of an interval."""

    max_kw: float
    start_ms: int
    """When that interval began: the first of equals."""
    mean_kw: float
    """Over all intervals that were measured."""
    intervals: int

    @property
    def load_factor(self) -> float | None:
        """Mean over maximum; None while nothing flowed in."""
        return self.mean_kw / self.max_kw if self.max_kw > 0 else None


@dataclass(frozen=True, slots=True)
class PowerFactor:
    """Active energy over apparent, of energies summed over intervals with all registers measured.

    So a month's is weighted by what flowed, as the tariff's 功率因数 is.
    """

    value: float | None
    """0 to 1; None where nothing flowed."""
    intervals: int


def coincident(figures: IntervalColumns, signs: Mapping[int, int], grid_ms: int) -> Load:
    """Add up the intervals of some series in which each of them was measured from end to end.

    signs: +1 or -1 by series, at least one.
    """
    whole = figures.take((figures.measured_ms == grid_ms) & np.isin(figures.series, list(signs)))
    starts, at, count = np.unique(whole.start_ms, return_inverse=True, return_counts=True)
    sign = np.array([signs[index] for index in whole.series.tolist()], np.int64)
    total = np.zeros(len(starts), np.int64)
    np.add.at(total, at, sign * whole.amount)
    full = count == len(signs)
    return Load(starts[full], total[full])


def joined(loads: Iterable[Load]) -> Load:
    """Put loads of times that follow each other together."""
    nothing, parts = np.empty(0, np.int64), list(loads)
    return Load(
        np.concatenate([nothing, *(part.start_ms for part in parts)]),
        np.concatenate([nothing, *(part.amount for part in parts)]),
    )


def demand(load: Load, grid_ms: int) -> Demand | None:
    """Return the largest demand of a load; None when nothing of it was measured."""
    if len(load.amount) == 0:
        return None
    per_kw = MICRO * grid_ms / HOUR_MS
    largest = int(load.amount.argmax())
    return Demand(
        int(load.amount[largest]) / per_kw,
        int(load.start_ms[largest]),
        int(load.amount.sum()) / len(load.amount) / per_kw,
        len(load.amount),
    )


def power_factor(active: Load, reactive: Load, at_ms: int | None = None) -> PowerFactor:
    """Return the power factor of the intervals that both have, or of the one at `at_ms`.

    reactive: what was taken in plus what was given out, both positive (倒送的无功 counts too).
    """
    starts, rows, others = np.intersect1d(active.start_ms, reactive.start_ms, return_indices=True)
    chosen = np.ones(len(starts), np.bool_) if at_ms is None else starts == at_ms
    kwh = int(active.amount[rows[chosen]].sum())
    kvarh = int(reactive.amount[others[chosen]].sum())
    size = math.hypot(kwh, kvarh)
    return PowerFactor(abs(kwh) / size if size else None, int(chosen.sum()))
