"""The integral kernel against its oracle."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aggregator.kernels.integral import (
    AMOUNT,
    GROUP,
    MAX_RATE_MICRO_PER_H,
    MEASURED,
    RECEIVED,
    START,
    integrate,
)
from tests.oracle.integral import HOUR_MS, Integral, integral

GRID_MS, GAP_MS = 900_000, 900_000

steps = st.one_of(
    st.integers(1, 60_000), st.sampled_from([15_000, GAP_MS, GAP_MS + 1, 5 * HOUR_MS])
)
rate = st.one_of(st.integers(0, MAX_RATE_MICRO_PER_H), st.sampled_from([0, MAX_RATE_MICRO_PER_H]))


@st.composite
def readings(draw):
    time_ms, found = draw(st.integers(10**12, 10**12 + GRID_MS)), {}
    for step, value in draw(st.lists(st.tuples(steps, rate), max_size=40)):
        found[time_ms] = value
        time_ms += step
    return found


def run(groups, gap_ms=GAP_MS, grid_ms=GRID_MS):
    columns = [sorted(group.items()) for group in groups]
    flat = [pair for column in columns for pair in column]
    block = integrate(
        np.cumsum([0, *map(len, columns)], dtype=np.int64),
        np.array([t for t, _ in flat], np.int64),
        np.array([r for _, r in flat], np.int64),
        np.full(len(groups), gap_ms, np.int64),
        grid_ms,
    )
    found: list[dict[int, Integral]] = [{} for _ in groups]
    for row in block.T.tolist():
        found[row[GROUP]][row[START]] = Integral(row[AMOUNT], row[MEASURED], row[RECEIVED])
    return found


@given(st.lists(readings(), max_size=3), st.sampled_from([60_000, GRID_MS, HOUR_MS]))
def test_every_group_is_as_the_oracle_says(groups, grid_ms):
    made = run(groups, grid_ms=grid_ms)
    assert made == [integral(group, GAP_MS, grid_ms) for group in groups]


@given(readings(), st.data())
def test_an_interval_needs_its_readings_and_one_neighbour_on_each_side(known, data):
    whole = run([known])[0]
    if not whole:
        return
    start = data.draw(st.sampled_from(sorted(whole)))
    before = [t for t in known if t < start][-1:]
    after = [t for t in known if t >= start + GRID_MS][:1]
    inside = [t for t in known if start <= t < start + GRID_MS]
    few = {t: known[t] for t in sorted([*before, *inside, *after])}
    assert run([few])[0][start] == whole[start]


def test_a_steady_rate_gives_exactly_its_amount_however_often_it_is_read():
    steady = dict.fromkeys(range(10**12 // GRID_MS * GRID_MS, 10**12 + HOUR_MS, 15_000), 10_001)
    amounts = [row.amount for row in run([steady])[0].values() if row.measured_ms == GRID_MS]
    assert len(amounts) >= 3
    assert set(amounts) == {2500}  # 2500.25: one rounding, not one for each of 60 trapezoids


def test_a_ramp_over_a_border_is_cut_where_it_crosses():
    border = 10**12 // GRID_MS * GRID_MS
    ramp = {border - 300_000: 0, border + 300_000: 12_000_000}
    made = run([ramp])[0]
    assert made[border - GRID_MS].amount == 6_000_000 * 300_000 // (2 * HOUR_MS)
    assert made[border].amount == 18_000_000 * 300_000 // (2 * HOUR_MS)


@pytest.mark.parametrize("value", [-1, MAX_RATE_MICRO_PER_H + 1])
def test_rates_out_of_range_are_refused(value):
    with pytest.raises(ValueError, match="rates"):
        run([{0: value}])


def test_times_that_do_not_ascend_are_refused():
    one = np.array([0, 0], np.int64)
    with pytest.raises(ValueError, match="ascend"):
        integrate(np.array([0, 2]), one, one, np.array([GAP_MS]), GRID_MS)
