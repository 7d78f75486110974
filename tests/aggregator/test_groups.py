"""Which batches are committed together, and when."""

import pytest

from aggregator.batch import ReadingColumns
from aggregator.config import PaceSection
from aggregator.ingest.assemble import Arrival
from aggregator.ingest.groups import Groups
from contract.topics import Address

PACE = PaceSection(commit_ms=250, commit_readings=1_000, late_debounce_s=5, late_quiet_s=1)


@pytest.fixture
def groups():
    return Groups(PACE)


def batch(site, seq):
    address = Address("370114", site, "edge-1")
    cumulative, instantaneous = (ReadingColumns.empty(cumulative=c) for c in (True, False))
    return address, Arrival(address, 1, seq, (), cumulative, instantaneous, 0)


def numbers(arrivals):
    return [arrival.seq for arrival in arrivals]


def test_live_batches_wait_for_the_first_of_them(groups):
    for seq, at in ((1, 0.0), (2, 0.125)):
        groups.add(*batch("works", seq), at, late=False)
        assert numbers(groups.prompt(at)) == []
    assert groups.waited_s(0.125) == 0.125
    assert numbers(groups.prompt(0.25)) == [1, 2]
    assert numbers(groups.prompt(0.375)) == []


def test_late_batches_wait_until_no_more_come_of_their_site(groups):
    for seq in range(1, 8):  # without a pause, until it has been long enough
        groups.add(*batch("works", seq), seq * 0.75, late=True)
        assert numbers(groups.late(seq * 0.75)) == []
    assert [numbers(groups.late(at)) for at in (6.0, 6.25)] == [[], [1, 2, 3, 4, 5, 6, 7]]
    groups.add(*batch("works", 8), 7.0, late=True)
    assert [numbers(groups.late(at)) for at in (7.75, 8.0, 8.25)] == [[], [], [8]]


def test_late_batches_of_sites_that_are_due_together_are_committed_together(groups):
    groups.add(*batch("works", 1), 0.0, late=True)
    groups.add(*batch("office", 2), 0.125, late=True)
    groups.add(*batch("mall", 3), 1.0, late=True)
    assert numbers(groups.late(1.0)) == []  # the works' are due, and wait for others
    assert numbers(groups.late(1.125)) == []
    assert numbers(groups.late(1.25)) == [1, 2]
    assert numbers(groups.late(1.375)) == []
    assert [numbers(rest) for rest in groups.rest()] == [[3]]


def test_nothing_is_left_out_at_the_end(groups):
    groups.add(*batch("works", 1), 0.0, late=True)
    groups.add(*batch("mall", 2), 0.9, late=True)
    groups.add(*batch("mall", 3), 0.9, late=False)
    assert numbers(groups.late(1.0)) == []
    assert sorted(number for rest in groups.rest() for number in numbers(rest)) == [1, 2, 3]
    assert list(groups.rest()) == []
    assert (1, 1) in groups
    groups.forget(batch("works", 1)[1])
    assert (1, 1) not in groups
