"""Clocks, units and ratios that were wrong for a while, and are put right afterwards."""

from tests.cases.rig import (
    DAY_MS,
    GRID_MS,
    HOUR_MS,
    KWH,
    MINUTE_MS,
    EventKind,
    Level,
    Life,
    agree,
    at,
)

DAY = at("2026-03-10 00:00")
END = DAY + 3 * DAY_MS
WRONG, RIGHT = DAY + DAY_MS, DAY + 2 * DAY_MS
"""The gateway's clock is an hour ahead from the one to the other, in true time."""


def ahead(shown):
    return [(t + HOUR_MS, micro) for t, micro in shown]


def say_clock(tale):
    tale.say(
        EventKind.CLOCK,
        WRONG + HOUR_MS,
        until_ms=RIGHT + HOUR_MS,
        offset_ms=-HOUR_MS,
        edge="gw-1",
        when=END + DAY_MS,
    )


def test_gateway_clock_1_h_ahead_for_a_day(story):
    """The gateway had no network that day: its batches come when their times are past.

    When its clock is set back it lives one hour twice. Of two readings of one time the earlier
    batch counts, so that the hour after stays estimated: the price of an hour lived twice.
    """
    tale, life = story(), Life(DAY, 3)
    tale.send(life.polls(DAY, WRONG - 300_000))
    tale.send(ahead(life.polls(WRONG, RIGHT - 300_000)), arrives=RIGHT + 2 * HOUR_MS)
    tale.send(life.polls(RIGHT, END))
    before = tale.so_far()
    assert before.proof().closes
    assert before.day(WRONG).amount != life.used(WRONG, RIGHT)

    say_clock(tale)
    ledger = tale.end()
    agree(ledger, life, DAY, RIGHT - GRID_MS)
    agree(ledger, life, RIGHT + HOUR_MS, END)
    twice = RIGHT - GRID_MS, RIGHT + HOUR_MS
    assert ledger.total(*twice) == life.used(*twice)
    assert ledger.total(of="estimated") == life.used(RIGHT - 300_000, RIGHT + HOUR_MS)
    assert ledger.total(of="held") == 0
    restated = ledger.restated()
    assert sorted(restated) == [DAY, WRONG, RIGHT]  # the first lost a gap to midnight
    assert restated[WRONG] == (before.day(WRONG).amount / KWH, ledger.day(WRONG).amount / KWH)


def test_gateway_clock_1_h_ahead_for_a_day_beside_another_gateway(story):
    """The other gateway's clock is right; it reads at times that the first one names too."""
    tale, life = story(), Life(DAY, 3)
    tale.send(life.polls(DAY, WRONG - 300_000))
    tale.send(ahead(life.polls(WRONG, RIGHT - 300_000)), arrives=RIGHT + 2 * HOUR_MS)
    tale.send(life.polls(RIGHT + HOUR_MS, END))
    tale.send(life.polls(RIGHT, RIGHT + HOUR_MS - 300_000), edge="gw-2", arrives=END)
    say_clock(tale)
    ledger = tale.end()
    agree(ledger, life, DAY, END)
    assert ledger.total(of="estimated") == ledger.total(of="held") == 0


def connected(story, *, unsettled=False):
    tale, life = story(unsettled=unsettled), Life(DAY, 3)
    tale.send(life.polls(DAY, WRONG - 300_000))
    for hour in range(WRONG, RIGHT, 3 * HOUR_MS):
        shown = life.polls(hour, hour + 3 * HOUR_MS - 300_000)
        tale.give(tale.batch(ahead(shown)), arrives=shown[-1][0] - 2 * HOUR_MS)
    tale.send(life.polls(RIGHT + HOUR_MS, END))
    return tale, life


def test_gateway_clock_1_h_ahead_for_a_day_loses_no_energy_at_the_door(story):
    """Times in the future are refused, counted and kept; the register knows the energy."""
    tale, life = connected(story, unsettled=True)
    ledger = tale.end()
    assert ledger.counts["quarantined_readings"] == 288
    assert len(ledger.quarantined()) == 8
    assert ledger.total() == life.used(DAY, END)
    assert ledger.day(WRONG).estimated_ms == DAY_MS
    assert ledger.day(WRONG).received == 0


