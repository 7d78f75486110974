"""Readings under a wrong clock: refused at the door or marked by the edge, let in by an event."""

from aggregator.records import Records, RecordsUnavailable
from contract.reading import Quality, Reading
from tests.cases.rig import (
    DAY_MS,
    GRID_MS,
    HOUR_MS,
    IMPORT,
    KWH,
    MINUTE_MS,
    EventKind,
    Life,
    agree,
    at,
)

DAY = at("2026-03-10 00:00")
WRONG, RIGHT = DAY + 6 * HOUR_MS, DAY + 12 * HOUR_MS
"""The gateway's clock is an hour ahead from the one to the other, in true time."""
END = DAY + DAY_MS
STEP = 5 * MINUTE_MS


def ahead(shown):
    return [(t + HOUR_MS, micro) for t, micro in shown]


def told(story, **more):
    """A gateway that sends each quarter of an hour, an hour ahead for six hours."""
    tale, life = story(**more), Life(DAY, 1)
    tale.send(life.polls(DAY, WRONG - STEP))
    for start in range(WRONG, RIGHT, 3 * STEP):
        shown = life.polls(start, start + 2 * STEP)
        tale.give(tale.batch(ahead(shown)), arrives=shown[-1][0] + 20_000)
    tale.send(life.polls(RIGHT + HOUR_MS, END))
    return tale, life


def say_clock(tale, from_ms=WRONG, until_ms=RIGHT, *, when=END + HOUR_MS, by=HOUR_MS):
    return tale.say(
        EventKind.CLOCK, from_ms + by, until_ms=until_ms + by, offset_ms=-by, edge="gw-1", when=when
    )


def verdicts(ledger, rule):
    series = [s.index for s in ledger.reader.series("works")]
    return [v.time_ms for v in ledger.reader.verdicts(series, 0, 2**47) if v.rule == rule]


def right(ledger, life):
    agree(ledger, life, DAY, RIGHT - GRID_MS)
    agree(ledger, life, RIGHT + HOUR_MS, END)
    assert ledger.total() == life.used(DAY, END)
    assert ledger.total(of="held") == 0


def test_what_the_door_refused_comes_in_once_and_leaves_the_quarantine(story):
    tale, life = told(story)
    before = tale.so_far()
    assert before.counts["quarantined_readings"] == 72
    assert len(before.quarantined()) == 24
    say_clock(tale)
    tale.restart()
    tale.send(life.polls(END, END), arrives=END + 2 * HOUR_MS)
    ledger = tale.end()
    right(ledger, life)
    assert ledger.quarantined() == ()
    assert ledger.counts["released_readings"] == 72
    assert ledger.counts["committed_readings"] == len(life.polls(DAY, END)) - 12 + 1
    assert ledger.proof().received == len(life.polls(DAY, END)) - 12  # an hour was lived twice
    assert verdicts(ledger, "clock-not-set") == []


def test_an_event_that_was_there_before_lets_batches_in_as_they_come(story):
    tale, life = story(), Life(DAY, 1)
    say_clock(tale, when=DAY)
    other, _ = told(lambda **_: tale)
    ledger = other.end()
    right(ledger, life)
    assert ledger.counts["quarantined_readings"] == ledger.counts["released_readings"] == 72
    assert ledger.quarantined() == ()


def test_an_event_over_a_part_lets_in_that_part_and_the_rest_stays(story):
    tale, life = told(story, unsettled=True)
    middle = WRONG + 2 * HOUR_MS + STEP
    say_clock(tale, until_ms=middle)
    part = tale.so_far()
    agree(part, life, DAY, middle - GRID_MS)
    assert part.counts["released_readings"] == 25
    assert len(part.quarantined()) == 24 - 8
    tale.restart()  # what was let in of the payload that is only half told of is not let in again
    tale.undo(say_clock(tale, from_ms=END, until_ms=END + 1), when=END + 2 * HOUR_MS)
    assert tale.so_far().counts["released_readings"] == 25
    say_clock(tale, from_ms=middle, when=END + 3 * HOUR_MS)
    ledger = tale.end()
    right(ledger, life)
    assert ledger.counts["released_readings"] == 72
    assert ledger.quarantined() == ()


