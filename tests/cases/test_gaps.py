"""Nothing is read for a while, or nothing gets through: totals stay exact, the spread is marked."""

import pytest

from tests.cases.rig import (
    DAY_MS,
    ESTIMATED,
    GRID_MS,
    HOUR_MS,
    KWH,
    MINUTE_MS,
    Level,
    Life,
    agree,
    at,
    linear,
)

DAY = at("2026-03-10 00:00")
DOWN, UP, END = DAY + 8 * HOUR_MS, DAY + 12 * HOUR_MS, DAY + DAY_MS


def test_outage_of_4_h_then_backfill(story):
    tale, life = story(), Life(DAY, 1)
    tale.send(life.polls(DAY, DOWN), hours=4)
    later = life.polls(UP, END)
    unsent = tale.batch(life.polls(DOWN + 300_000, UP - 300_000))  # numbered, but not yet sent
    tale.give(tale.batch(later[:12]), arrives=UP + HOUR_MS)  # live goes first
    before = tale.so_far()
    assert before.total(DOWN, UP) == before.total(DOWN, UP, "estimated") == life.used(DOWN, UP)
    assert before.acks["gw-1", "0" * 14 + "aa"] < unsent.seq

    tale.give(unsent, arrives=UP + HOUR_MS)
    tale.give(tale.batch(later[12:]), arrives=END)
    ledger = tale.end()
    agree(ledger, life, DAY, END)
    day = ledger.day(DAY)
    assert (day.estimated, day.held, day.estimated_ms, day.missing_ms) == (0, 0, 0, 0)
    assert (day.measured_ms, day.received) == (DAY_MS, 96)
    assert ledger.restated() == {}  # the day was still open


def test_late_polls_on_the_straight_line_make_a_settled_day_measured(story):
    """No amount changes, but what it is worth: that leaves records as well."""
    tale = story()
    shown = [(t, (t - DAY) // 60 * KWH // 1_000) for t in range(DAY, END + 1, 300_000)]
    tale.send([one for one in shown if not DOWN < one[0] < UP])
    assert tale.so_far().day(DAY).estimated_ms == UP - DOWN
    tale.send([one for one in shown if DOWN < one[0] < UP], arrives=END + DAY_MS)
    ledger = tale.end()
    used = (UP - DOWN) / 60_000
    assert ledger.restated() == {}
    assert ledger.restated("amount_estimated") == {DAY: (used, 0.0)}
    assert ledger.restated("measured_ms") == {DAY: (DAY_MS - (UP - DOWN), DAY_MS)}
    assert {one.cause for one in ledger.records("measured_ms")} == {"late readings"}


def test_outage_while_the_aggregator_ran_on(story):
    """The gateway of one meter has no power; the other gateway's meter goes on."""
    tale = story(meters=("em-1", "em-2"))
    life, other = Life(DAY, 1), Life(DAY, 1, seed=2)
    tale.send(life.polls(DAY, DOWN))
    tale.send(other.polls(DAY, UP), meter="em-2", edge="gw-2", hours=3)
    during = tale.so_far()
    assert during.day(DAY).missing_ms == END - DOWN  # not zero energy: nothing known
    assert during.total(DOWN, UP) == 0
    assert during.day(DAY, meter="em-2").missing_ms == END - UP

    tale.send(life.polls(UP, END))
    tale.send(other.polls(UP + 300_000, END), meter="em-2", edge="gw-2")
    ledger = tale.end()
    agree(ledger, life, DAY, DOWN)
    agree(ledger, life, UP, END)
    agree(ledger, other, DAY, END, meter="em-2")
    assert ledger.total(DOWN, UP) == ledger.total(DOWN, UP, "estimated") == life.used(DOWN, UP)
    day = ledger.day(DAY)
    assert (day.amount, day.missing_ms) == (life.used(DAY, END), 0)
    assert (day.measured_ms, day.estimated_ms) == (DAY_MS - (UP - DOWN), UP - DOWN)
    assert day.received == 96 - 16 + 1  # the last reading before the cut fills its slot


def test_gap_longer_than_any_processing_step(story):
    """40 days: more than a month is redone at once, more than a day is read at once."""
    tale = story()
    days = 42
    life = Life(DAY, days)
    last, first, end = DAY + DAY_MS, DAY + 41 * DAY_MS, DAY + days * DAY_MS
    tale.send(life.polls(DAY, last), hours=24)
    tale.send(life.polls(first, end), hours=24)
    ledger = tale.so_far()
    used = life.used(last, first)
    for day in range(last, first, DAY_MS):
        part = linear(used, day + DAY_MS - last, first - last) - linear(
            used, day - last, first - last
        )
        assert ledger.day(day).amount == ledger.day(day).estimated == part
    assert ledger.restated() == {}

    # Somebody brings the register of the middle: both halves get their own rate.
    middle, now = DAY + 18 * DAY_MS, end + DAY_MS
    tale.send([(middle, life.shown(middle))], arrives=now)
    ledger = tale.end()
    agree(ledger, life, DAY, last)
    agree(ledger, life, first, end)
    assert ledger.total(last, middle) == life.used(last, middle)
    assert ledger.total(middle, first) == life.used(middle, first)
    months = ledger.rows(Level.MONTH)
    assert sum(row.amount for row in months.values()) == life.used(DAY, end)
    restated = ledger.restated()
    assert sorted(restated) == list(range(last, first, DAY_MS))
    assert all(new == ledger.day(day).amount / KWH for day, (_, new) in restated.items())
    assert {record.cause for record in ledger.records()} == {"late readings"}


@pytest.mark.parametrize(
    ("down", "border", "up"),
    [
        ("2026-03-10 21:07", "2026-03-11 00:00", "2026-03-11 05:32"),
        ("2026-02-28 20:00", "2026-03-01 00:00", "2026-03-01 06:00"),
        ("2026-12-31 22:10", "2027-01-01 00:00", "2027-01-01 03:40"),
    ],
    ids=["midnight", "month end", "new year"],
)
def test_gap_over_midnight_month_end_and_new_year(story, down, border, up):
    down, border, up = at(down), at(border), at(up)
    start, end = border - DAY_MS, border + DAY_MS
    tale, life = story(), Life(start, 2)
    tale.send(life.polls(start, down - down % 300_000), hours=24)
    tale.send([(down, life.shown(down)), (up, life.shown(up))], hours=24, arrives=up)
    tale.send(life.polls(up + 300_000 - up % 300_000, end), hours=24)
    ledger = tale.end()
    before = linear(life.used(down, up), border - down, up - down)
    assert ledger.day(start).amount == life.used(start, down) + before
    assert ledger.day(border).amount == life.used(start, end) - ledger.day(start).amount
    assert ledger.day(start).estimated == before
    assert ledger.day(start).estimated_ms == border - down
    assert ledger.day(border).estimated_ms == up - border
    assert {row.flags for row in ledger.rows(from_ms=border, to_ms=up - GRID_MS).values()} == {
        ESTIMATED
    }
    months = ledger.rows(Level.MONTH)
    if len(months) == 1:
        assert sum(row.amount for row in months.values()) == life.used(start, end)
    else:
        assert [row.amount for row in months.values()] == [
            ledger.day(start).amount,
            ledger.day(border).amount,
        ]


def test_a_gap_that_ends_within_half_an_hour_is_measured(story):
    tale, life = story(), Life(DAY, 1)
    tale.send(life.polls(DAY, END, 30 * MINUTE_MS))
    ledger = tale.end()
    assert ledger.day(DAY).amount == life.used(DAY, END)
    assert ledger.day(DAY).estimated_ms == 0
    assert ledger.day(DAY).received == 48
