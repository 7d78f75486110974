"""A meter freezes its register at midnight; delivered later, that fills what was not polled."""

from contract.reading import Quality, Reading
from tests.cases.rig import (
    DAY_MS,
    ESTIMATED,
    HOUR_MS,
    IMPORT,
    MINUTE_MS,
    Level,
    Life,
    agree,
    at,
    linear,
)

FIRST = at("2026-03-25 00:00")
DOWN, UP = FIRST + 2 * DAY_MS + 13 * HOUR_MS, FIRST + 12 * DAY_MS + 9 * HOUR_MS
END = FIRST + 13 * DAY_MS
LATER = END + DAY_MS
APRIL = at("2026-04-01 00:00")


def frozen(life, times, off_ms=0):
    """What the meter kept at these times; its clock may be off."""
    return [
        Reading("em-1", IMPORT, time, life.shown(time + off_ms), Quality.FREEZE) for time in times
    ]


def outage(story):
    tale, life = story(), Life(FIRST, 14)
    tale.send(life.polls(FIRST, DOWN), hours=24)
    tale.send(life.polls(UP, END), hours=24)
    return tale, life


def test_outage_of_10_days_filled_with_daily_freezes(story):
    tale, life = outage(story)
    midnights = range(DOWN - 13 * HOUR_MS + DAY_MS, UP, DAY_MS)
    full = [day for day in midnights if day + DAY_MS < UP]
    before = tale.so_far()
    assert [day for day in full if before.day(day).amount == life.used(day, day + DAY_MS)] == []

    tale.give(tale.batch([], more=frozen(life, midnights)), arrives=LATER)
    ledger = tale.end()
    agree(ledger, life, FIRST, DOWN)
    agree(ledger, life, UP, END)
    for day in full:
        figures = ledger.day(day)
        used = life.used(day, day + DAY_MS)
        assert (figures.amount, figures.estimated, figures.held) == (used, used, 0)
        assert (figures.measured_ms, figures.estimated_ms) == (0, DAY_MS)
        assert figures.received == 0  # nobody polled: a freeze is no reading of a slot
        rows = ledger.rows(from_ms=day, to_ms=day + DAY_MS).values()
        assert {row.flags for row in rows} == {ESTIMATED}
    first = ledger.day(midnights[0] - DAY_MS)
    assert first.amount == life.used(midnights[0] - DAY_MS, midnights[0])  # 13 h of it measured
    assert first.measured_ms == 13 * HOUR_MS
    assert sorted(ledger.restated()) == [midnights[0] - DAY_MS, *midnights]
    assert {record.cause for record in ledger.records()} == {"late readings"}


def test_outage_over_a_months_end_filled_with_a_monthly_freeze_and_then_with_daily_ones(story):
    tale, life = outage(story)
    tale.give(tale.batch([], more=frozen(life, [APRIL])), arrives=LATER)
    ledger = tale.so_far()
    march = ledger.rows(Level.MONTH)[at("2026-03-01 00:00")]
    assert march.amount == life.used(FIRST, APRIL)  # exact, though its days are not
    day = APRIL - DAY_MS
    used = life.used(DOWN, APRIL)
    assert ledger.day(day).amount == used - linear(used, day - DOWN, APRIL - DOWN)

    tale.give(tale.batch([], more=frozen(life, [day])), arrives=LATER)
    ledger = tale.end()
    assert ledger.day(day).amount == life.used(day, APRIL)
    assert ledger.rows(Level.MONTH)[at("2026-03-01 00:00")].amount == march.amount


def test_freezes_by_a_clock_that_is_4_minutes_slow_harm_nothing_where_the_meter_was_polled(story):
    """Taken 4 minutes after midnight, they would show more than the rating allows."""
    tale, life = story(rating=48.0), Life(FIRST, 3)
    polls = life.polls(FIRST + 4 * MINUTE_MS, FIRST + 3 * DAY_MS)
    tale.send(polls, hours=24)
    plain = tale.so_far()
    midnights = [FIRST + DAY_MS, FIRST + 2 * DAY_MS]
    tale.give(
        tale.batch([], more=frozen(life, midnights, 4 * MINUTE_MS)), arrives=FIRST + 3 * DAY_MS
    )
    ledger = tale.end()
    figures, before = ledger.everything(), plain.everything()
    over = {key for key in figures if str(key[0]).startswith("balance")}  # of another day by now
    assert {key: figures[key] for key in figures.keys() - over} == {
        key: before[key] for key in before.keys() - over
    }
    assert ledger.restated() == {}
    assert sum(ledger.amounts(FIRST, END).values()) == polls[-1][1] - polls[0][1]


def test_a_freeze_that_came_first_gives_way_to_the_polls_that_come_later(story):
    """The edge sends what is urgent first: the backlog of polls makes the freeze needless."""
    tale, life = story(), Life(FIRST, 2)
    midnight = FIRST + DAY_MS
    tale.send(life.polls(FIRST, midnight - 6 * HOUR_MS), hours=24)
    wrong = frozen(life, [midnight], 3 * MINUTE_MS)
    tale.give(tale.batch([], more=wrong), arrives=midnight + HOUR_MS)
    assert tale.so_far().day(FIRST).amount == life.used(FIRST, midnight + 3 * MINUTE_MS)
    tale.send(life.polls(midnight - 6 * HOUR_MS, FIRST + 2 * DAY_MS), hours=6)
    agree(tale.end(), life, FIRST, FIRST + 2 * DAY_MS)
