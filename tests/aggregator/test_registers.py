"""Where two declarations differ."""

from fractions import Fraction

import numpy as np
import pytest

from aggregator.ledger.registers import (
    FOR_EVER_MS,
    MAX_ENERGY_MICRO,
    SINCE_EVER_MS,
    Correction,
    Cut,
    Registers,
    Shift,
    differing,
    edit,
    pieces,
)
from contract.units import MAX_CUMULATIVE_MICRO

A, B = Shift("gw-1", 100, 200, -30), Shift("gw-2", 100, 200, -30)
LATER = Shift("gw-1", 100, 200, 50)


@pytest.mark.parametrize(
    ("old", "new", "span"),
    [
        ((), (A,), (70, 200)),
        ((A,), (A, B), (70, 200)),  # another gateway, wrong by as much
        ((A, B), (B,), (70, 200)),
        ((A, LATER), (LATER, A), (70, 250)),  # the later word counts
        ((A, B), (A, B), None),
    ],
)
def test_clocks_differ_by_gateway_and_by_order(old, new, span):
    assert differing(Registers(shifts=old), Registers(shifts=new)) == span


def test_a_rejection_of_the_span_of_a_clock_is_not_the_clock():
    clock, rejected = Registers(shifts=(A,)), Registers(rejected=((70, 200),))
    assert differing(clock, rejected) == (70, 200)


def test_a_declared_register_that_cannot_be_counts_as_unknown():
    time_ms, value = np.array([100, 200], np.int64), np.array([5, 9], np.int64)
    told = Registers(((SINCE_EVER_MS, 1_000),), cuts=(Cut(150, MAX_CUMULATIVE_MICRO, 7),))
    before, after = pieces(told, time_ms, value)
    assert before.time_ms.tolist() == [100]  # no register at its end
    assert after.value.tolist() == [7_000, 9_000]


def test_a_correction_beyond_every_register_is_left_out_not_wrapped():
    told = Registers(corrections=(Correction(0, FOR_EVER_MS, Fraction(10**12)),))
    edited = edit(told, ["gw"], np.array([100], np.int64), np.array([-(2**52)], np.int64))
    assert edited.value.tolist()[0] < -MAX_ENERGY_MICRO
