"""Demand of coincident intervals equals its oracle."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aggregator.batch import IntervalColumns
from aggregator.demand import coincident, demand, power_factor
from contract.interval import GRID_MS
from tests.oracle import demand as oracle

START = 1_772_409_600_000
rows_of = st.dictionaries(
    st.integers(0, 12).map(lambda i: START + i * GRID_MS),
    st.tuples(st.integers(0, 10**12), st.booleans()),
)


def columns(registers: list[oracle.Rows]) -> IntervalColumns:
    flat = [(i, at, *rows[at]) for i, rows in enumerate(registers) for at in sorted(rows)]
    n = len(flat)
    zero, nan = np.zeros(n, np.int64), np.full(n, np.nan)
    series, start, amount, whole = zip(*flat, strict=True) if flat else ((),) * 4
    measured = GRID_MS - 1 + np.array(whole, np.int64)
    return IntervalColumns(
        np.array(series, np.int32), np.array(start, np.int64), np.array(amount, np.int64),
        zero, zero, measured, zero, zero, zero, zero, zero, nan, nan, nan, nan,
    )  # fmt: skip


@given(st.lists(st.tuples(st.sampled_from([1, -1]), rows_of), min_size=1, max_size=3))
def test_the_largest_of_coincident_intervals(registers):
    figures = columns([rows for _, rows in registers])
    load = coincident(figures, {i: sign for i, (sign, _) in enumerate(registers)}, GRID_MS)
    wanted = oracle.coincident(registers)
    assert dict(zip(load.start_ms.tolist(), load.amount.tolist(), strict=True)) == wanted
    found, best = demand(load, GRID_MS), oracle.largest(wanted, GRID_MS)
    if best is None:
        assert found is None
        return
    assert found is not None
    assert (found.start_ms, found.intervals) == (best[1], len(wanted))
    assert found.max_kw == pytest.approx(float(best[0]))
    assert found.mean_kw == pytest.approx(float(best[2]))
    if best[0] > 0:
        assert found.load_factor == pytest.approx(float(best[2] / best[0]))
    else:
        assert found.load_factor is None


@given(rows_of, rows_of)
def test_the_power_factor_is_that_of_summed_energies(kwh, kvarh):
    figures = columns([kwh, kvarh])
    active, reactive = (coincident(figures, {i: 1}, GRID_MS) for i in (0, 1))
    found = power_factor(active, reactive)
    squared = oracle.power_factor_squared(
        oracle.coincident([(1, kwh)]), oracle.coincident([(1, kvarh)])
    )
    assert (found.value is None) == (squared is None)
    if found.value is not None and squared is not None:
        assert found.value**2 == pytest.approx(float(squared))


def test_a_months_power_factor_is_weighted_by_what_flowed():
    day, night = START, START + GRID_MS
    figures = columns(
        [{day: (30_000_000, True), night: (0, True)}, {day: (0, True), night: (40_000_000, True)}]
    )
    active, reactive = (coincident(figures, {i: 1}, GRID_MS) for i in (0, 1))
    assert power_factor(active, reactive).value == pytest.approx(0.6)
    assert power_factor(active, reactive, day).value == 1
    assert power_factor(active, reactive, night).value == 0
