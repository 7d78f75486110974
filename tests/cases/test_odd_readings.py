"""Single readings that are wrong, and readings that come twice or from two sides."""

import pytest

from tests.cases.rig import (
    DAY_MS,
    HOUR_MS,
    KWH,
    MINUTE_MS,
    SUSPECT,
    EventKind,
    Life,
    agree,
    at,
)

DAY = at("2026-03-10 00:00")
END = DAY + DAY_MS
WHEN = DAY + 10 * HOUR_MS + 5 * MINUTE_MS


def spoilt(shown, by, *times):
    return [(t, micro + by * (t in times)) for t, micro in shown]


@pytest.mark.parametrize("by", [KWH // 4, 3 * KWH], ids=["register goes on", "register falls back"])
def test_one_bad_spike_inside_limits(story, by):
    """Both steps to and from it are allowed by the rating; only the fall after it tells."""
    tale, life = story(), Life(DAY, 1, most=3 * KWH // 10)
    falls = by > life.used(WHEN, WHEN + 300_000)
    assert falls == (by > KWH)
    assert by + life.used(WHEN - 300_000, WHEN) < 60 * KWH / 12
    tale.send(spoilt(life.polls(DAY, END), by, WHEN))
    ledger = tale.end()
    agree(ledger, life, DAY, END)
    assert ledger.total(of="held") == 0
    assert [row.flags for row in ledger.rows().values() if row.flags] == [SUSPECT] * falls


def test_a_counter_that_jumps_back_by_one_for_a_minute(story):
    tale, life = story(), Life(DAY, 0.5)
    noon = DAY + DAY_MS // 2
    tale.send(spoilt(life.polls(DAY, noon, MINUTE_MS), -KWH, WHEN))
    ledger = tale.end()
    agree(ledger, life, DAY, noon)
    assert ledger.total(of="held") == 0
    assert [row.flags for row in ledger.rows().values() if row.flags] == [SUSPECT]


def test_a_counter_that_jumps_back_by_one_and_is_read_twice_waits_for_a_person(story):
    """Two low readings that go on within the rating might be a register set back: held."""
    tale, life = story(), Life(DAY, 0.5, most=KWH // 20)
    noon = DAY + DAY_MS // 2
    twice = (WHEN, WHEN + MINUTE_MS)
    tale.send(spoilt(life.polls(DAY, noon, MINUTE_MS), -KWH, *twice))
    before = tale.so_far()
    held = before.total(of="held")
    assert held == life.used(WHEN - MINUTE_MS, WHEN) - KWH < 0
    assert before.total() == life.used(DAY, noon) - held  # nothing lost: both together are right
    tale.say(EventKind.REJECT, WHEN, until_ms=WHEN + 2 * MINUTE_MS, when=noon + HOUR_MS)
    ledger = tale.end()
    agree(ledger, life, DAY, noon)
    assert ledger.total(of="held") == 0


def test_two_gateways_reading_one_meter(story):
    tale, life = story(), Life(DAY, 1)
    first, second = life.polls(DAY, END), life.polls(DAY + 2 * MINUTE_MS, END)
    cut = DAY + 6 * HOUR_MS
    tale.send([s for s in first if not cut < s[0] < cut + 4 * HOUR_MS])
    tale.send(second, edge="gw-2", arrives=END)
    # Both at one moment, with two displays: the first gateway's outbox goes before
    both = DAY + 12 * HOUR_MS
    tale.send(spoilt(life.polls(both, both), KWH // 100, both), edge="gw-2", arrives=END)
    ledger = tale.end()
    agree(ledger, life, DAY, cut)
    agree(ledger, life, cut + 4 * HOUR_MS, END)
    day = ledger.day(DAY)
    assert (day.amount, day.received) == (life.used(DAY, END), 96)  # neither doubled nor missing
    assert (day.estimated_ms, day.missing_ms, day.held) == (0, 0, 0)


@pytest.mark.parametrize("arrives", [0, HOUR_MS], ids=["at once", "an hour later"])
def test_duplicate_batch_with_other_content(story, arrives):
    """A gateway restored from a copy numbers its batches again: the first that came counts."""
    tale, life = story(unsettled=True), Life(DAY, 1)
    tale.send(life.polls(DAY, WHEN), hours=24)
    again = tale.batch([(t, micro + 500 * KWH) for t, micro in life.polls(DAY, WHEN)], seq=1)
    tale.give(again, arrives=WHEN + arrives)
    tale.send(life.polls(WHEN + 300_000, END), hours=24)
    ledger = tale.end()
    agree(ledger, life, DAY, END)
    assert ledger.counts["duplicate_batches"] == 1
    assert ledger.proof().received == len(life.polls(DAY, END))
    assert ledger.acks["gw-1", "0" * 14 + "aa"] == tale.batch(life.polls(END, END)).seq - 1


def test_another_batch_with_other_content_for_the_same_times(story):
    """Of two values of one (meter, channel, time) the one of the earlier batch counts."""
    tale, life = story(), Life(DAY, 1)
    tale.send(life.polls(DAY, WHEN), hours=24)
    tale.send([(t, micro + 500 * KWH) for t, micro in life.polls(DAY, WHEN)], hours=24)
    tale.send(life.polls(WHEN + 300_000, END), hours=24)
    ledger = tale.end()
    agree(ledger, life, DAY, END)
    assert ledger.total(of="held") == 0


def test_first_reading_of_a_new_meter(story):
    """What it counted before it came here is nobody's energy; the time before is missing."""
    tale, life = story(), Life(DAY, 1, first=523_117 * KWH)
    tale.send(life.polls(WHEN, WHEN))
    alone = tale.so_far()
    assert alone.total() == alone.total(of="held") == 0
    assert alone.proof().received == 1
    assert alone.proof().closes
    assert alone.day(DAY).missing_ms == DAY_MS

    tale.send(life.polls(WHEN + 300_000, END))
    ledger = tale.end()
    agree(ledger, life, WHEN + 10 * MINUTE_MS, END)
    day = ledger.day(DAY)
    assert day.amount == life.used(WHEN, END)
    assert (day.held, day.missing_ms) == (0, WHEN - DAY)


def test_first_reading_of_a_new_meter_is_followed_by_older_ones(story):
    tale, life = story(), Life(DAY, 1, first=523_117 * KWH)
    tale.send(life.polls(WHEN, END))
    tale.send(life.polls(DAY, WHEN - 300_000), arrives=END + HOUR_MS)
    ledger = tale.end()
    agree(ledger, life, DAY, END)
    assert ledger.day(DAY).missing_ms == 0
