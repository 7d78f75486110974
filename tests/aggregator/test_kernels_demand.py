"""Maximum demand equals its oracle; only what was fully measured counts."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aggregator.kernels.demand import demand
from tests.oracle import demand as oracle

QUARTER = 900_000


def run(groups, n, starts, amounts, measured, length=QUARTER):
    columns = (np.array(c, np.int64) for c in (groups, starts, amounts, measured))
    group, start, amount, measured_ms = columns
    found = demand(group, n, start, amount, measured_ms, length)
    return list(zip(*(column.tolist() for column in found), strict=True))


ROWS = st.lists(
    st.tuples(
        st.integers(0, 2),
        st.integers(-5, 40),
        st.integers(-(2**40), 2**40) | st.sampled_from([0, 7]),
        st.sampled_from([QUARTER, QUARTER - 1, 0]),
    ),
    max_size=25,
    unique_by=lambda row: (row[0], row[1]),
)


@given(rows=ROWS)
@settings(max_examples=200, deadline=None)
def test_demand(rows):
    columns = [[row[k] for row in rows] for k in range(4)]
    groups, starts, amounts, measured = columns
    expected = oracle.demand(groups, 3, starts, amounts, measured, QUARTER)
    assert run(groups, 3, starts, amounts, measured) == expected


@given(rows=ROWS, data=st.data())
@settings(max_examples=100, deadline=None)
def test_the_order_of_rows_does_not_matter(rows, data):
    shuffled = data.draw(st.permutations(rows))

    def largest(given):
        found = run(
            *([row[0] for row in given], 3), *([row[k] for row in given] for k in (1, 2, 3))
        )
        return [(given[i][1:3] if i >= 0 else None, n, total) for i, n, total in found]

    assert largest(shuffled) == largest(rows)


def test_an_interval_that_was_partly_estimated_sets_no_maximum():
    starts = [0, QUARTER, 2 * QUARTER, 3 * QUARTER]
    amounts, measured = [10, 99, 20, 20], [QUARTER, QUARTER - 1, QUARTER, QUARTER]
    assert run([0] * 4, 1, starts, amounts, measured) == [(2, 3, 50)]
    assert run([0], 2, [0], [5], [0]) == [(-1, 0, 0), (-1, 0, 0)]


def test_refuses_what_does_not_fit():
    with pytest.raises(ValueError, match="rows expected"):
        run([0, 0], 1, [0], [1], [1])
    with pytest.raises(ValueError, match="group"):
        run([1], 1, [0], [1], [1])
    with pytest.raises(ValueError, match="length"):
        run([0], 1, [0], [1], [1], 0)
