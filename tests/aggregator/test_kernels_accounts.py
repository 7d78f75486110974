"""Roll-up and accounting equal their oracles; what is not determined stays not determined."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aggregator.kernels.account import account
from aggregator.kernels.rollup import fixed_starts, rollup, runs
from tests.oracle import accounts as oracle

HOUR = 3_600_000
DAY = 24 * HOUR
MIDNIGHT = 1_769_875_200_000  # 2026-02-01T00:00 at +08:00


def test_hours_and_days_are_cut_at_plus_eight():
    times = np.array([MIDNIGHT - 1, MIDNIGHT, MIDNIGHT + DAY - 1, -1])
    assert fixed_starts(times, DAY).tolist() == [
        MIDNIGHT - DAY, MIDNIGHT, MIDNIGHT, -8 * HOUR
    ]  # fmt: skip
    assert fixed_starts(times, HOUR).tolist() == [
        MIDNIGHT - HOUR, MIDNIGHT, MIDNIGHT + 23 * HOUR, -HOUR
    ]  # fmt: skip


def test_runs_of_equal_keys():
    groups, first = runs(np.array([0, 0, 0, 1, 1]), np.array([7, 7, 8, 8, 8]))
    assert (groups.tolist(), first.tolist()) == ([0, 0, 1, 2, 2], [0, 2, 3])
    empty = np.zeros(0, np.int64)
    assert [a.tolist() for a in runs(empty, empty)] == [[], []]


@given(
    rows=st.lists(st.tuples(
        st.integers(0, 3), st.integers(-(2**50), 2**50), st.integers(0, 900_000),
        st.one_of(st.integers(-1_000, 1_000).map(float), st.just(math.nan)),
    ), max_size=30),
)  # fmt: skip
@settings(max_examples=150, deadline=None)
def test_rollup(rows):
    groups, amounts, times, measures = ([row[k] for row in rows] for k in range(4))
    sums, totals = rollup(
        np.array(groups, np.int64), 4, np.array([amounts, times], np.int64).reshape(2, -1),
        np.array([measures], np.float64).reshape(1, -1),
    )  # fmt: skip
    assert sums.tolist() == oracle.rollup(groups, 4, [amounts, times])
    np.testing.assert_array_equal(totals, oracle.rollup(groups, 4, [measures]))


def test_rollup_refuses_what_does_not_fit():
    one, none = np.zeros((1, 1), np.int64), np.zeros((0, 1))
    with pytest.raises(ValueError, match="group"):
        rollup(np.array([2]), 2, one, none)
    with pytest.raises(ValueError, match="rows expected"):
        rollup(np.array([0, 1]), 2, one, none)


@given(
    amounts=st.lists(st.tuples(st.integers(-(2**52), 2**52), st.integers(-5, 25)), max_size=20),
    rows=st.dictionaries(
        st.integers(0, 20), st.one_of(st.floats(0, 10), st.just(math.nan)), max_size=5
    ),
)
@settings(max_examples=200, deadline=None)
def test_account(amounts, rows):
    table = sorted(rows.items())
    micro, starts = [a for a, _ in amounts], [s for _, s in amounts]
    measure = account(
        np.array(micro, np.int64), np.array(starts, np.int64),
        np.array([t for t, _ in table], np.int64), np.array([f for _, f in table], np.float64),
    )  # fmt: skip
    np.testing.assert_array_equal(measure, oracle.account(micro, starts, table))


def test_a_new_factor_holds_from_its_first_interval_on():
    measure = account(
        np.array([1_500_000] * 4), np.array([9, 10, 19, 20]), np.array([10, 20]),
        np.array([2.0, math.nan]),
    )  # fmt: skip
    np.testing.assert_array_equal(measure, [math.nan, 3.0, 3.0, math.nan])
    with pytest.raises(ValueError, match="ascending"):
        account(np.array([1]), np.array([1]), np.array([5, 5]), np.array([1.0, 2.0]))
