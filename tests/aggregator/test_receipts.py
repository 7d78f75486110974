"""The set of settled sequence numbers, against a plain set."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from aggregator.ingest.receipts import Settled

RANGES = st.lists(
    st.tuples(st.integers(1, 60), st.integers(0, 8)).map(lambda pair: (pair[0], sum(pair))),
    max_size=30,
)


@given(RANGES)
def test_settled_is_a_set_of_numbers(ranges):
    settled: Settled = Settled()
    model: set[int] = set()
    for low, high in ranges:
        added = set(range(low, high + 1)) - model
        assert settled.add(low, high) == len(added)
        model |= added
        assert {seq for seq in range(1, 80) if seq in settled} == model
    upto = 0
    while upto + 1 in model:
        upto += 1
    assert settled.upto == upto
    listed = settled.ranges()
    assert {seq for low, high in listed for seq in range(low, high + 1)} == model
    assert all(b[0] - a[1] > 1 for a, b in pairwise(listed))
    assert all(low > upto + 1 for low, _ in settled.above())
    assert Settled(listed).ranges() == listed


def test_above_names_the_newest_ranges_when_there_are_too_many():
    settled = Settled()
    for seq in range(3, 300, 2):
        settled.add(seq, seq)
    assert settled.upto == 0
    assert len(settled.above()) == 64
    assert settled.above()[-1] == (299, 299)


def test_an_empty_range_settles_nothing():
    settled = Settled()
    assert settled.add(5, 4) == 0
    assert settled.ranges() == ()