def test_gateway_clock_1_h_ahead_for_a_day_while_connected(story):
    """The clock event lets in what was refused at the door."""
    tale, life = connected(story)
    say_clock(tale)
    ledger = tale.end()
    assert ledger.total() == life.used(DAY, END)
    agree(ledger, life, DAY, RIGHT - GRID_MS)
    agree(ledger, life, RIGHT + HOUR_MS, END)


def test_a_meter_that_reports_in_mwh_instead_of_kwh_for_a_week(story):
    wrong, right, end = DAY + DAY_MS + 7 * HOUR_MS, DAY + 8 * DAY_MS + 7 * HOUR_MS, DAY + 9 * DAY_MS
    tale, life = story(), Life(DAY, 9)
    polls = life.polls(DAY, end)
    tale.send([(t, u // 1_000 if wrong <= t < right else u) for t, u in polls], hours=24)
    before = tale.so_far()
    assert before.day(DAY + 3 * DAY_MS).amount < life.used(wrong, right) // 1_000
    assert before.total(of="held") != 0

    told = end + 6 * HOUR_MS
    tale.say(EventKind.CORRECTION, wrong, until_ms=right, factor="1000", when=told)
    ledger = tale.end()
    agree(ledger, life, DAY, end)
    assert ledger.total(of="held") == ledger.total(of="estimated") == 0
    days = range(DAY + DAY_MS, end, DAY_MS)
    assert {day: new for day, (_, new) in ledger.restated().items()} == {
        day: life.used(day, day + DAY_MS) / KWH for day in days
    }


def test_a_word_taken_back_leaves_what_was_before(story):
    tale, life = story(), Life(DAY, 3)
    tale.send(life.polls(DAY, END))
    word = tale.say(EventKind.CORRECTION, WRONG, until_ms=RIGHT, factor="2", when=END + DAY_MS)
    assert tale.so_far().total(of="held") != 0
    tale.undo(word, when=END + 2 * DAY_MS)
    ledger = tale.end()
    agree(ledger, life, DAY, END)
    assert ledger.total(of="held") == 0


def test_ct_ratio_entered_a_month_late(story):
    """New transformers on 1 February, 80 instead of 40; the register hears of it in March."""
    january, february, march = (
        at("2026-01-30 00:00"),
        at("2026-02-01 00:00"),
        at("2026-03-01 00:00"),
    )
    end = march + DAY_MS
    tale, life = story(), Life(january, 40)
    tale.restart(tale.row(ratio=40), when=january)
    tale.send(life.polls(january, march, 30 * MINUTE_MS), hours=240)
    before = tale.so_far()
    assert before.total() == 40 * life.used(january, march)
    tale.restart(tale.row(ratio=40), tale.row(ratio=80, since_ms=february), when=march + HOUR_MS)
    tale.send(life.polls(march + 30 * MINUTE_MS, end, 30 * MINUTE_MS), hours=240)
    ledger = tale.end()
    assert ledger.total(january, february) == 40 * life.used(january, february)
    assert ledger.month(february).amount == 80 * life.used(february, march)
    for day in range(february, end, DAY_MS):
        assert ledger.day(day).amount == 80 * life.used(day, day + DAY_MS)
    restated = ledger.restated()
    assert sorted(restated) == list(range(february, march, DAY_MS))
    for day in restated:
        truth = life.used(day, day + DAY_MS)
        assert restated[day] == (40 * truth / KWH, 80 * truth / KWH)
    assert {record.cause for record in ledger.records()} == {"register"}


def test_a_leap_day(story):
    start, leap, march = at("2028-02-01 00:00"), at("2028-02-29 00:00"), at("2028-03-01 00:00")
    tale, life = story(), Life(start, 31)
    tale.send(life.polls(start, march + DAY_MS, 30 * MINUTE_MS), hours=480)
    ledger = tale.end()
    assert ledger.day(leap).amount == life.used(leap, march)
    assert ledger.day(march).amount == life.used(march, march + DAY_MS)
    month = ledger.month(start)
    assert month.amount == life.used(start, march)
    assert month.missing_ms == month.estimated_ms == 0
    assert month.measured_ms == 29 * DAY_MS
    assert [m.amount for m in ledger.rows(Level.MONTH).values()] == [
        life.used(start, march),
        life.used(march, march + DAY_MS),
    ]
