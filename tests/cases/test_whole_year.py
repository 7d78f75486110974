"""A year of hours, in whatever order the network let them through."""

import random
from itertools import pairwise

import pytest

from tests.cases.rig import DAY_MS, HOUR_MS, KWH, Level, Life, at

YEAR = at("2025-01-01 00:00")
END = at("2026-01-01 00:00")


def year_in(story, batches):
    tale = story(unsettled=True)
    life = Life(YEAR, 366, step_ms=HOUR_MS)
    shown = life.polls(YEAR, END, HOUR_MS)
    assert len(shown) == 8_760 + 1
    random.Random(5).shuffle(shown)
    size = -(-len(shown) // batches)
    for i in range(0, len(shown), size):
        tale.give(tale.batch(sorted(shown[i : i + size])), arrives=END + DAY_MS)
    return tale.end(), life


def check(ledger, life):
    amounts = ledger.rows(Level.HOUR, YEAR, END)
    assert len(amounts) == 8_760
    assert {t: row.amount for t, row in amounts.items()} == {
        t: life.used(t, t + HOUR_MS) for t in range(YEAR, END, HOUR_MS)
    }
    for level, count in ((Level.DAY, 365), (Level.MONTH, 12)):
        rows = ledger.rows(level, YEAR, END)
        starts = [*rows, END]
        assert len(rows) == count
        assert [row.amount for row in rows.values()] == [
            life.used(a, b) for a, b in pairwise(starts)
        ]
        assert sum(row.held + row.missing_ms for row in rows.values()) == 0
    assert ledger.proof().booked_micro == life.used(YEAR, END)


def test_8_760_hours_of_a_whole_year_in_random_order(story):
    """Each batch holds hours from all over the year, each falls between hours of the others."""
    ledger, life = year_in(story, batches=3)
    check(ledger, life)
    # What was there before the last batch was settled long ago: each change has its record.
    assert {record.cause for record in ledger.records()} == {"late readings"}
    last = {day: new for day, (_, new) in ledger.restated().items()}
    assert {day: last[day] for day in last} == {
        day: life.used(day, day + DAY_MS) / KWH for day in last
    }
    assert len(last) == 365


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_8_760_hours_of_a_whole_year_in_random_order_and_small_batches(story):
    ledger, life = year_in(story, batches=12)
    check(ledger, life)
