"""A gap is spread by a fitted, dated profile; totals stay what the registers say."""

from aggregator.register.profiles import Profile
from tests.cases.rig import DAY_MS, ESTIMATED, HOUR_MS, SITE, Life, agree, at, linear

PROFILED = 16
FRIDAY = at("2026-03-06 00:00")
DOWN, UP, END = FRIDAY + 12 * HOUR_MS, FRIDAY + 3 * DAY_MS + 10 * HOUR_MS, FRIDAY + 5 * DAY_MS
SHIFT = tuple([0] * 32 + [1] * 36 + [0] * 28)
"""From 8 to 17."""
CLOSED = (0,) * 96


def profile(meter="em-1", carrier="", since_ms=0, weekday=SHIFT, weekend=CLOSED):
    return Profile(SITE, meter, carrier, weekday, weekend, since_ms, "fitted")


def weekend(story, *profiles):
    tale, life = story(), Life(FRIDAY, 6)
    tale.restart(profiles=profiles)
    tale.send(life.polls(FRIDAY, DOWN), hours=24)
    tale.send(life.polls(UP, END), hours=24)
    return tale, life


def test_a_gap_over_a_weekend_is_spread_by_the_shifts_of_its_profile(story):
    tale, life = weekend(story, profile())
    ledger = tale.end()
    agree(ledger, life, FRIDAY, DOWN)
    agree(ledger, life, UP, END)
    used = life.used(DOWN, UP)
    midnight = FRIDAY + DAY_MS
    assert ledger.total(DOWN, midnight) == linear(used, 5, 7)
    assert ledger.total(UP - 10 * HOUR_MS, UP) == used - linear(used, 5, 7)
    assert ledger.total(FRIDAY + DAY_MS, UP - 10 * HOUR_MS) == 0
    assert ledger.day(FRIDAY + DAY_MS).estimated_ms == DAY_MS
    rows = ledger.rows(from_ms=DOWN, to_ms=midnight).values()
    assert {row.flags for row in rows} == {ESTIMATED | PROFILED}


def test_a_profile_entered_later_restates_exactly_the_gap_it_touches(story):
    tale, life = weekend(story)
    later = END + 2 * DAY_MS
    tale.restart(when=later, profiles=[profile("", "electricity", DOWN)])
    tale.send(life.polls(END, END + HOUR_MS), arrives=later)  # the site is loaded again
    ledger = tale.end()
    assert ledger.total(FRIDAY + DAY_MS, UP - 10 * HOUR_MS) == 0
    assert ledger.total(DOWN, UP) == life.used(DOWN, UP)
    days = {record.day_ms for record in ledger.records() if record.cause == "register"}
    assert sorted(days) == [FRIDAY + n * DAY_MS for n in range(4)]


def test_the_meters_profile_stands_before_its_carriers_and_holds_from_its_day_on(story):
    flat = profile("", "electricity", 0, (5,) * 96, (5,) * 96)
    tale, life = weekend(story, flat, profile(since_ms=DOWN + 1))
    ledger = tale.end()  # the gap began before the meter's own row did
    used, span = life.used(DOWN, UP), UP - DOWN
    saturday = ledger.day(FRIDAY + DAY_MS).amount
    assert abs(saturday - used * DAY_MS / span) <= 1
    assert ledger.total(DOWN, UP) == used
