"""Where two declarations differ."""

import pytest

from aggregator.ledger.registers import Registers, Shift, differing

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