def test_an_event_taken_back_takes_the_readings_out_again(story):
    tale, life = told(story, unsettled=True)
    before = tale.so_far()
    event = say_clock(tale)
    tale.undo(event, when=END + 2 * HOUR_MS)
    ledger = tale.end()
    assert ledger.rows() == before.rows()
    assert ledger.total() == life.used(DAY, END)
    assert verdicts(ledger, "clock-not-set") == [
        t for t, _ in ahead(life.polls(WRONG, RIGHT - STEP))
    ]
    say_clock(tale, when=END + 3 * HOUR_MS)
    right(tale.end(), life)


def test_a_crash_between_store_and_quarantine_doubles_nothing(story, monkeypatch):
    """The store has the readings, and so has the quarantine: seen at the next start."""
    tale, life = told(story, unsettled=True)
    say_clock(tale)
    release, calls = Records.release, []

    def away_at_first(self, hashes):
        calls.append(len(hashes))
        if len(calls) <= 24:
            raise RecordsUnavailable("killed")
        return release(self, hashes)

    monkeypatch.setattr(Records, "release", away_at_first)
    before = tale.so_far()
    assert len(before.quarantined()) == 24
    right(before, life)
    calls.clear()
    tale.restart()
    tale.send(life.polls(END, END), arrives=END + 2 * HOUR_MS)
    ledger = tale.end()
    assert calls == [1] * 24 + [24]
    assert ledger.quarantined() == ()
    assert ledger.counts["released_readings"] == 72
    assert ledger.rows() == before.rows()
    assert ledger.proof().received == before.proof().received


def marked(tale, shown, **how):
    """A batch of which the edge says that its clock was not set."""
    more = [Reading("em-1", IMPORT, t, micro, Quality.CLOCK) for t, micro in shown]
    tale.give(tale.batch([], more=more), **how)


def test_readings_under_a_clock_that_was_not_set_count_once_an_event_says_how_far_off(story):
    """The gateway started without network in the past: its times are possible, and wrong."""
    tale, life = story(), Life(DAY, 1)
    back = 30 * DAY_MS + 7_000
    tale.send(life.polls(DAY, WRONG - STEP))
    marked(tale, [(t - back, u) for t, u in life.polls(WRONG, RIGHT - STEP)], arrives=RIGHT)
    tale.send(life.polls(RIGHT, END))
    before = tale.so_far()
    assert before.total(of="estimated") == life.used(WRONG - STEP, RIGHT)
    assert len(verdicts(before, "clock-not-set")) == 72
    assert before.counts["clock_not_set_verdicts"] == 72
    event = say_clock(tale, by=-back)
    ledger = tale.end()
    agree(ledger, life, DAY, END)
    assert ledger.total(of="estimated") == 0
    assert verdicts(ledger, "clock-not-set") == []
    tale.undo(event, when=END + 2 * HOUR_MS)
    again = tale.end()
    assert again.rows() == before.rows()
    assert len(verdicts(again, "clock-not-set")) == 72


def test_a_clock_that_was_right_though_nobody_knew(story):
    """An offset of 0: the readings count where they are."""
    tale, life = story(), Life(DAY, 1)
    tale.send(life.polls(DAY, WRONG - STEP))
    marked(tale, life.polls(WRONG, RIGHT - STEP), arrives=RIGHT)
    tale.send(life.polls(RIGHT, END))
    say_clock(tale, by=0)
    ledger = tale.end()
    agree(ledger, life, DAY, END)
    assert ledger.total(of="estimated") == 0


def test_readings_before_the_meter_was_put_in_do_not_count(story):
    """On the bench it was read too: nobody's energy, and no gap before its first day."""
    tale, life = story(), Life(DAY, 1, first=523_117 * KWH)
    tale.restart(tale.row(since_ms=WRONG), when=DAY)
    bench = Life(DAY, 1, first=KWH, seed=3)
    tale.send(bench.polls(DAY, WRONG - STEP))
    tale.send(life.polls(WRONG, END))
    before = tale.so_far()
    assert min(before.rows()) == WRONG
    assert before.total() == life.used(WRONG, END)
    assert before.total(of="held") == 0
    assert verdicts(before, "before-commissioning") == [
        t for t, _ in bench.polls(DAY, WRONG - STEP)
    ]
    tale.restart(tale.row(since_ms=WRONG - HOUR_MS), when=END)  # the register was wrong by an hour
    tale.send(life.polls(END, END))
    ledger = tale.end()
    assert len(verdicts(ledger, "before-commissioning")) == 60
    hour = bench.used(WRONG - HOUR_MS, WRONG - STEP)
    assert ledger.total() == life.used(WRONG, END) + hour
    assert ledger.total(of="held") == life.shown(WRONG) - bench.shown(WRONG - STEP)
