"""Single readings that are wrong, and readings that come twice or from two sides."""

from dataclasses import replace

import pytest

from aggregator.records import OTHER_CONTENT
from contract.data import encode_data
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


@pytest.mark.parametrize("primary", ["gw-1", "gw-2"])
def test_two_gateways_reading_one_meter(story, primary):
    """The one that the register names counts; while it is silent the other fills in."""
    tale, life = story(), Life(DAY, 1)
    other = {"gw-1": "gw-2", "gw-2": "gw-1"}[primary]
    tale.restart(tale.row(edge=primary))
    first, second = life.polls(DAY, END), life.polls(DAY + 2 * MINUTE_MS, END)
    cut = DAY + 6 * HOUR_MS
    own = [s for s in first if not cut < s[0] < cut + 4 * HOUR_MS]
    tale.send(own, edge=primary)
    tale.send(second, edge=other, arrives=END)
    # Both at one moment, with two displays: the primary one's counts.
    both = DAY + 12 * HOUR_MS
    tale.send(spoilt(life.polls(both, both), KWH // 100, both), edge=other, arrives=END)
    ledger = tale.end()
    agree(ledger, life, DAY, cut)
    agree(ledger, life, cut + 4 * HOUR_MS, END)
    day = ledger.day(DAY)
    assert (day.amount, day.received) == (life.used(DAY, END), 96)  # neither doubled nor missing
    assert (day.estimated_ms, day.missing_ms, day.held) == (0, 0, 0)
    filled = [s for s in second if cut < s[0] < cut + 4 * HOUR_MS]
    assert ledger.proof().received == len(own) + len(filled)
    assert ledger.counts["other_edge_readings"] == len(second) + 1


@pytest.mark.parametrize("primary", ["gw-1", "gw-2"])
@pytest.mark.parametrize("live", [True, False], ids=["both live", "one late"])
def test_two_gateways_that_do_not_agree(story, primary, live):
    """The other one's map is 1.2 times too large: that is nobody's energy."""
    tale, life = story(), Life(DAY, 1)
    other = {"gw-1": "gw-2", "gw-2": "gw-1"}[primary]
    tale.restart(tale.row(edge=primary))
    wrong = [(t, micro * 6 // 5) for t, micro in life.polls(DAY + 2 * MINUTE_MS, END)]
    for since in range(DAY, END, 4 * HOUR_MS):
        until = since + 4 * HOUR_MS - MINUTE_MS
        tale.send(life.polls(since, until), edge=primary)
        if live:
            tale.send([s for s in wrong if since <= s[0] <= until], edge=other)
    tale.send(life.polls(END, END), edge=primary)
    if not live:
        tale.send(wrong, edge=other, arrives=END + HOUR_MS)
    ledger = tale.end()
    agree(ledger, life, DAY, END)
    assert (ledger.total(of="held"), ledger.total(of="estimated")) == (0, 0)
    assert ledger.proof().received == len(life.polls(DAY, END))
    assert ledger.counts["other_edge_readings"] == len(wrong)
    assert ledger.restated() == {}


def test_another_gateway_is_made_the_primary_one_afterwards(story):
    """gw-1 began to misread at noon; the register says so a day later."""
    tale, life = story(), Life(DAY, 1)
    noon = DAY + 12 * HOUR_MS
    tale.restart(tale.row(edge="gw-1"))
    wrong = [(t, micro + (t >= noon) * (t - noon) // 60) for t, micro in life.polls(DAY, END)]
    tale.send(wrong)
    tale.send(life.polls(DAY, END), edge="gw-2")
    before = tale.so_far()
    assert before.total() == wrong[-1][1] - wrong[0][1] > life.used(DAY, END)
    rows = tale.row(edge="gw-1"), tale.row(since_ms=noon, edge="gw-2")
    tale.restart(*rows, when=END + DAY_MS)
    tale.send(life.polls(END, END), arrives=END + DAY_MS)
    ledger = tale.end()
    agree(ledger, life, DAY, END)
    assert ledger.restated() == {
        DAY: (before.total() / KWH, pytest.approx(life.used(DAY, END) / KWH))
    }


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
    assert (ledger.counts["other_content_batches"], ledger.counts["duplicate_batches"]) == (1, 0)
    assert [one.reason for one in ledger.quarantined()] == [OTHER_CONTENT]
    assert ledger.proof().received == len(life.polls(DAY, END))
    assert ledger.acks["gw-1", "0" * 14 + "aa"] == tale.batch(life.polls(END, END)).seq - 1


@pytest.mark.parametrize("restart", [False, True], ids=["remembered", "after a restart"])
@pytest.mark.parametrize(
    "arrives", [WHEN + HOUR_MS, END + HOUR_MS], ids=["new times", "a gap of old times"]
)
def test_duplicate_batch_with_other_times(story, arrives, restart):
    """What stands nowhere else is kept aside and acknowledged; a harmless repeat is neither."""
    tale, life = story(unsettled=True), Life(DAY, 1)
    first = tale.batch(life.polls(DAY, WHEN))
    tale.give(first, arrives=WHEN)
    if arrives > END:
        tale.give(tale.batch(life.polls(WHEN + 3 * HOUR_MS, END)), arrives=END)
    if restart:
        tale.restart()
    again = replace(first, void=((900, 900),))
    other = tale.batch(life.polls(WHEN + 300_000, WHEN + HOUR_MS), seq=1)
    for batch in (other, again, again):
        tale.give(batch, arrives=arrives)
    ledger = tale.so_far()
    assert (ledger.counts["other_content_batches"], ledger.counts["duplicate_batches"]) == (1, 2)
    (kept,) = ledger.quarantined()
    assert (kept.payload, kept.reason, kept.seen) == (encode_data(other), OTHER_CONTENT, 1)
    assert [line["event"] for line in ledger.logged].count("number_reused") == 1
    assert ledger.acks["gw-1", again.outbox] == (2 if arrives > END else 1)
    agree(ledger, life, DAY, WHEN - 5 * MINUTE_MS)


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
