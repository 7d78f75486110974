"""A year of hours, in whatever order the network let them through."""

import random
from itertools import pairwise

import pytest

from tests.cases.rig import DAY_MS, HOUR_MS, KWH, Level, Life, at

YEAR = at("2025-01-01 00:00")


def in_random_order(story, end_ms, batches):
    """Each batch holds hours from all over; each hour falls between hours of other batches."""
    tale, life = story(unsettled=True), Life(YEAR, 366, step_ms=HOUR_MS)
    shown = life.polls(YEAR, end_ms, HOUR_MS)
    random.Random(5).shuffle(shown)
    size = -(-len(shown) // batches)
    for i in range(0, len(shown), size):
        tale.give(tale.batch(sorted(shown[i : i + size])), arrives=end_ms + DAY_MS)
    return tale.end(), life, len(shown)


def check(ledger, life, end_ms):
    hours = ledger.rows(Level.HOUR, YEAR, end_ms)
    assert {t: row.amount for t, row in hours.items()} == {
        t: life.used(t, t + HOUR_MS) for t in range(YEAR, end_ms, HOUR_MS)
    }
    for level in (Level.DAY, Level.MONTH):
        rows = ledger.rows(level, YEAR, end_ms)
        assert [row.amount for row in rows.values()] == [
            life.used(a, b) for a, b in pairwise([*rows, end_ms])
        ]
        assert sum(row.held + row.missing_ms for row in rows.values()) == 0
    assert ledger.proof().booked_micro == life.used(YEAR, end_ms)
    # All of it was settled long ago: each day's last record says what stands now.
    last = {record.day_ms: record.to_value for record in ledger.records(newer=True)}
    assert last == {day: life.used(day, day + DAY_MS) / KWH for day in range(YEAR, end_ms, DAY_MS)}


def test_hours_of_two_months_in_random_order(story):
    end = at("2025-03-01 00:00")
    ledger, life, _ = in_random_order(story, end, batches=4)
    check(ledger, life, end)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_8_760_hours_of_a_whole_year_in_random_order(story):
    end = at("2026-01-01 00:00")
    ledger, life, count = in_random_order(story, end, batches=6)
    assert count == 8_760 + 1
    assert len(ledger.rows(Level.DAY, YEAR, end)) == 365
    assert len(ledger.rows(Level.MONTH, YEAR, end)) == 12
    check(ledger, life, end)
